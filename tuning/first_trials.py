"""The trials that a sweep tries first: `search.first`, points of the search space given by hand.

    point = checked_point({"lr": 1}, space, number=1, where="my.yaml:9")        # {"lr": 1.0}

What a point leaves out is suggested as in any other trial.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trainables.errors import UserError
from tuning.checking import Shown, did_you_mean
from tuning.space import Choice, Dimension, Int, Space, Value, contains, is_active
from tuning.space_file import words_for


def checked_point(point: Mapping[str, Any], space: Space, *, number: int, where: str) -> dict[str, Value]:
    """A point, the first of which has number 1, in the space's own types and order.

    Raises:
        UserError: a name that is not explored, a value outside its range or choice, one whose condition is not met.
    """
    what = f"trial {number} of search.first"
    for name in point:
        if name not in space:
            raise UserError(
                f"{what}: {name} is not explored",
                where=where,
                expected=f"one of {', '.join(space)}" if space else "a setting under `space:`",
                hint=did_you_mean(name, space),
            )
    found: dict[str, Value] = {}
    for name, dimension in space.items():
        if name not in point:
            continue
        given = (dimension.when or {}).keys() <= found.keys()
        if given and not is_active(dimension, found):
            conditions = ", ".join(
                f"{parent} {Shown(list(values))}" for parent, values in (dimension.when or {}).items()
            )
            raise UserError(f"{what}: {name} does nothing there", where=where, expected=conditions, hint="leave it out")
        value = _fitted(point[name], dimension)
        if value is None:
            raise UserError(
                f"{what}: {name} is outside its space",
                where=where,
                got=Shown(point[name]),
                expected=_expected(dimension),
            )
        found[name] = value[0]
    return found


def _fitted(value: Any, dimension: Dimension) -> tuple[Value] | None:
    """The value in the dimension's own type, in a tuple of one; None where it is not in the dimension."""
    if isinstance(dimension, Choice):
        candidates = [value, float(value)] if type(value) is int else [value]
        return next(((one,) for one in candidates if contains(dimension.values, one)), None)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not dimension.low <= value <= dimension.high:
        return None
    if isinstance(dimension, Int) and not float(value).is_integer():
        return None
    steps = (value - dimension.low) / dimension.step if dimension.step else 0.0
    if abs(steps - round(steps)) > 1e-9:
        return None
    return (int(value),) if isinstance(dimension, Int) else (float(value),)


def _expected(dimension: Dimension) -> str:
    return f"one of {words_for(dimension)}" if isinstance(dimension, Choice) else words_for(dimension)


def without(points: Sequence[Any], names: Collection[str]) -> list[Any]:
    """The points, each once, less settings that are not explored any more; those of nothing else are no points."""
    left = [{name: value for name, value in point.items() if name not in names} for point in points]
    return [point for place, point in enumerate(left) if point and point not in left[:place]]
