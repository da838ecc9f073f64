"""Optuna's journal file, for one writer that may be killed at any moment.

    journal = Journal(run / "journal.log")
    study = journal.load(writable=True)
    with journal.one_flush():
        ...                           # several writes, on disk together when the block ends

Optuna's own locks are files beside the journal; one left by a killed process delays the next writer by up to 30 s. Here
the sweep's driver is the only writer (it holds the run's lock while it lives), so none is needed. A reader neither
creates nor changes anything, so a report can be made from a folder that is read-only or belongs to a running sweep.
"""

import gc
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection

from trainables.errors import UserError
from trainables.files import flush_folder

# The one study in it.
STUDY = "tuneyard"
# Lines decoded at once, which is faster than one by one; and equal keys among them are one string in memory.
_CHUNK = 1000
_OF_DAMAGED_LINES = (
    LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, RuntimeError, OSError
)  # fmt: skip


class Journal:
    """A study in a journal file of its own. See `reports.database` for another place."""

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)
        self._file: JournalFile | None = None

    def create(self, direction: StudyDirection) -> optuna.Study:
        """A new, empty study."""
        storage = self._opened(writable=True)
        return optuna.create_study(storage=storage, study_name=STUDY, direction=direction)

    def load(self, *, writable: bool = False) -> optuna.Study:
        """The study as it is.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        if not self.path.is_file():
            raise UserError("this sweep has no ledger", where=str(self.path), hint="is the folder complete?")
        try:
            with _no_collection():
                return optuna.load_study(storage=self._opened(writable=writable), study_name=STUDY)
        except _OF_DAMAGED_LINES as error:
            raise UserError(
                f"the ledger cannot be read ({error})", where=str(self.path), hint="restore it from a copy"
            ) from error

    def one_flush(self) -> AbstractContextManager[None]:
        """What is written within reaches the disk together, when it ends."""
        assert self._file is not None
        return self._file.one_flush()

    def widen(self, study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> optuna.Study:
        """The study with wider distributions in all its trials: a new file, which takes the place of the old one whole.

        Optuna wants one distribution for one name in a study, and samples jointly only what never changed.
        """
        unfinished = self.path.with_name(f".{self.path.name}.wider")
        unfinished.unlink(missing_ok=True)
        wider = Journal(unfinished)
        copy = wider.create(study.direction)
        with wider.one_flush():
            for name, value in study.user_attrs.items():
                copy.set_user_attr(name, value)
            for trial in study.get_trials():
                trial.distributions = {name: distributions[name] for name in trial.params}
                copy.add_trial(trial)
        unfinished.replace(self.path)
        flush_folder(self.path.parent)
        return self.load(writable=True)

    def _opened(self, *, writable: bool) -> JournalStorage:
        self._file = JournalFile(self.path, writable=writable)
        return JournalStorage(self._file)


class JournalFile(BaseJournalBackend):
    """A journal file; opened to write, a last line torn by a crash is cut off first."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path, self._writable = path, writable
        self._broken = self._flush_later = False
        self._number = self._offset = 0  # lines read so far, and where in the file they end
        if writable:
            _cut_torn_line(path)
            path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The lines from this number on, as they are in the file now. A last one that is not whole is left out.

        Raises:
            ValueError: a line before the last is damaged.
        """
        if log_number_from < self._number:
            self._number = self._offset = 0
        size = self.path.stat().st_size
        if size <= self._offset:  # asked for at every step, mostly for nothing
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            whole = _whole_lines(file, size - self._offset)
            while lines := list(islice(whole, _CHUNK)):
                logs = _decode(lines)
                for line, log in zip(lines, logs, strict=True):
                    self._number += 1
                    self._offset += len(line)
                    if self._number > log_number_from:
                        yield log

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Writes lines; they are on disk when this returns, or when the surrounding `one_flush` ends.

        Raises:
            OSError: they cannot be written, or an earlier write failed.
        """
        if not self._writable:
            raise RuntimeError("this ledger was opened to read")
        if self._broken:
            raise OSError("an earlier write to the ledger failed")
        size = self.path.stat().st_size
        with self.path.open("ab") as file, self._whole_or_nothing(size):
            for log in logs:
                file.write(json.dumps(log, separators=(",", ":")).encode() + b"\n")
            file.flush()
            if not self._flush_later:
                os.fsync(file.fileno())

    @contextmanager
    def one_flush(self) -> Iterator[None]:
        """What is written within goes to the file line by line, and to the disk once, at the end.

        A crash of the machine may lose any number of the last lines; one of the process alone loses none.
        """
        size = self.path.stat().st_size
        self._flush_later = True
        try:
            yield
        finally:
            self._flush_later = False
        if self.path.stat().st_size > size:
            with self.path.open("ab") as file, self._whole_or_nothing(size):
                os.fsync(file.fileno())

    @contextmanager
    def _whole_or_nothing(self, size: int) -> Iterator[None]:
        """After a write that fails the file is cut off again, and nothing more is written."""
        try:
            yield
        except OSError:
            # Half a line may be there, and a line after it would make the whole journal unreadable.
            self._broken = True
            with suppress(OSError):  # what cannot be cut off now is cut off when the journal is opened again
                os.truncate(self.path, size)
            raise


def _whole_lines(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Lines within the next `size` bytes, each with its line feed."""
    for line in file:
        size -= len(line)
        if size < 0 or not line.endswith(b"\n"):
            return
        yield line


def _decode(lines: list[bytes]) -> list[dict[str, Any]]:
    logs = json.loads(b"[" + b",".join(lines) + b"]")
    if len(logs) != len(lines):
        raise ValueError("a line of it is damaged")
    return logs


def _cut_torn_line(path: Path) -> None:
    """Drops what follows the last line feed: the writer died before that line was whole, so nothing relies on it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        data_end = file.seek(0, os.SEEK_END)
        whole_end = data_end
        while whole_end > 0:
            start = max(0, whole_end - 65536)
            file.seek(start)
            found = file.read(whole_end - start).rfind(b"\n")
            if found >= 0:
                whole_end = start + found + 1
                break
            whole_end = start
        if whole_end < data_end:
            file.truncate(whole_end)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _no_collection() -> Iterator[None]:
    """Spares the garbage collector: reading a ledger makes millions of objects that stay, and no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
