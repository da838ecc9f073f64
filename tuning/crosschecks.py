"""What must fit together across settings: every combination that a trial could get, checked before the first one.

    check_together(file, spec.trial, spec.space, problems)       # mistakes, each naming a combination
    for line in advice(spec): print(line)                        # lawful, but hardly meant

Only the settings that a check depends on are combined, so a large search space costs nothing.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trainables.errors import UserError
from trainables.models import zoo
from trainables.settings import TrialSettings
from tuning.checking import Problems, Shown
from tuning.space import Choice, Float, Space, Value, combinations
from tuning.space_file import MAX_COMBINATIONS, count_combinations
from tuning.yaml_file import KeyPath, YamlFile, dotted

if TYPE_CHECKING:
    from tuning.spec import Spec

MAX_FAILURES = 500  # combinations of one check; what is wrong beyond these is told when they are mended
_OF_THE_MODEL = {"model", "freeze", "image_size"}
_OF_NESTEROV = {"optimizer", "nesterov", "momentum"}
# A setting that only works with some values of another.
_ONLY_WITH: dict[str, tuple[str, tuple[Value, ...]]] = {
    "momentum": ("optimizer", ("sgd", "rmsprop")),
    "nesterov": ("optimizer", ("sgd",)),
    "step_size": ("schedule", ("step",)),
    "gamma": ("schedule", ("step", "exponential")),
    "label_smoothing": ("loss", ("cross_entropy",)),
}


def check_together(file: YamlFile, trial: Mapping[str, Any], space: Space, problems: Problems) -> None:
    """Puts into `problems` the first combination of each kind that no trial could run with."""
    for names, check in ((_OF_THE_MODEL, zoo.check_model_settings), (_OF_NESTEROV, _check_nesterov)):
        count = count_combinations(space, names)
        if count > MAX_COMBINATIONS:
            error = UserError(
                f"space: {count:,} combinations of {', '.join(sorted(names & space.keys()))} are too many to check",
                where=file.where(("space",)),
                expected=f"at most {MAX_COMBINATIONS:,}",
            )
            problems.add(error, line=file.line(("space",)))
            continue
        told: set[KeyPath] = set()
        failures = 0
        for params in combinations(space, names):
            try:
                check(TrialSettings(**{**trial, **params}))
            except UserError as error:
                failures += 1
                key = _key(error.where or "model", trial, space)
                if key not in told:
                    told.add(key)
                    problems.add(_with_place(error, file, key, params), line=file.line(key))
                if failures == MAX_FAILURES:
                    break


def advice(spec: "Spec") -> list[str]:
    """One line for each thing in a sweep that is allowed but hardly does what was meant."""
    search = spec.search
    lines = [*_unused(spec), *_thawing(spec), *_falling(spec)]
    count = _space_size(spec.space)
    if count is not None and count < search.trials:
        lines.append(f"search.trials: {search.trials} trials, but the space has {count} different ones")
    if search.sampler == "tpe" and search.startup_trials >= search.trials > 1:
        lines.append(
            f"search.startup_trials: all {search.trials} trials are random; tpe learns after {search.startup_trials}"
        )
    longest = max((_value(spec, params, "epochs") for params in _known(spec, {"epochs"})), default=math.inf)
    if search.pruner != "none" and search.grace_epochs >= longest:
        epochs = f"{search.grace_epochs} of at most {longest} epochs"
        lines.append(f"search.grace_epochs: {search.pruner} never stops a trial: {epochs}")
    return lines


def _check_nesterov(settings: TrialSettings) -> None:
    if settings.nesterov and settings.optimizer == "sgd" and settings.momentum == 0:
        hint = "start it above 0, or leave nesterov out"
        raise UserError("Nesterov momentum needs momentum above 0", where="momentum", got=settings.momentum, hint=hint)


def _key(name: str, trial: Mapping[str, Any], space: Space) -> KeyPath:
    """Where to point: at the setting that is complained about, or at the model where that one is a default."""
    for candidate in (name, "model"):
        if candidate in space:
            return ("space", candidate)
        if candidate in trial:
            return ("trial", candidate)
    return ("space",) if space else ()


def _with_place(error: UserError, file: YamlFile, key: KeyPath, params: Mapping[str, Value]) -> UserError:
    others = [
        f"{name} {value if isinstance(value, str) else Shown(value)}"
        for name, value in params.items()
        if error.where != "model" and name != error.where
    ]
    trials = f" (in trials with {', '.join(others)})" if others else ""
    name = dotted(key) if key and key[-1] == error.where else error.where
    got = None if error.got is None else Shown(error.got)
    return UserError(
        f"{name}: {error.what}{trials}", where=file.where(key), got=got, expected=error.expected, hint=error.hint
    )


def _unused(spec: "Spec") -> list[str]:
    lines = []
    for name, (parent, values) in _ONLY_WITH.items():
        possible = [_value(spec, params, parent) for params in _known(spec, {name, parent}) if name in params]
        useful = [value in values for value in possible]
        if possible and not any(useful):
            lines.append(f"space.{name}: does nothing with {parent} {possible[0]}")
        elif not all(useful):
            lines.append(
                f"space.{name}: does nothing in some trials; add `when: {{{parent}: [{', '.join(map(str, values))}]}}`"
            )
    return lines


def _thawing(spec: "Spec") -> list[str]:
    names = ("freeze", "epochs", "freeze_epochs")
    for params in _known(spec, set(names)):
        freeze, epochs, thaw = (_value(spec, params, name) for name in names)
        if freeze not in ("none", 0) and thaw >= epochs:
            return [f"freeze_epochs: {thaw} of {epochs} epochs: nothing is thawed before the trial ends"]
        if freeze in ("none", 0) and thaw and not {"freeze", "freeze_epochs"} & spec.space.keys():
            return ["freeze_epochs: does nothing with freeze none"]
    return []


def _falling(spec: "Spec") -> list[str]:
    if not {"gamma", "step_size"} & spec.space.keys():
        return []
    names = ("schedule", "step_size", "epochs")
    for params in _known(spec, set(names)):
        schedule, step_size, epochs = (_value(spec, params, name) for name in names)
        if schedule == "step" and step_size >= epochs:
            return [f"step_size: {step_size} of {epochs} epochs: the learning rate never falls, whatever gamma is"]
    return []


def _known(spec: "Spec", names: set[str]) -> Iterator[dict[str, Value]]:
    """The combinations of these settings; none at all where they are too many to look at."""
    return combinations(spec.space, names) if count_combinations(spec.space, names) <= MAX_COMBINATIONS else iter(())


def _value(spec: "Spec", params: Mapping[str, Value], name: str) -> Any:
    return params[name] if name in params else {**spec.defaults, **spec.trial}[name]


def _space_size(space: Space) -> int | None:
    """How many different trials there are, conditions aside; None where a range makes them countless."""
    sizes = []
    for dimension in space.values():
        if isinstance(dimension, Float) and dimension.step is None:
            return None
        if isinstance(dimension, Choice):
            sizes.append(len(dimension.values))
        else:
            sizes.append(round((dimension.high - dimension.low) / (dimension.step or 1)) + 1)
    return math.prod(sizes)
