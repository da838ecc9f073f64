"""Read the `space:` section of a sweep file into a `Space`, each entry checked against the setting it fills.

    space = read_space(file, trial={"optimizer": "sgd"}, problems=problems)

An entry is a range, `{low, high, [log], [step], [when]}`, or choices: a list, or `{choices: [...], when: {...}}`. A
condition, `when: {optimizer: [adam, adamw]}`, may name an explored setting with choices, or one that is fixed; the
latter is settled here: met, it is dropped; not met, it is a mistake, unless the command line fixed that setting, in
which case the entry is left out.
"""

import dataclasses
import graphlib
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from trainables.settings import TrialSettings, in_words
from tuning.checking import Problems, Shown, UnfitError, checked, did_you_mean, hints_of, is_number, kinds_of
from tuning.space import (
    Choice,
    Dimension,
    Float,
    Int,
    Space,
    Value,
    combinations,
    contains,
    leads_to,
    points,
    with_parents,
)
from tuning.yaml_file import KeyPath, YamlFile

MAX_CHOICES = 1000
MAX_COMBINATIONS = 100_000
MAX_STEPS = 1_000_000
_RANGE_KEYS = ("low", "high", "log", "step", "when")
_CHOICE_KEYS = ("choices", "when")
_FORMS = "a range {low: …, high: …} or a list of choices"


class _EntryError(Exception):
    """One entry is wrong, and how; at `path`."""

    def __init__(self, path: KeyPath, what: str, **facts: Any) -> None:
        super().__init__(what)
        self.path, self.what, self.facts = path, what, facts


def read_space(file: YamlFile, *, trial: Mapping[str, Any], problems: Problems) -> Space:
    """The dimensions of `space:`, parents first, else in the file's order; mistakes go to `problems`.

    What is wrong, and what is explored only under conditions on it, is left out. trial: the settings that are fixed,
    defaults included, in their own types.
    """
    entries = {name: entry for name, entry in file.data["space"].items() if name in hints_of(TrialSettings)}
    space: Space = {}
    for name, entry in entries.items():
        try:
            space[name] = _dimension(name, entry)
        except _EntryError as mistake:
            _report(file, mistake, problems)
    conditions: dict[str, dict[str, tuple[Value, ...]]] = {}
    for name in space:
        try:
            when = _conditions(file, name, entries[name], space, trial, problems)
        except _EntryError as mistake:
            _report(file, mistake, problems)
            continue
        if when is not None:
            conditions[name] = when
    return _in_order(file, space, conditions, problems)


def entry_of(dimension: Dimension) -> Any:
    """What a sweep file has under `space:` for a dimension: plain YAML."""
    when = {"when": {name: list(values) for name, values in dimension.when.items()}} if dimension.when else {}
    if isinstance(dimension, Choice):
        return {"choices": list(dimension.values), **when} if when else list(dimension.values)
    entry = {"low": dimension.low, "high": dimension.high, **when}
    if dimension.log:
        return {**entry, "log": True}
    return {**entry, "step": dimension.step} if _is_stepped(dimension) else entry


def words_for(dimension: Dimension) -> str:
    """`1e-05 to 0.1, log scale`; `8 to 64 in steps of 8`; `16, 32, 64`."""
    if isinstance(dimension, Choice):
        return ", ".join(map(value_in_words, dimension.values))
    text = f"{value_in_words(dimension.low)} to {value_in_words(dimension.high)}"
    if dimension.log:
        return f"{text}, log scale"
    return f"{text} in steps of {value_in_words(dimension.step)}" if _is_stepped(dimension) else text


def _is_stepped(dimension: Float | Int) -> bool:
    """Whether it has other steps than the usual: all whole numbers, or none."""
    return dimension.step != (1 if isinstance(dimension, Int) else None)


def condition_in_words(dimension: Dimension) -> str:
    """`optimizer is adam or adamw`; empty where there is none."""
    conditions = dimension.when or {}
    return " and ".join(f"{name} is {' or '.join(map(value_in_words, values))}" for name, values in conditions.items())


def value_in_words(value: Any) -> str:
    """`0.001`, `none`, `true`, `[16, 32]`; `nothing` for None."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else repr(Shown(value))


def _dimension(name: str, entry: Any) -> Dimension:
    path: KeyPath = ("space", name)
    if isinstance(entry, list):
        return _choice(name, entry, path)
    if not isinstance(entry, dict):
        hint = f"to fix it: put it under trial.{name}"
        raise _EntryError(path, "one value is nothing to explore", got=entry, expected=_FORMS, hint=hint)
    known = _CHOICE_KEYS if "choices" in entry else _RANGE_KEYS
    for key in entry:
        if key not in known:
            raise _EntryError(
                (*path, key), "unknown key", expected=f"one of {', '.join(known)}", hint=did_you_mean(key, known)
            )
    if "choices" in entry:
        choices = entry["choices"]
        if not isinstance(choices, list):
            raise _EntryError((*path, "choices"), "wrong type", got=choices, expected="a list, such as [16, 32, 64]")
        return _choice(name, choices, (*path, "choices"))
    return _range(name, entry, path)


def _choice(name: str, values: list[Any], path: KeyPath) -> Choice:
    if not values:
        raise _EntryError(path, "an empty list", expected="two choices or more")
    if len(values) > MAX_CHOICES:
        raise _EntryError(path, f"{len(values):,} choices", expected=f"at most {MAX_CHOICES:,}")
    kept: list[Value] = []
    for index, value in enumerate(values):
        value = _checked(name, value, (*path, index))
        if contains(kept, value):
            raise _EntryError((*path, index), "the same choice twice", got=value)
        kept.append(value)
    if len(kept) == 1:
        raise _EntryError(path, "only one choice", got=kept[0], hint=f"to fix it: put it under trial.{name}")
    return Choice(tuple(kept))


def _range(name: str, entry: dict[str, Any], path: KeyPath) -> Float | Int:
    hint = hints_of(TrialSettings)[name]
    if not is_number(hint):
        raise _EntryError(
            path, f"a range does not fit a setting that is {in_words(hint)}", expected="a list of choices"
        )
    for key in ("low", "high"):
        if key not in entry:
            raise _EntryError(path, f"{key} is missing", expected=_FORMS)
    whole = float not in kinds_of(hint)
    low, high = (_bound(name, entry[key], (*path, key), whole=whole) for key in ("low", "high"))
    log = entry.get("log", False)
    if not isinstance(log, bool):
        raise _EntryError((*path, "log"), "wrong type", got=log, expected="true or false")
    if low == high:
        raise _EntryError(path, "low and high are the same", got=low, hint=f"to fix it: put it under trial.{name}")
    if low > high:
        raise _EntryError(path, "low is above high", got=[low, high], hint="swap the two")
    if log and low <= 0:
        raise _EntryError((*path, "low"), "a log scale starts above 0", got=low, expected="number > 0")
    step = entry.get("step")
    if "step" in entry:
        step = _step(step, low, high, (*path, "step"), whole=whole, log=log)
    if whole:
        return Int(low, high, log, step or 1)
    return Float(low, high, log, step)


def _bound(name: str, value: Any, path: KeyPath, *, whole: bool) -> Any:
    value = _checked(name, value, path)
    if isinstance(value, str) or (whole and not isinstance(value, int)):
        raise _EntryError(path, "wrong type", got=value, expected="whole number" if whole else "number")
    return value


def _step(step: Any, low: Any, high: Any, path: KeyPath, *, whole: bool, log: bool) -> Any:
    try:
        step = checked(step, int if whole else float)
    except UnfitError as unfit:
        raise _EntryError(path, unfit.what, got=step, expected=unfit.expected) from None
    if log:
        raise _EntryError(path, "a range has either log or step", got=step, hint="remove one of the two")
    if step <= 0:
        raise _EntryError(path, "out of range", got=step, expected="whole number ≥ 1" if whole else "number > 0")
    span, stride = Decimal(str(high)) - Decimal(str(low)), Decimal(str(step))
    if span / stride > MAX_STEPS:
        raise _EntryError(path, "too many steps", got=step, expected=f"at most {MAX_STEPS:,}", hint="leave step out")
    if not leads_to(low, high, step):
        reached = Decimal(str(low)) + span // stride * stride
        hint = f"the last step ends at {reached.normalize():f}" if span > stride else "it is wider than the range"
        raise _EntryError(path, "the step does not lead from low to high", got=step, hint=hint)
    return step


def _conditions(
    file: YamlFile, name: str, entry: Any, space: Space, trial: Mapping[str, Any], problems: Problems
) -> dict[str, tuple[Value, ...]] | None:
    """The conditions that are left to a trial, or are on a setting that is wrong; None where the command line made one
    that is never met."""
    if not isinstance(entry, dict) or "when" not in entry:
        return {}
    path: KeyPath = ("space", name, "when")
    when = entry["when"]
    if not isinstance(when, dict) or not when:
        raise _EntryError(
            path, "wrong type", got=when, expected="{setting: [values]}, such as {optimizer: [adam, adamw]}"
        )
    left: dict[str, tuple[Value, ...]] = {}
    for parent, wanted in when.items():
        here = (*path, parent)
        if parent not in hints_of(TrialSettings):
            raise _EntryError(here, "unknown setting", hint=did_you_mean(parent, hints_of(TrialSettings)))
        if parent == name:
            raise _EntryError(here, "a condition on itself")
        values = _wanted(parent, wanted, here)
        if parent in space:
            _can_be(space[parent], values, here)
            left[parent] = values
        elif problems.with_setting(parent):
            left[parent] = values
        elif not contains(values, trial[parent]):
            if ("trial", parent) in file.changed:
                return None
            raise _EntryError(
                here,
                f"never met: trial.{parent} is {Shown(trial[parent])!r}",
                got=list(values),
                hint=f"explore {parent}",
            )
    return left


def _wanted(parent: str, wanted: Any, path: KeyPath) -> tuple[Value, ...]:
    values = wanted if isinstance(wanted, list) else [wanted]
    if not values:
        raise _EntryError(path, "an empty list", expected="the values under which it is explored")
    places = [(*path, index) for index in range(len(values))] if isinstance(wanted, list) else [path]
    return tuple(_checked(parent, value, place) for value, place in zip(values, places, strict=True))


def _can_be(parent: Dimension, values: tuple[Value, ...], path: KeyPath) -> None:
    if not isinstance(parent, Choice):
        raise _EntryError(
            path,
            "a condition on a range",
            expected="a setting with a list of choices",
            hint=f"list the choices of space.{path[-1]}",
        )
    for value in values:
        if not contains(parent.values, value):
            raise _EntryError(
                path, f"never met: it is not among space.{path[-1]}", got=value, expected=f"one of {words_for(parent)}"
            )


def _in_order(
    file: YamlFile, space: Space, conditions: dict[str, dict[str, tuple[Value, ...]]], problems: Problems
) -> Space:
    kept = {name: dimension for name, dimension in space.items() if name in conditions}
    # What depends on an entry that was left out can never be explored either.
    while lost := [name for name in kept if any(parent not in kept for parent in conditions[name])]:
        for name in lost:
            del kept[name]
    graph = {name: list(conditions[name]) for name in kept}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        cycle = error.args[1]
        _report(
            file, _EntryError(("space", cycle[0], "when"), f"conditions in a circle: {' → '.join(cycle)}"), problems
        )
        return {}
    ordered: Space = {}
    while len(ordered) < len(kept):
        # The first in the file whose parents are there: the order is the file's wherever it can be.
        name = next(name for name in kept if name not in ordered and all(parent in ordered for parent in graph[name]))
        ordered[name] = dataclasses.replace(kept[name], when=conditions[name] or None)
    for name, dimension in ordered.items():
        if dimension.when and not _ever_active(ordered, name):
            _report(
                file, _EntryError(("space", name, "when"), "never met: the conditions exclude each other"), problems
            )
    return ordered


def _ever_active(space: Space, name: str) -> bool:
    if count_combinations(space, {name}) > MAX_COMBINATIONS:
        return True
    return any(name in params for params in combinations(space, {name}))


def count_combinations(space: Space, names: set[str]) -> int:
    """How many `combinations` would have to be gone through, at most."""
    return math.prod(len(points(space[name])) for name in with_parents(space, names))


def _checked(name: str, value: Any, path: KeyPath) -> Any:
    try:
        return checked(value, hints_of(TrialSettings)[name])
    except UnfitError as unfit:
        raise _EntryError(path, unfit.what, got=value, expected=unfit.expected, hint=unfit.hint) from None


def _report(file: YamlFile, mistake: _EntryError, problems: Problems) -> None:
    facts = dict(mistake.facts)
    if "got" in facts:
        facts["got"] = Shown(facts["got"])
    problems.tell(file, mistake.path, mistake.what, **facts)
