"""Pictures and their targets listed in a CSV file, as a catalog.

    columns = Columns(image="image", targets=("cat", "dog"), split=None, separator=";")
    catalog = csv_catalog(path, columns, root=None, task="multilabel", val=0.2, test=0.1, seed=0, channels=3)

The file is UTF-8, with or without a byte order mark; its cells are parted by commas, semicolons or tabs, whichever
its header has most of. Its first line names the columns. Lines are counted from 1, as editors do.
"""

import csv
import math
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from trainables.data.catalog import SPLITS, Catalog, Picture, Split, Task
from trainables.data.folders import EXTENSIONS, SPLIT_NAMES, alike
from trainables.data.splits import plain_split, stratified_split
from trainables.errors import UserError
from trainables.wording import counted, few

WHERE = "data.path"
SEPARATORS = ",;\t"
YES_NO = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "true": 1.0, "false": 0.0}
SPLIT_WORDS: dict[str, Split] = {word: split for split, words in SPLIT_NAMES.items() for word in words}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which columns of the file say what. `separator` parts the labels of one cell (multilabel, one column)."""

    image: str
    targets: tuple[str, ...]
    split: str | None
    separator: str


@dataclass(frozen=True)
class Row:
    """A line of the file: its number, its picture's name below the root, its targets as text, its split."""

    line: int
    name: str
    cells: tuple[str, ...]
    split: Split | None


def csv_catalog(
    path: Path, columns: Columns, *, root: Path | None, task: Task, val: float, test: float, seed: int, channels: int
) -> Catalog:
    """The pictures that the file lists, in its order.

    Pictures' paths are seen from `root`, by default the file's own folder. Without a split column the fractions `val`
    and `test` are kept (of every class in classification); where the column names no picture for validation, `val`
    of the training ones. `UserError`, with the line, for a column, a picture or a target that is missing or cannot be.
    """
    root = root or path.parent
    rows = list(_rows(path, columns, root))
    if not rows:
        raise UserError("no pictures: only a header", where=WHERE, got=str(path))
    _check_once(path, rows, root)
    classes, targets = TASKS[task](path, columns, rows)
    labels = [target if isinstance(target, int) else 0 for target in targets]
    values = [() if isinstance(target, int) else target for target in targets]
    splits, notes = _splits(path, rows, labels, classes if task == "classification" else None, (val, test), seed)
    if task != "regression":
        notes += alike(classes)
    if outside := [row.name for row in rows if Path(row.name).is_absolute()]:
        notes.append(
            f"pictures not below {root} keep their whole paths, also in an exported model ({few(outside, limit=2)});"
            " data.root may be a folder above them"
        )
    pictures = tuple(
        Picture(row.name, label, split, numbers)
        for row, label, split, numbers in zip(rows, labels, splits, values, strict=True)
    )
    return Catalog("csv", root, classes, channels, pictures, tuple(notes), task=task)


# the file


def column_mistakes(path: Path, columns: Columns) -> list[UserError]:
    """What is wrong with the file as far as its header tells, which alone is read."""
    try:
        with _reading(path) as file:
            header, _ = _header(path, file)
    except UserError as error:
        return [error]
    return _misfits(path, header, columns)


def _rows(path: Path, columns: Columns, root: Path) -> Iterator[Row]:
    if not root.is_dir():
        raise UserError("no such folder", where="data.root", got=str(root))
    with _reading(path) as file:
        header, separator = _header(path, file)
        for misfit in _misfits(path, header, columns):
            raise misfit
        places = [header.index(name) for _, name in _wanted(columns)]
        reader = csv.reader(file, delimiter=separator, strict=True)
        for cells in reader:
            line = reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise _wrong(path, line, counted(len(cells), "cell"), expected=f"{len(header)}, as in the header")
            yield _row(path, line, [cells[place].strip() for place in places], columns, root)


@contextmanager
def _reading(path: Path) -> Iterator[TextIO]:
    """The file, open; what it cannot be read for is the user's mistake."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", where=WHERE, got=str(path)) from error
    except UnicodeDecodeError as error:
        raise UserError("not UTF-8 text", where=WHERE, got=str(path), hint="save it as CSV UTF-8") from error
    except csv.Error as error:
        raise UserError(f"not a CSV file ({error})", where=WHERE, got=str(path)) from error


def _header(path: Path, file: TextIO) -> tuple[list[str], str]:
    """The names of the columns, and what parts the cells."""
    line = file.readline()
    separator = max(SEPARATORS, key=line.count)
    header = [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    if not header:
        raise UserError("the file is empty", where=WHERE, got=str(path))
    return header, separator


def _wanted(columns: Columns) -> list[tuple[str, str]]:
    """(setting, column) of the image, the targets and the split, in a row's order."""
    wanted = [("image_column", columns.image), *(("target_columns", name) for name in columns.targets)]
    return wanted if columns.split is None else [*wanted, ("split_column", columns.split)]


def _misfits(path: Path, header: list[str], columns: Columns) -> list[UserError]:
    """Each column that is wanted and is not there, or is there twice."""
    return [
        UserError(
            f"{'more than one' if name in header else 'no'} such column in {path}",
            where=f"data.{setting}",
            got=name,
            expected=f"one of {few(header, limit=12)}",
        )
        for setting, name in _wanted(columns)
        if header.count(name) != 1
    ]


def _row(path: Path, line: int, cells: list[str], columns: Columns, root: Path) -> Row:
    name, *targets = cells
    split: Split | None = None
    if columns.split is not None:
        word = targets.pop()
        split = SPLIT_WORDS.get(word.lower())
        if split is None:
            raise _wrong(
                path, line, f"no such split in {columns.split!r}", got=word, expected=f"one of {', '.join(SPLITS)}"
            )
    if not name:
        raise _wrong(path, line, f"no picture in {columns.image!r}")
    if not (root / name).is_file():
        name = _with_extension(root, name) or name
        if not (root / name).is_file():
            raise _wrong(path, line, "no such picture", got=name, hint=f"paths are seen from {root} (data.root)")
    return Row(line, _below(root, Path(name)).as_posix(), tuple(targets), split)


def _below(root: Path, place: Path) -> Path:
    """A picture's path as seen from `root`, where it can be: names go into models that are given to others."""
    if place.is_absolute():
        for above in (Path(os.path.abspath(root)), root.resolve()):  # noqa: PTH100 - links as they are, then followed
            if place.is_relative_to(above):
                return place.relative_to(above)
    return place


def _with_extension(root: Path, name: str) -> str | None:
    """Tables often name pictures without `.jpg`: the one such file, if there is one."""
    if Path(name).suffix.lower() in EXTENSIONS:
        return None
    found = [f"{name}{extension}" for extension in sorted(EXTENSIONS) if (root / f"{name}{extension}").is_file()]
    return found[0] if len(found) == 1 else None


def _check_once(path: Path, rows: Iterable[Row], root: Path) -> None:
    """A picture listed twice, in whatever words, could be trained on and validated with."""
    first: dict[str, int] = {}
    here = root.absolute().as_posix()
    for row in rows:
        place = posixpath.normpath(posixpath.join(here, row.name))  # `a/../b.jpg` is `b.jpg`
        if place in first:
            raise _wrong(path, row.line, f"the picture of line {first[place]} again", got=row.name)
        first[place] = row.line


# targets: the names of a network's outputs, and for each row its label or its values

Targets = tuple[tuple[str, ...], Sequence[int | tuple[float, ...]]]


def _labels(path: Path, columns: Columns, rows: list[Row]) -> Targets:
    _check_filled(path, columns, rows)
    if len(columns.targets) > 1:
        raise UserError(
            "classification has one target column",
            where="data.target_columns",
            got=list(columns.targets),
            hint="several are for data.task: multilabel or regression",
        )
    words = [row.cells[0] for row in rows]
    classes = tuple(sorted(set(words), key=_in_order))
    if len(classes) < 2:
        raise UserError(f"only one class: {classes[0]}", where="data.target_columns", got=columns.targets[0])
    numbers = {name: number for number, name in enumerate(classes)}
    return classes, [numbers[word] for word in words]


def _in_order(word: str) -> tuple[int, int, str]:
    """Whole numbers by value, before words."""
    return (0, int(word), word) if word.isascii() and word.isdigit() else (1, 0, word)


def _many_labels(path: Path, columns: Columns, rows: list[Row]) -> Targets:
    if len(columns.targets) == 1:
        return _listed_labels(path, columns, rows)
    _check_filled(path, columns, rows)
    values = []
    for row in rows:
        for name, cell in zip(columns.targets, row.cells, strict=True):
            if cell.lower() not in YES_NO:
                raise _wrong(
                    path, row.line, f"{name!r} does not say whether the label applies", got=cell, expected="0 or 1"
                )
        values.append(tuple(YES_NO[cell.lower()] for cell in row.cells))
    return columns.targets, values


def _listed_labels(path: Path, columns: Columns, rows: list[Row]) -> Targets:
    """One cell with all labels of a picture; an empty one means none of them."""
    sets = [[part.strip() for part in row.cells[0].split(columns.separator)] if row.cells[0] else [] for row in rows]
    for row, labels in zip(rows, sets, strict=True):
        if "" in labels or len(set(labels)) < len(labels):
            what = "an empty label" if "" in labels else "a label twice"
            raise _wrong(path, row.line, what, got=row.cells[0], expected=f"labels parted by {columns.separator}")
    classes = tuple(sorted({label for labels in sets for label in labels}, key=_in_order))
    if len(classes) < 2:
        raise UserError(
            f"fewer than two labels ({few(classes)}) parted by {columns.separator!r}",
            where="data.target_columns",
            got=columns.targets[0],
            hint="data.separator says what parts them",
        )
    return classes, [tuple(float(name in labels) for name in classes) for labels in sets]


def _numbers(path: Path, columns: Columns, rows: list[Row]) -> Targets:
    _check_filled(path, columns, rows)
    values = []
    for row in rows:
        for name, cell in zip(columns.targets, row.cells, strict=True):
            if not math.isfinite(_number(cell)):
                raise _wrong(path, row.line, f"{name!r} is no number", got=cell, expected="a finite number such as 3.5")
        values.append(tuple(_number(cell) for cell in row.cells))
    return columns.targets, values


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _check_filled(path: Path, columns: Columns, rows: list[Row]) -> None:
    for row in rows:
        for name, cell in zip(columns.targets, row.cells, strict=True):
            if not cell:
                raise _wrong(path, row.line, f"nothing in {name!r}")


TASKS: dict[Task, Callable[[Path, Columns, list[Row]], Targets]] = {
    "classification": _labels,
    "multilabel": _many_labels,
    "regression": _numbers,
}


# splits

_INSTEAD = "say the splits in a column (data.split_column)"


def _splits(
    path: Path,
    rows: list[Row],
    labels: list[int],
    classes: tuple[str, ...] | None,
    fractions: tuple[float, float],
    seed: int,
) -> tuple[list[Split], list[str]]:
    """The split of each row, and what the user should be told; `classes` None: nothing to stratify by."""
    given: list[Split] = [row.split or "train" for row in rows]
    val, test = fractions
    notes = []
    if "train" not in given:
        raise UserError("no picture is for training", where="data.split_column", got=str(path))
    if rows[0].split is not None and "val" not in given:
        test = 0.0 if "test" in given else test
        notes.append(f"no picture is given for validation: {val:g} of those for training are kept for it (data.val)")
    if "val" not in given:
        chosen = [index for index, split in enumerate(given) if split == "train"]
        names = [rows[index].name for index in chosen]
        if classes is None:
            parts = plain_split(names, val=val, test=test, seed=seed, instead=_INSTEAD)
        else:
            mine = [labels[index] for index in chosen]
            parts = stratified_split(names, mine, classes=classes, val=val, test=test, seed=seed, instead=_INSTEAD)
        for index, split in zip(chosen, parts, strict=True):
            given[index] = split
    if classes is not None:
        trained = {label for label, split in zip(labels, given, strict=True) if split == "train"}
        for row, label in zip(rows, labels, strict=True):
            if label not in trained:
                raise _wrong(path, row.line, f"class {classes[label]!r} has no picture for training")
    return given, notes


def _wrong(
    path: Path, line: int, what: str, *, got: str | None = None, expected: str | None = None, hint: str | None = None
) -> UserError:
    return UserError(what, where=f"{path}:{line}", got=got, expected=expected, hint=hint)
