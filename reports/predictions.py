"""What an exported model says of each held-out picture: `predictions.csv`, written and read again.

    with written(folder / "predictions.csv", task="classification", classes=("ants", "bees")) as add:
        add("val", "val/ants/1.jpg", 0, [0.9, 0.1])
    (picture,) = read_predictions(folder / "predictions.csv", classes=("ants", "bees"), task="classification")
    picture.predicted                                                                           # 0

The columns are `split`, `name`, and for classification `truth`, `predicted`, `probability`, then `p:<class>` for each
class; for other tasks `truth:<name>` for each label or target, then `p:<name>`. Text that a spreadsheet would take for
a formula is led by `'`, which reading takes off again. Importing this module imports no torch.
"""

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reports.tables import csv_cell, csv_writer
from trainables.errors import UserError

Add = Callable[[str, str, Any, Sequence[float]], None]
_DIGITS = {"regression": 9}  # as many as a number of 32 bits has; probabilities do with six
_ONE_CLASS = ["truth", "predicted", "probability"]


@dataclass(frozen=True)
class HeldOut:
    """One held-out picture.

    `truth` is the class's place in classification, else a number for each label (0 or 1) or target. `scores` has the
    probability of each class or label, or what the model says of each target. `predicted` is the likeliest class's
    place in classification.
    """

    split: str
    name: str
    truth: int | tuple[float, ...]
    scores: tuple[float, ...]
    predicted: int | None = None


@contextmanager
def written(path: Path, *, task: str, classes: Sequence[str]) -> Iterator[Add]:
    """Writes the file, a picture at a time, by `add(split, name, truth, scores)`, which are as in `HeldOut`."""
    one_class = task == "classification"
    number = partial(_Number, digits=_DIGITS.get(task, 6))
    head = _ONE_CLASS if one_class else [f"truth:{name}" for name in classes]
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        write = csv_writer(file)
        write(["split", "name", *head, *(f"p:{name}" for name in classes)])

        def add(split: str, name: str, truth: Any, scores: Sequence[float]) -> None:
            told: list[Any]
            if one_class:
                best = max(range(len(scores)), key=scores.__getitem__)
                told = [classes[truth], classes[best], number(scores[best])]
            else:
                told = [number(value) for value in truth]
            write([split, name, *told, *map(number, scores)])

        yield add


def read_predictions(path: Path, *, classes: Sequence[str], task: str) -> list[HeldOut]:
    """All pictures of the file, in its order.

    Raises:
        UserError: it cannot be read, is not of these classes or this task, or has numbers that cannot be: a
            probability outside of 0 to 1, anything that is not finite.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            columns = next(reader, [])
            one_class = task == "classification"
            head = _ONE_CLASS if one_class else [f"truth:{name}" for name in classes]
            first = 2 + len(head)
            if columns[2:] != [*head, *(f"p:{name}" for name in classes)]:
                raise UserError("of other classes than the model", where=str(path), hint="export the model again")
            places = {str(csv_cell(name)): place for place, name in enumerate(classes)} if one_class else None
            found = [_read(row, places, columns=len(columns), first=first) for row in reader]
        for picture in found:
            _check(picture, task)
        return found
    except FileNotFoundError:
        raise UserError("no predictions here", where=str(path), hint="tune export RUN writes them") from None
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"cannot be read ({error!r})", where=str(path), hint="export the model again") from error


def _check(picture: HeldOut, task: str) -> None:
    truth = picture.truth if isinstance(picture.truth, tuple) else ()
    for value in (*picture.scores, *truth):
        if not math.isfinite(value) or (task != "regression" and not 0 <= value <= 1):
            raise ValueError(f"{value:g} for {picture.name[:80]!r}")


def _read(row: list[str], places: dict[str, int] | None, *, columns: int, first: int) -> HeldOut:
    if len(row) != columns:
        raise ValueError(f"a line of {len(row)} cells, and {columns} columns")
    name = row[1][1:] if row[1][:1] == "'" and csv_cell(row[1][1:]) == row[1] else row[1]
    scores = tuple(float(cell) for cell in row[first:])
    if places is None:
        return HeldOut(row[0], name, tuple(float(cell) for cell in row[2:first]), scores)
    return HeldOut(row[0], name, places[row[2]], scores, places[row[3]])


class _Number(float):
    """A number that is written with so many digits."""

    digits: int

    def __new__(cls, value: float, *, digits: int) -> "_Number":
        number = super().__new__(cls, value)
        number.digits = digits
        return number

    def __repr__(self) -> str:
        return f"{float(self):.{self.digits}g}"

    __str__ = __repr__
