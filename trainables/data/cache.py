"""The folder of what can be computed again: decoded pictures, content digests, features.

    cache = cache_folder()
    for kind, path, size in entries(cache): …
    freed = clear(cache)

Each kind has a folder of its own, marked as a cache (https://bford.info/cachedir/), and only marked folders are ever
listed or cleared, so that a wrong `TUNEYARD_CACHE` costs nobody a file.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from trainables.errors import UserError
from trainables.files import expanded

VARIABLE = "TUNEYARD_CACHE"
# Working copies of runs on object storage (`reports.working_copies`): unmarked, so neither listed nor cleared.
COPIES = "runs"
TAG_NAME = "CACHEDIR.TAG"
TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# Made by tuneyard; everything here can be computed again.\n"


class Entry(NamedTuple):
    """One thing in the cache: its kind (`pixels`, `digests`, …), its file or folder, its size in bytes."""

    kind: str
    path: Path
    bytes: int


def cache_folder() -> Path:
    """`$TUNEYARD_CACHE`, else `$XDG_CACHE_HOME/tuneyard`, else `~/.cache/tuneyard`. It need not be there yet."""
    if chosen := os.environ.get(VARIABLE):
        return expanded(chosen).absolute()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return expanded(shared).absolute() / "tuneyard"
    return Path.home() / ".cache" / "tuneyard"


def kind_folder(cache: Path, kind: str) -> Path:
    """The folder of one kind of entry, made and marked where it is missing. `UserError` when it cannot be made."""
    folder = cache / kind
    with writing(cache):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / TAG_NAME).exists():
            (folder / TAG_NAME).write_text(TAG, encoding="utf-8")
    return folder


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Turns a failure to write into the cache (disk full, not allowed) into a `UserError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the cache cannot be written ({error.strerror or error})",
            where="cache",
            got=str(cache),
            hint=f"make room or set {VARIABLE} to a folder that can be written",
        ) from error


def locked(entry: Path) -> FileLock:
    """The lock of one entry: whoever builds or removes it holds it. Other processes wait for it."""
    return FileLock(entry.with_name(f".{entry.name}.lock"))


def entries(cache: Path) -> list[Entry]:
    """What the cache holds, by kind and name; hidden files (locks, unfinished work) are left out."""
    return [
        Entry(folder.name, path, size_of(path))
        for folder in _kind_folders(cache)
        for path in sorted(folder.iterdir())
        if path.name != TAG_NAME and not path.name.startswith(".")
    ]


def clear(cache: Path) -> int:
    """Removes the entries that nobody is building just now, and unfinished ones; returns how many bytes went."""
    freed = 0
    with writing(cache):
        for folder in _kind_folders(cache):
            for path in sorted(folder.iterdir()):
                if path.name == TAG_NAME or path.suffix == ".lock":
                    continue
                entry = path.with_name(path.name.removeprefix(".").removesuffix(".partial"))
                lock = locked(entry)
                try:
                    # Lock files stay: taking one away from under a waiting process would give two of them the lock.
                    with lock.acquire(timeout=0) if Path(lock.lock_file).exists() else nullcontext():
                        freed += size_of(path)
                        _remove(path)
                except Timeout:
                    continue
            for spare in folder.glob(".*-*.lock"):  # of single chunks; two that hold one would only do the same work
                spare.unlink(missing_ok=True)
    return freed


def _kind_folders(cache: Path) -> list[Path]:
    if not cache.is_dir():
        return []
    return sorted(path for path in cache.iterdir() if path.is_dir() and (path / TAG_NAME).is_file())


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files in a folder; what goes meanwhile counts for nothing."""
    files = [path] if path.is_file() else [Path(place, name) for place, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def _remove(path: Path) -> None:
    """Removes a file or folder, but for what others remove or write in the same moment."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise
