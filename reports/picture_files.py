"""The pictures that files, folders and globs name.

for found in find_pictures(["holiday/", "bees/*.jpg", "one.png"]):
    print(found.path, found.error)
"""

import glob
import os
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
        for match in _matches(path):
            if match.is_dir():
                pictures = _pictures_below(match)
                yield from (Found(picture) for picture in pictures)
                if not pictures:
                    yield Found(match, "no pictures in this folder")
            elif match.is_file():
                yield Found(match)
            else:
                yield Found(match, "not a file" if match.exists() else "no such file")


def _matches(path: Path | str) -> list[Path]:
    """What a glob matches, sorted; the path itself when it exists, is no glob, or matches nothing."""
    pattern = os.fspath(path)
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [Path(pattern)]
    # Path.glob takes no absolute patterns.
    return [Path(match) for match in sorted(glob.glob(pattern, recursive=True))] or [Path(pattern)]  # noqa: PTH207


def _pictures_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()  # links may lead in circles
    for place, folders, files in os.walk(folder, followlinks=True):
        facts = Path(place).stat()
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(place, name) for name in files if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS
        ]
    return sorted(found)
