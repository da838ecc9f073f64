"""What is known about each model, asked by name, and whether a trial's settings agree with it.

    facts = zoo.facts("resnet18")
    facts.head                                  # "fc"
    facts.stage_names                           # ("stem", "layer1", "layer2", "layer3", "layer4")
    zoo.frozen_stages(facts, "layer2")          # 3: the stem, layer1 and layer2
    zoo.check_model_settings(settings)          # UserError when the model cannot be as the settings want it

The facts themselves stand in `trainables.models.table`. No torch is imported here.
"""

import difflib
from collections.abc import Callable

from trainables.errors import UserError
from trainables.models.table import MODELS, ModelFacts
from trainables.settings import TrialSettings


def facts(name: str) -> ModelFacts:
    """The facts of the model called `name`; UserError with the nearest names if there is none."""
    if not isinstance(name, str) or name not in MODELS:
        near = difflib.get_close_matches(str(name).lower().replace("-", "_"), MODELS, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "see torchvision.models.list_models()"
        own = ", ".join(model.name for model in MODELS.values() if model.own)
        raise UserError(
            "no such model", where="model", got=name, expected=f"a torchvision classifier, {own}", hint=hint
        )
    return MODELS[name]


def frozen_stages(facts: ModelFacts, freeze: str | int) -> int:
    """How many leading stages `freeze` freezes: `none` is 0, `backbone` all of them, a stage's name up to it."""
    names = facts.stage_names
    if isinstance(freeze, int) and not isinstance(freeze, bool):
        if 0 <= freeze <= len(names):
            return freeze
        expected = f"0 to {len(names)}, the stages of {facts.name} ({', '.join(names)})"
        raise UserError("no such number of stages", where="freeze", got=freeze, expected=expected)
    if freeze == "none":
        return 0
    if freeze == "backbone":
        return len(names)
    if isinstance(freeze, str) and freeze in names:
        return names.index(freeze) + 1
    near = difflib.get_close_matches(str(freeze), ("none", "backbone", *names), n=1)
    raise UserError(
        f"{facts.name} has no such stage",
        where="freeze",
        got=freeze,
        expected=f"none, backbone, one of {', '.join(names)}, or a number 0 to {len(names)}",
        hint=f"did you mean {near[0]}?" if near else None,
    )


def check_model_settings(settings: TrialSettings) -> None:
    """UserError unless the model exists and can be as the settings want it: every check of `CHECKS`."""
    for _, check in CHECKS:
        check(settings)


def _check_model(settings: TrialSettings) -> None:
    facts(settings.model)


def _check_shape(settings: TrialSettings) -> None:
    model = facts(settings.model)
    frozen_stages(model, settings.freeze)
    size, multiple = settings.image_size, model.size_multiple
    if size < model.min_size or size % multiple:
        expected = f"at least {model.min_size}" if multiple == 1 else f"a multiple of {multiple}"
        nearest = max(model.min_size, round(size / multiple) * multiple)
        made = "it was designed" if model.own else "its ImageNet weights were made"
        raise UserError(
            f"{model.name} cannot take pictures of this size",
            where="image_size",
            got=size,
            expected=expected,
            hint=f"the nearest is {nearest}; {made} for {model.image_size}",
        )


def _check_weights(settings: TrialSettings) -> None:
    if settings.weights == "imagenet" and facts(settings.model).own:
        raise UserError(
            f"{settings.model} has no ImageNet weights",
            where="weights",
            got=settings.weights,
            expected="auto or none (random weights), or a path",
        )


def _check_dropout(settings: TrialSettings) -> None:
    if settings.dropout != "auto" and not facts(settings.model).has_dropout:
        raise _not_for(settings, "dropout", "no dropout layers")


def _check_activation(settings: TrialSettings) -> None:
    if settings.activation != "auto" and not facts(settings.model).own:
        raise _not_for(settings, "activation", "activations of its own")


def _check_init(settings: TrialSettings) -> None:
    if settings.init == "uniform" and settings.init_low >= settings.init_high:
        raise UserError(
            "not below init_high", where="init_low", got=settings.init_low, expected=f"< {settings.init_high:g}"
        )


def _not_for(settings: TrialSettings, name: str, has: str) -> UserError:
    return UserError(
        f"{settings.model} has {has}",
        where=name,
        got=getattr(settings, name),
        expected="auto",
        hint="leave it out, or add `when: {model: […]}` where the model is explored",
    )


# What must agree, and the settings that each check looks at.
CHECKS: tuple[tuple[set[str], Callable[[TrialSettings], None]], ...] = (
    ({"model"}, _check_model),
    ({"model", "freeze", "image_size"}, _check_shape),
    ({"model", "weights"}, _check_weights),
    ({"model", "dropout"}, _check_dropout),
    ({"model", "activation"}, _check_activation),
    ({"init", "init_low", "init_high"}, _check_init),
)


def normalization(facts: ModelFacts, *, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation to normalise pictures with, one entry a channel, for values 0 to 1.

    Grey pictures take the average over the colours. Networks that rescale their input themselves cannot do so for
    one channel; grey pictures come to them as that rescaling would leave them, at mean and deviation 0.5.
    """
    if channels == 3:
        return facts.mean, facts.std
    if facts.rescales_input:
        return (0.5,) * channels, (0.5,) * channels
    return (round(sum(facts.mean) / 3, 6),) * channels, (round(sum(facts.std) / 3, 6),) * channels
