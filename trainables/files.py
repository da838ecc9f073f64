"""Files of a sweep: whole or not there, known by their digests, and where a checkpoint is.

with replaced(path) as temporary:
    temporary.write_text("…")
expanded("~/pictures")                    # Path("/home/me/pictures")
file_digest(path)                         # "740c3eac…"
checkpoint_path(3, epoch=1)               # "trials/3/epoch-00001.safetensors"
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def expanded(path: str | Path) -> Path:
    """The path with `~` as a home folder; that of nobody here stays as it is, and is missed where it is looked for."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's own raises


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what is written there is flushed to disk and takes the place of `path`.

    When the block raises, `path` stays as it was and nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush_folder(path.parent)


def write_json(path: Path, document: Any) -> None:
    """Writes a JSON document, whole or not at all."""
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def flush_folder(folder: Path) -> None:
    """Makes renames and new names in a folder durable, where the file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # some file systems do not open folders
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex; computed once in a process for each size and time of change."""
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_path(number: int, epoch: int) -> str:
    """Where a trial's checkpoint of an epoch is, relative to the sweep's folder."""
    return f"trials/{number}/{checkpoint_name(epoch)}"


def checkpoint_name(epoch: int) -> str:
    """The file name of an epoch's checkpoint."""
    return f"epoch-{epoch:05d}.safetensors"
