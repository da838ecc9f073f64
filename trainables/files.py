"""Files that are either whole or not there.

with replaced(path) as temporary:
    temporary.write_text("…")
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
