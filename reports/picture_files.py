"""The pictures that files, folders and globs name.

for found in find_pictures(["holiday/", "bees/*.jpg", "one.png"]):
    print(found.path, found.error)
"""

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables.data.folders import EXTENSIONS


@dataclass(frozen=True)
class Found:
    """A picture's file, or what was asked for with the reason why there is none."""

    path: Path
    error: str | None = None


def find_pictures(paths: Iterable[Path | str]) -> Iterator[Found]:
    """The pictures, in the order of `paths`.

    Of a folder: the files with a picture's extension, at any depth, sorted, hidden ones left out. A file that is
    named itself is taken whatever its extension.
    """
    for path in paths:
        try:
            for match in _matches(path):
                yield from _found(match)
        except (OSError, ValueError) as error:  # a name that is too long, a folder above that may not be entered
            yield Found(Path(path), getattr(error, "strerror", None) or str(error))


def _found(match: Path) -> Iterator[Found]:
    if match.is_dir():
        found = _found_below(match)
        yield from found
        if not found:
            yield Found(match, "no pictures in this folder")
    else:
        yield _file(match, stat.S_IFMT(match.stat().st_mode) if match.exists() else None)


def _file(path: Path, kind: int | None) -> Found:
    """Only plain files are opened: a pipe that nobody writes to would be waited for."""
    return Found(path, None if kind == stat.S_IFREG else "no such file" if kind is None else "not a file")


def _matches(path: Path | str) -> list[Path]:
    """What a glob matches, sorted; the path itself when it exists, is no glob, or matches nothing."""
    pattern = os.fspath(path)
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [Path(pattern)]
    # Path.glob takes no absolute patterns.
    return [Path(match) for match in sorted(glob.glob(pattern, recursive=True))] or [Path(pattern)]  # noqa: PTH207


def _found_below(folder: Path) -> list[Found]:
    """The pictures below a folder, and the folders there that cannot be read, sorted."""
    found: list[Found] = []

    def unreadable(error: OSError) -> None:
        found.append(Found(Path(error.filename), error.strerror))

    seen: set[tuple[int, int]] = set()  # links may lead in circles
    for place, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        facts = Path(place).stat()
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                found.append(_entry(Path(place, name)))
    return sorted(found, key=lambda entry: entry.path)


def _entry(path: Path) -> Found:
    try:
        return _file(path, stat.S_IFMT(path.stat().st_mode))
    except OSError as error:  # a link to nowhere, or gone meanwhile
        return Found(path, error.strerror)
