"""The search space: which settings a sweep explores, between which limits, under which conditions.

    space = {"lr": Float(1e-5, 1e-1, log=True), "optimizer": Choice(("sgd", "adam")),
             "nesterov": Choice((False, True), when={"optimizer": ("sgd",)})}
    for name, dimension in space.items():                       # parents come before those that depend on them
        if is_active(dimension, params):
            params[name] = …                                    # of distribution(dimension)

A setting whose condition is not met is not suggested and has its documented default. A condition on a setting that is
itself not suggested is not met either. `tuning.space_file` makes these from YAML; they hold plain values only.
"""

import dataclasses
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Value = bool | int | float | str | None
When = Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True)
class Float:
    """A number between `low` and `high`, both included; even on a log scale, or in steps from `low`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: When | None = None


@dataclass(frozen=True)
class Int:
    """A whole number between `low` and `high`, both included; even on a log scale, or in steps from `low`."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    when: When | None = None


@dataclass(frozen=True)
class Choice:
    """One of some values, without an order."""

    values: tuple[Value, ...]
    when: When | None = None


Dimension = Float | Int | Choice
Space = dict[str, Dimension]

_KINDS: dict[str, type] = {"float": Float, "int": Int, "choice": Choice}


def distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's form of a dimension."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if isinstance(dimension, Int):
        return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def is_active(dimension: Dimension, params: Mapping[str, Any]) -> bool:
    """Whether the condition is met by what was suggested so far."""
    conditions = dimension.when or {}
    return all(name in params and contains(values, params[name]) for name, values in conditions.items())


def contains(values: tuple[Value, ...] | list[Value], value: Any) -> bool:
    """Membership by type and value: `True` is not `1`, `1` is not `1.0`."""
    return any(type(value) is type(known) and value == known for known in values)


def leads_to(low: float, high: float, step: float) -> bool:
    """Whether whole steps lead from one end to the other; in decimal, as written: 0.3 is three steps of 0.1."""
    return (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)) == 0


def draw(space: Space, rng: random.Random) -> dict[str, Value]:
    """One trial's parameters at random, as the random sampler would draw them (of the same spread, not the same)."""
    params: dict[str, Value] = {}
    for name, dimension in space.items():
        if is_active(dimension, params):
            params[name] = _draw(dimension, rng)
    return params


def combinations(space: Space, names: set[str]) -> Iterator[dict[str, Value]]:
    """Every combination of the settings in `names` that a trial could get, each once, conditions respected.

    Of a range, the whole numbers are taken where they are at most 100, else its two ends. Parents of conditions are
    gone through too, but only show in a combination when they are in `names`.
    """
    needed = with_parents(space, names)
    dimensions = [(name, dimension) for name, dimension in space.items() if name in needed]
    seen = set()
    for params in _combine(dimensions, {}):
        shown = {name: value for name, value in params.items() if name in names}
        key = tuple((name, type(value), value) for name, value in shown.items())
        if key not in seen:
            seen.add(key)
            yield shown


def with_parents(space: Space, names: set[str]) -> set[str]:
    """The explored settings among `names`, and all that their conditions name, directly or not."""
    needed: set[str] = set()
    waiting = [name for name in names if name in space]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += (space[name].when or {}).keys()
    return needed


def points(dimension: Dimension) -> list[Value]:
    """The values that stand for a dimension in `combinations`."""
    if isinstance(dimension, Choice):
        return list(dimension.values)
    if isinstance(dimension, Int) and (dimension.high - dimension.low) // dimension.step < 100:
        return list(range(dimension.low, dimension.high + 1, dimension.step))
    return [dimension.low, dimension.high]


def to_json(space: Space) -> dict[str, Any]:
    """Plain JSON; `from_json` gives the same space again, types and order included."""
    names = {kind: name for name, kind in _KINDS.items()}
    plain: dict[str, Any] = {}
    for name, dimension in space.items():
        fields: dict[str, Any] = {field.name: getattr(dimension, field.name) for field in dataclasses.fields(dimension)}
        when = {parent: list(values) for parent, values in dimension.when.items()} if dimension.when else None
        if isinstance(dimension, Choice):
            fields["values"] = list(dimension.values)
        plain[name] = {"kind": names[type(dimension)], **fields, "when": when}
    return plain


def from_json(plain: Mapping[str, Any]) -> Space:
    """The inverse of `to_json`."""
    space: Space = {}
    for name, entry in plain.items():
        fields = dict(entry)
        kind = _KINDS[fields.pop("kind")]
        if fields["when"]:
            fields["when"] = {parent: tuple(values) for parent, values in fields["when"].items()}
        if "values" in fields:
            fields["values"] = tuple(fields["values"])
        space[name] = kind(**fields)
    return space


def _combine(dimensions: list[tuple[str, Dimension]], params: dict[str, Value]) -> Iterator[dict[str, Value]]:
    if not dimensions:
        yield params
        return
    (name, dimension), *rest = dimensions
    if not is_active(dimension, params):
        yield from _combine(rest, params)
        return
    for value in points(dimension):
        yield from _combine(rest, {**params, name: value})


def _draw(dimension: Dimension, rng: random.Random) -> Value:
    if isinstance(dimension, Choice):
        return rng.choice(dimension.values)
    low, high, step = dimension.low, dimension.high, dimension.step
    if dimension.log:
        # A whole number has the half above and below it on its side, as Optuna has it.
        half = 0.5 if isinstance(dimension, Int) else 0.0
        value = math.exp(rng.uniform(math.log(low - half), math.log(high + half)))
        return min(max(round(value) if half else value, low), high)
    if step is not None:
        return low + step * rng.randint(0, round((high - low) / step))
    return rng.uniform(low, high)
