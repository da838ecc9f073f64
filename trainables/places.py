"""Where a run's checkpoints are: in a folder that all workers see, or on object storage.

place = place_at("/shared/runs/my")                        # or "s3://bucket/sweeps/my"
with place.writing("trials/3/epoch-00001.safetensors") as path:
    snapshot.save(path)                                    # it is there, whole, when the block has ended
with place.reading("trials/3/epoch-00001.safetensors") as path:
    Snapshot.load(path)
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from trainables.bucket import Bucket
from trainables.urls import is_url


class Place(Protocol):
    """Files by their names, relative to the run: `trials/3/epoch-00001.safetensors`."""

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """A path to write a file to, whole or not at all; it is in its place when the block ends."""

    def reading(self, name: str) -> AbstractContextManager[Path]:
        """A path to read a file from while the block lasts. OSError where there is none."""

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def files(self, folder: str) -> list[str]:
        """The names of the files directly in a folder; none where there is no such folder."""

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly in a folder."""

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""

    def remove_folder(self, folder: str) -> None:
        """Removes a folder with all that is in it, if it is there."""


def place_at(where: str) -> Place:
    """The place of a folder's path, or of a URL. UserError for a URL that cannot be one."""
    return Bucket(where) if is_url(where) else Folder(Path(where))


class Folder:
    """A folder. Nothing is removed through a link in it, for it may come from a stranger."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        (self._path / name).parent.mkdir(parents=True, exist_ok=True)
        yield self._path / name

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        yield self._path / name

    def has(self, name: str) -> bool:
        return (self._path / name).is_file()

    def files(self, folder: str) -> list[str]:
        return [path.name for path in self._inside(folder) if path.is_file()]

    def folders(self, folder: str) -> list[str]:
        return [path.name for path in self._inside(folder) if path.is_dir() and not path.is_symlink()]

    def remove(self, name: str) -> None:
        if not self._leads_out(Path(name).parent):
            (self._path / name).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        if not self._leads_out(Path(folder)):
            shutil.rmtree(self._path / folder, ignore_errors=True)

    def _inside(self, folder: str) -> list[Path]:
        path = self._path / folder
        return [] if self._leads_out(Path(folder)) or not path.is_dir() else list(path.iterdir())

    def _leads_out(self, folder: Path) -> bool:
        return any((self._path / part).is_symlink() for part in (folder, *folder.parents) if part != Path())
