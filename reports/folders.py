"""Folders that are either whole or not there.

with replaced_folder(Path("runs/resnet18/best")) as unfinished:
    (unfinished / "model.json").write_text("{}")
"""

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainables.errors import UserError
from trainables.files import flush_folder

_ASIDE = "former"  # what the folder that is being replaced is called inside a temporary one


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """An empty temporary folder beside `folder`; what is written there is flushed and takes the place of `folder`.

    When the block raises, `folder` stays as it was and nothing is left behind. What a killed process of this machine
    left behind is cleared away first; where it died between taking `folder` away and putting the new one there, the
    former one is put back.

    Raises:
        OSError: the folders cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(folder)
    own = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{_prefix(folder)}{os.getpid()}."))
    unfinished, former = own / "new", own / _ASIDE
    try:
        unfinished.mkdir(mode=0o755)
        yield unfinished
        for path in (*unfinished.iterdir(), unfinished):
            _flush(path)
        if folder.exists():
            folder.rename(former)
        try:
            unfinished.rename(folder)
        except BaseException:
            if former.exists():
                former.rename(folder)
            raise
    finally:
        if not (former.exists() and not folder.exists()):  # never the last copy
            shutil.rmtree(own, ignore_errors=True)  # what stays is cleared away the next time
    flush_folder(folder.parent)


def refuse_link(folder: Path, *, run: Path) -> None:
    """Raises UserError for a link in a run's folder: a stranger's run would decide where is written to."""
    if folder.is_symlink() and folder.parent.resolve() == run.resolve():
        raise UserError("a link in a run's folder", where=str(folder), hint="give another folder with -o")


def refuse_links(run: Path, *names: str) -> None:
    """Raises UserError where one of these paths in a run's folder, or a folder above it there, is a link."""
    for name in names:
        for path in (run / name, *(run / above for above in Path(name).parents if above != Path())):
            if path.is_symlink():
                raise UserError("a link in a run's folder", where=str(path), hint="put what it leads to there itself")


def _prefix(folder: Path) -> str:
    return f".{folder.name}.{socket.gethostname()}."


def _clear_leftovers(folder: Path) -> None:
    """Temporary folders of `folder` whose process, on this machine, lives no more."""
    mine = re.compile(re.escape(_prefix(folder)) + r"(\d+)\.\w+")
    for path in sorted(folder.parent.iterdir()):
        match = mine.fullmatch(path.name)
        if match is None or _lives(int(match[1])):
            continue
        if (path / _ASIDE).exists() and not folder.exists():
            (path / _ASIDE).rename(folder)
        shutil.rmtree(path, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def _flush(path: Path) -> None:
    if path.is_dir():
        flush_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
