"""What must fit together across settings: every combination that a trial could get, checked before the first one.

    check_together(file, spec.trial, spec.space, problems, task="regression")    # mistakes, each naming a combination
    for line in advice(spec): print(line)                                        # lawful, but hardly meant

Only the settings that a check depends on are combined, so a large search space costs nothing.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from trainables.data.catalog import Task
from trainables.errors import UserError
from trainables.models import zoo
from trainables.settings import Optimizer, TrialSettings
from trainables.tasks import loss_for, metric_for
from trainables.training.checks import checks_for, milestones_of
from trainables.wording import counted
from tuning.checking import Problems, Shown
from tuning.space import Choice, Float, Space, Value, combinations
from tuning.space_file import MAX_COMBINATIONS, count_combinations
from tuning.yaml_file import KeyPath, YamlFile, dotted

if TYPE_CHECKING:
    from tuning.spec import Spec

MAX_FAILURES = 500  # combinations of one check; what is wrong beyond these is told when they are mended
_NOT_LBFGS = tuple(name for name in get_args(Optimizer) if name not in ("lbfgs", "sparse_adam"))
_NOT_RPROP = tuple(name for name in get_args(Optimizer) if name not in ("rprop", "sparse_adam"))
_ADAMS = ("adam", "adamw", "adamax", "nadam", "radam")
# A setting that only works with some values of another.
_ONLY_WITH: dict[str, tuple[str, tuple[Value, ...]]] = {
    "randaugment_ops": ("randaugment", tuple(range(1, 31))),
    "head_lr_factor": ("optimizer", _NOT_LBFGS),
    "layer_decay": ("optimizer", _NOT_LBFGS),
    "momentum": ("optimizer", ("sgd", "rmsprop")),
    "dampening": ("optimizer", ("sgd",)),
    "nesterov": ("optimizer", ("sgd",)),
    "weight_decay": ("optimizer", tuple(name for name in _NOT_LBFGS if name != "rprop")),
    "decoupled_weight_decay": ("optimizer", ("adam", "nadam", "radam")),
    "beta1": ("optimizer", _ADAMS),
    "beta2": ("optimizer", _ADAMS),
    "amsgrad": ("optimizer", ("adam", "adamw")),
    "momentum_decay": ("optimizer", ("nadam",)),
    "alpha": ("optimizer", ("rmsprop", "asgd")),
    "centered": ("optimizer", ("rmsprop",)),
    "rho": ("optimizer", ("adadelta",)),
    "lambd": ("optimizer", ("asgd",)),
    "lr_decay": ("optimizer", ("adagrad",)),
    "initial_accumulator_value": ("optimizer", ("adagrad",)),
    "eta_minus": ("optimizer", ("rprop",)),
    "eta_plus": ("optimizer", ("rprop",)),
    "eps": ("optimizer", ("adadelta", "adagrad", "rmsprop", *_ADAMS)),
    "max_iter": ("optimizer", ("lbfgs",)),
    "history_size": ("optimizer", ("lbfgs",)),
    "line_search": ("optimizer", ("lbfgs",)),
    "clip_grad_norm": ("optimizer", _NOT_LBFGS),
    "schedule": ("optimizer", _NOT_RPROP),
    "warmup_epochs": ("optimizer", _NOT_RPROP),
    "step_size": ("schedule", ("step",)),
    "milestones": ("schedule", ("multistep",)),
    "gamma": ("schedule", ("step", "multistep", "exponential", "plateau")),
    "patience": ("schedule", ("plateau",)),
    "min_lr_factor": ("schedule", ("cosine", "plateau")),
    "pct_start": ("schedule", ("one_cycle",)),
    "div_factor": ("schedule", ("one_cycle",)),
    "final_div_factor": ("schedule", ("one_cycle",)),
    "label_smoothing": ("loss", ("cross_entropy", "kl_div")),
    "class_weights": ("loss", ("cross_entropy", "nll", "bce", "multi_margin", "focal")),
    "focal_gamma": ("loss", ("focal",)),
    "margin": ("loss", ("multi_margin", "margin_ranking")),
    "huber_delta": ("loss", ("huber",)),
    "smooth_l1_beta": ("loss", ("smooth_l1",)),
    "init_mode": ("init", ("kaiming_uniform", "kaiming_normal")),
    "init_nonlinearity": ("init", ("kaiming_uniform", "kaiming_normal")),
    "init_slope": ("init_nonlinearity", ("leaky_relu",)),
    "init_gain": ("init", ("xavier_uniform", "xavier_normal", "orthogonal")),
    "init_mean": ("init", ("normal",)),
    "init_std": ("init", ("normal", "sparse")),
    "init_low": ("init", ("uniform",)),
    "init_high": ("init", ("uniform",)),
    "init_value": ("init", ("constant",)),
    "init_sparsity": ("init", ("sparse",)),
}
_SHAPES_LOSS = tuple(name for name, (parent, _) in _ONLY_WITH.items() if parent == "loss")


def check_together(file: YamlFile, trial: Mapping[str, Any], space: Space, problems: Problems, *, task: Task) -> None:
    """Puts into `problems` the first combination of each kind that no trial could run with.

    Checks that look at a setting which is wrong by itself are left for when it is mended.
    """
    told: set[KeyPath] = set()
    for names, check in (*zoo.CHECKS, *checks_for(task)):
        if problems.with_setting(*names):
            continue
        count = count_combinations(space, names)
        if count > MAX_COMBINATIONS:
            explored = ", ".join(sorted(names & space.keys()))
            what = f"{count:,} combinations of {explored} are too many to check"
            problems.tell(file, ("space",), what, expected=f"at most {MAX_COMBINATIONS:,}")
            continue
        failures = 0
        for params in combinations(space, names):
            try:
                check(TrialSettings(**{**trial, **params}))
            except UserError as error:
                failures += 1
                key = _key(error.where or "model", trial, space)
                if key not in told:
                    told.add(key)
                    problems.add(_with_place(error, file, key, params), file, key)
                if failures == MAX_FAILURES:
                    break


def advice(spec: "Spec") -> list[str]:
    """One line for each thing in a sweep that is allowed but hardly does what was meant."""
    search = spec.search
    lines = [
        *_unused(spec),
        *_thawing(spec),
        *_falling(spec),
        *_warming(spec),
        *_rising(spec),
        *_ranking(spec),
        *_comparing(spec),
        *_drawing(spec),
        *_clipping(spec),
    ]
    count = space_size(spec.space)
    if count is not None and count < search.trials:
        lines.append(f"search.trials: {search.trials} trials, but the space has {count} different ones")
    if search.sampler == "tpe" and search.startup_trials >= search.trials > 1:
        lines.append(
            f"search.startup_trials: all {search.trials} trials are random; tpe learns after {search.startup_trials}"
        )
    longest = max((_value(spec, params, "epochs") for params in _known(spec, {"epochs"})), default=math.inf)
    if search.pruner != "none" and search.grace_epochs >= longest:
        epochs = f"{search.grace_epochs} of at most {counted(int(longest), 'epoch')}"
        lines.append(f"search.grace_epochs: {search.pruner} never stops a trial: {epochs}")
    return lines


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
        fixed = name in spec.trial and name not in spec.space and not _is_off(name, spec.trial[name])
        combined = [params for params in _known(spec, {name, parent}) if fixed or name in params]
        possible = [_value(spec, params, parent) for params in combined]
        useful = [value for value in possible if _meant(spec, parent, value) in values]
        if possible and not useful:
            section = "trial" if fixed else "space"
            with_these = " or ".join(dict.fromkeys(str(_meant(spec, parent, value)) for value in possible))
            lines.append(f"{section}.{name}: does nothing with {parent} {with_these}")
        elif len(useful) < len(possible) and not fixed:  # what is fixed is of use in the others
            listed = ", ".join(str(value) for value in dict.fromkeys(useful))
            remedy = f"add `when: {{{parent}: [{listed}]}}`"
            if not isinstance(spec.space[parent], Choice):
                remedy = f"list the choices of {parent}, and {remedy}"
            lines.append(f"space.{name}: does nothing in some trials; {remedy}")
    return lines


def _is_off(name: str, value: Value) -> bool:
    """Whether a setting asks for nothing: nobody misses it where it has no effect."""
    return value in (0, "none", "auto", "constant") or (name in ("head_lr_factor", "layer_decay") and value == 1)


def _meant(spec: "Spec", name: str, value: Value) -> Value:
    return loss_for(str(value), task=spec.data.task) if name == "loss" else value


def _thawing(spec: "Spec") -> list[str]:
    names = ("freeze", "epochs", "freeze_epochs")
    for params in _known(spec, set(names)):
        freeze, epochs, thaw = (_value(spec, params, name) for name in names)
        if freeze not in ("none", 0) and thaw >= epochs:
            return [f"freeze_epochs: {thaw} of {counted(epochs, 'epoch')}: nothing is thawed before the trial ends"]
        if freeze in ("none", 0) and thaw and not {"freeze", "freeze_epochs"} & spec.space.keys():
            return ["freeze_epochs: does nothing with freeze none"]
    return []


def _falling(spec: "Spec") -> list[str]:
    if not {"gamma", "step_size", "milestones"} & spec.space.keys():
        return []
    for params in _known(spec, {"schedule", "step_size", "milestones", "warmup_epochs", "epochs"}):
        settings = spec.settings_for(params)
        firsts = {"step": ("step_size", settings.step_size)}
        if settings.schedule == "multistep":
            firsts["multistep"] = ("milestones", milestones_of(settings)[0])
        name, first = firsts.get(settings.schedule, ("", 0))
        if settings.warmup_epochs + first >= settings.epochs and name:
            epochs = f"{first} of {counted(settings.epochs - settings.warmup_epochs, 'epoch')}"
            return [f"{name}: {epochs}: the learning rate never falls, whatever gamma is"]
    return []


def _warming(spec: "Spec") -> list[str]:
    names = ("warmup_epochs", "epochs")
    for params in _known(spec, set(names)):
        warm, epochs = (_value(spec, params, name) for name in names)
        if warm >= epochs:
            return [f"warmup_epochs: {warm} of {counted(epochs, 'epoch')}: the trial ends before its schedule begins"]
    return []


def _rising(spec: "Spec") -> list[str]:
    """The pruner compares trials while the learning rate of some has yet to rise, and that of others has not."""
    search, names = spec.search, ("warmup_epochs", "schedule", "pct_start", "epochs")
    rises, longest = set(), 0
    for params in _known(spec, set(names)):
        warm, schedule, share, epochs = (_value(spec, params, name) for name in names)
        rises.add(warm + share * max(0, epochs - warm) * (schedule == "one_cycle"))
        longest = max(longest, epochs)
    needed = math.ceil(max(rises, default=0))
    if search.pruner == "none" or len(rises) < 2 or search.grace_epochs >= min(needed, longest):
        return []
    explored = ", ".join(name for name in names if name in spec.space)
    remedy = f"set it to {needed}" if needed < longest else "set search.pruner: none"
    return [
        f"search.grace_epochs: {search.pruner} compares trials after {counted(search.grace_epochs, 'epoch')}, when the"
        f" learning rate of some has yet to rise ({explored}) and they are stopped for that; {remedy}"
    ]


def _ranking(spec: "Spec") -> list[str]:
    losses = {_value(spec, params, "loss") for params in _known(spec, {"loss"})}
    if "margin_ranking" in losses and spec.search.metric != "val_loss":
        remedy = "give it a sweep of its own" if len(losses) > 1 else "set search.metric: val_loss"
        return [f"loss: margin_ranking learns an order and no numbers, which {spec.search.metric} measures; {remedy}"]
    return []


def _comparing(spec: "Spec") -> list[str]:
    """Trials are ranked by a loss that is not the same in all of them."""
    if spec.search.metric != "val_loss":
        return []
    losses = set()
    for params in _known(spec, {"loss", *_SHAPES_LOSS}):
        loss = _meant(spec, "loss", _value(spec, params, "loss"))
        shape = [_value(spec, params, name) for name in _SHAPES_LOSS if loss in _ONLY_WITH[name][1]]
        losses.add((loss, *shape))
    if len(losses) < 2:
        return []
    explored = ", ".join(name for name in spec.space if name in ("loss", *_SHAPES_LOSS))
    metric = metric_for("auto", task=spec.data.task)
    return [
        f"search.metric: val_loss is each trial's own loss, and {explored} may differ: such numbers do not compare;"
        f" set search.metric: {metric}"
    ]


def _drawing(spec: "Spec") -> list[str]:
    if any(_value(spec, params, "init") == "sparse" for params in _known(spec, {"init"})):
        return ["init: sparse takes linear layers only; convolutions start as by default"]
    return []


def _clipping(spec: "Spec") -> list[str]:
    if spec.data.task != "classification":
        return []  # where what clips is taken out
    names = ("model", "loss")
    for params in _known(spec, set(names)):
        model, loss = (_value(spec, params, name) for name in names)
        if loss == "bce" and zoo.facts(model).clipped:
            return [f"loss: bce wants outputs below zero, which {model} does not give in classification"]
    return []


def _known(spec: "Spec", names: set[str]) -> Iterator[dict[str, Value]]:
    """The combinations of these settings; none at all where they are too many to look at."""
    return combinations(spec.space, names) if count_combinations(spec.space, names) <= MAX_COMBINATIONS else iter(())


def _value(spec: "Spec", params: Mapping[str, Value], name: str) -> Any:
    return params[name] if name in params else {**spec.defaults, **spec.trial}[name]


def space_size(space: Space) -> int | None:
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
