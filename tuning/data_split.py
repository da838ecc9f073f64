"""Makes train, val and test folders of classes from one folder of pictures.

    plan = plan_split(Path("dogsandcats"), Path("pets"), val=0.2, test=0, seed=0, pattern="<label>.*", how="copy")
    carry_out(plan)                       # pets/train/cat/cat.17.jpg …

Nothing is overwritten. The work is done in a hidden folder beside the new one, which gets its name when all is there.
What is to be done is written down first, so that after an interruption the same command goes on, and no other.
"""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainables.data.catalog import SPLITS
from trainables.data.flat import labelled_names
from trainables.data.folders import EXTENSIONS, check_folder, check_names, classes_in, hidden
from trainables.data.splits import stratified_split
from trainables.errors import UserError
from trainables.files import expanded, flush_folder, write_json

How = Literal["copy", "move", "link"]
DONE = {"copy": "Copied", "move": "Moved", "link": "Linked"}
NOTE = ".split.json"
_ARGUMENTS = {"data.path": "SOURCE", "data.pattern": "--pattern", "data.val": "--val", "data.test": "--test"}


@dataclass(frozen=True)
class Plan:
    """What goes where: `targets` are (name below `source`, name below `folder`), in the order of the work."""

    source: Path
    folder: Path
    how: How
    asked: dict[str, float | str]
    targets: tuple[tuple[str, str], ...]

    @property
    def unfinished(self) -> Path:
        return _unfinished(self.folder)

    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures by split and class."""
        found: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        for _, target in self.targets:
            split, label, _ = target.split("/", 2)
            found[split][label] += 1
        return {split: dict(sorted(numbers.items())) for split, numbers in found.items() if numbers}

    def to_json(self) -> dict[str, Any]:
        """What is written down before the work begins."""
        return {"source": str(self.source), "how": self.how, "asked": self.asked, "targets": self.targets}


def plan_split(source: Path, folder: Path, *, val: float, test: float, seed: int, pattern: str, how: How) -> Plan:
    """Who goes into which split: of each class its share, by `seed`.

    `source` is a folder of class folders, or one with the class in each picture's name by `pattern`. `val` and `test`
    are fractions, or whole numbers of pictures. A plan that was interrupted is taken up as it was written down.

    Raises:
        UserError: there is no usable set of pictures, too few of a class, or a folder in the way.
    """
    source, folder = _absolute(source), _absolute(folder)
    with _as_arguments():
        return _plan(source, folder, val=val, test=test, seed=seed, pattern=pattern, how=how)


def _plan(source: Path, folder: Path, *, val: float, test: float, seed: int, pattern: str, how: How) -> Plan:
    _check_places(source, folder)
    asked: dict[str, float | str] = {"val": val, "test": test, "seed": seed, "pattern": pattern}
    if (left := _interrupted(source, folder, how, asked)) is not None:
        return left
    labels = _labels(source, pattern)
    classes = sorted(set(labels.values()))
    if odd := [label for label in classes if label.startswith(".")]:
        raise UserError("not a name for a folder", where=str(source), got=odd[0], expected="a class's name")
    number_of = {label: number for number, label in enumerate(classes)}
    numbers = [number_of[label] for label in labels.values()]
    try:
        splits = stratified_split(list(labels), numbers, classes=classes, val=val, test=test, seed=seed)
    except UserError as error:  # its hint is to do what this does
        what, expected = (text and text.replace("data.", "--") for text in (error.what, error.expected))
        raise UserError(what or "", where=error.where, got=error.got, expected=expected) from error
    targets = tuple(
        (name, f"{split}/{name if '/' in name else f'{label}/{name}'}")
        for (name, label), split in zip(labels.items(), splits, strict=True)
    )
    return Plan(source, folder, how, asked, targets)


def carry_out(plan: Plan, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Does it, or the rest of it. `UserError` for what the disk does not let happen; the same plan then goes on."""
    try:
        plan.folder.parent.mkdir(parents=True, exist_ok=True)
        plan.unfinished.mkdir(exist_ok=True)
        if not (plan.unfinished / NOTE).exists():
            write_json(plan.unfinished / NOTE, plan.to_json())
        for number, (name, target) in enumerate(plan.targets, start=1):
            _put(plan.source / name, plan.unfinished / target, how=plan.how)
            if progress:
                progress(number, len(plan.targets))
        plan.unfinished.rename(plan.folder)
        flush_folder(plan.folder.parent)
        (plan.folder / NOTE).unlink()
    except OSError as error:
        raise UserError(
            f"stopped: {error.strerror or error}",
            where=str(error.filename or plan.folder),
            hint="mend that, and the same command goes on where this one stopped",
        ) from error


def _put(picture: Path, target: Path, *, how: How) -> None:
    """One picture in its new place, whole or not there; what is there is of this plan, from before an interruption."""
    if os.path.lexists(target):
        if how == "move" and picture.exists():  # copied to another disk, and interrupted before it was taken away
            picture.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        target.symlink_to(picture)
        return
    if how == "move" and picture.is_symlink():  # what it is seen from moves on
        target.symlink_to(os.path.realpath(picture))
        picture.unlink()
        return
    if how == "move" and _renamed(picture, target):
        return
    half = target.with_name(f".{target.name}.half")
    shutil.copy2(picture, half)
    half.replace(target)
    if how == "move":
        picture.unlink()


def _renamed(picture: Path, target: Path) -> bool:
    """Whether a rename did it, which none does from one file system, or one mount of it, to another."""
    try:
        picture.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


@contextmanager
def _as_arguments() -> Iterator[None]:
    """Errors in the words of the command line, where there is no `data:` section; the disk's as one line."""
    try:
        yield
    except UserError as error:
        where = _ARGUMENTS.get(error.where or "", error.where)
        raise UserError(error.what, where=where, got=error.got, expected=error.expected, hint=error.hint) from error
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot be read ({reason})", where=str(error.filename or "SOURCE")) from error


def _labels(source: Path, pattern: str) -> dict[str, str]:
    """The class of each picture by its name below `source`."""
    check_folder(source)
    here = [entry for entry in sorted(source.iterdir()) if not hidden(entry.name)]
    if any(entry.is_file() and entry.suffix.lower() in EXTENSIONS for entry in here):
        labels = labelled_names(source, pattern)[0]
    else:
        labels = {name: label for label, names in classes_in(source).items() for name in names}
    check_names(labels)
    return labels


def _interrupted(source: Path, folder: Path, how: How, asked: dict[str, float | str]) -> Plan | None:
    """The plan that an interrupted split left behind, where it is the same one."""
    note = _unfinished(folder) / NOTE
    if not note.parent.exists():
        return None
    try:
        left = json.loads(note.read_text(encoding="utf-8"))
        targets = tuple((str(name), str(target)) for name, target in left["targets"])
        same = (left["source"], left["how"], left["asked"]) == (str(source), how, asked)
        names = [Path(name) for pair in targets for name in pair]
    except FileNotFoundError:  # stopped before anything was done
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            "what an interrupted split wrote down cannot be read", where=str(note), got=str(error)
        ) from error
    if not same or any(name.is_absolute() or ".." in name.parts for name in names):
        raise UserError(
            f"another split was interrupted: --{left['how']} of {left['source']} with {_words(left['asked'])}",
            where=str(note.parent),
            hint="finish that one first with the same command"
            + ("" if left["how"] == "move" else ", or remove this folder"),
        )
    return Plan(source, folder, how, asked, targets)


def _unfinished(folder: Path) -> Path:
    """Where the work is done until all is there."""
    return folder.with_name(f".{folder.name}.split")


def _words(asked: object) -> str:
    return ", ".join(f"{name} {value}" for name, value in asked.items()) if isinstance(asked, dict) else str(asked)


def _check_places(source: Path, folder: Path) -> None:
    if folder == source or source in folder.parents or folder in source.parents:
        raise UserError(
            "one folder is inside the other", where=str(folder), expected="a new folder beside the pictures'"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            "it is there already, and nothing is overwritten", where=str(folder), expected="a folder that is not there"
        )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(expanded(path)))  # noqa: PTH100 - links stay as they are
