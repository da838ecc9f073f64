"""A model ready to be fine-tuned: built, loaded, fitted to the data at both ends, and frozen.

    weights = resolve_weights(settings.weights, settings.model, base=Path.cwd())
    model = build_model(settings, classes=2, channels=3, weights=weights)
    logits = model.network(images)          # float32 [N, channels, image_size, image_size] → float32 [N, classes]

What is random comes from `settings.seed` alone; torch's global generator is left as it was. The head's initial
weights depend on the seed and the head's shape, not on which weights the backbone starts from.
"""

from dataclasses import dataclass

import torch
from torch import nn

from trainables.data.catalog import Task
from trainables.errors import TrialError
from trainables.models import zoo
from trainables.models.freezing import freeze
from trainables.models.heads import adapt_first_conv, replace_head
from trainables.models.init import InitReport, initialise
from trainables.models.nets import bare_network, replace_module, set_dropout, skeleton
from trainables.models.table import ModelFacts
from trainables.models.weights import LoadReport, Weights, load_weights
from trainables.seeding import seeded
from trainables.settings import TrialSettings

# The settings that a model depends on before anything is frozen or trained; the others cannot reach it.
BUILT_FROM = (
    "model",
    "image_size",
    "init",
    "init_mode",
    "init_nonlinearity",
    "init_slope",
    "init_gain",
    "init_mean",
    "init_std",
    "init_low",
    "init_high",
    "init_value",
    "init_sparsity",
    "activation",
    "dropout",
    "seed",
)


@dataclass
class Model:
    """A network with what is known about it. `frozen` is the number of leading stages that are not trained."""

    network: nn.Module
    facts: ModelFacts
    frozen: int
    freeze_batchnorm: bool
    load_report: LoadReport
    init_report: InitReport


def build_model(
    settings: TrialSettings,
    *,
    classes: int,
    channels: int,
    weights: Weights,
    task: Task = "classification",
) -> Model:
    """The model of a trial, on the CPU, in train mode.

    Args:
        settings: which model, and how it starts.
        classes: outputs of the head, in every task.
        channels: of the pictures.
        weights: the starting weights, resolved.
        task: outputs that may be negative are wanted by all but `classification`, so what clips them is taken out.

    Raises:
        UserError: as `check_model_settings` and `load_weights`.
        TrialError: the weights are for another activation.
    """
    zoo.check_model_settings(settings)
    _check_activation(settings, weights)
    facts = zoo.facts(settings.model)
    with seeded(settings.seed, "network"):
        network = bare_network(facts, image_size=settings.image_size, channels=channels, activation=settings.activation)
    adapt_first_conv(network, facts, channels=channels)
    with seeded(settings.seed, "head"):
        replace_head(network, facts, classes=classes)
    if facts.clipped and task != "classification":
        replace_module(network, facts.clipped, nn.Identity())
    if settings.dropout != "auto":
        set_dropout(network, settings.dropout)
    report = load_weights(network, facts, weights)
    init_report = _initialise(network, facts, settings, loaded=set(report.matched))
    model = Model(network, facts, 0, settings.freeze_batchnorm, report, init_report)
    freeze(model, zoo.frozen_stages(facts, settings.freeze))
    return model


def _check_activation(settings: TrialSettings, weights: Weights) -> None:
    theirs, ours = ("relu" if name == "auto" else name for name in (weights.activation or "auto", settings.activation))
    if weights.activation is not None and theirs != ours:
        raise TrialError(f"the starting weights are of a network with activation {theirs}, and this one has {ours}")


def _initialise(network: nn.Module, facts: ModelFacts, settings: TrialSettings, *, loaded: set[str]) -> InitReport:
    """The head from a seed of its own, so that it is the same whatever the backbone starts from."""
    head = network.get_submodule(facts.head)
    in_head = {f"{facts.head}.{name}" for name, _ in head.named_parameters()}
    with seeded(settings.seed, "init"):
        backbone = initialise(network, settings, keep=loaded | in_head)
    with seeded(settings.seed, "init head"):
        return backbone + initialise(head, settings, keep=loaded, prefix=f"{facts.head}.")


def foreseen(settings: TrialSettings, *, classes: int, weights: Weights) -> InitReport:
    """What `settings.init` will come to, from names and shapes alone; `weights` as resolved."""
    facts = zoo.facts(settings.model)
    network = skeleton(facts)
    with torch.device("meta"):
        replace_head(network, facts, classes=classes)
    names = {name for name, _ in network.named_parameters()}
    in_head = {name for name in names if name.startswith(f"{facts.head}.")}
    loaded = set() if weights.kind == "none" else names - set(weights.random) - (set() if weights.head else in_head)
    return _initialise(network, facts, settings, loaded=loaded)
