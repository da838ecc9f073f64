"""Optuna's journal file, for one writer that may be killed at any moment.

    storage = JournalStorage(JournalFile(run / "journal.log", writable=True))

Optuna's own locks are files beside the journal; one left by a killed process delays the next writer by up to 30 s. Here
the sweep's driver is the only writer (it holds the run's lock while it lives), so none is needed. A reader neither
creates nor changes anything, so a report can be made from a folder that is read-only or belongs to a running sweep.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend


class JournalFile(JournalFileBackend):
    """A journal file; opened to write, a last line torn by a crash is cut off first."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self._writable, self._broken = writable, False
        if writable:
            _cut_torn_line(path)
        super().__init__(str(path), lock_obj=_NoLock())  # type: ignore[arg-type]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if not self._writable:
            raise RuntimeError("this ledger was opened to read")
        if self._broken:
            raise OSError("an earlier write to the ledger failed")
        path = Path(self._file_path)
        size = path.stat().st_size
        try:
            super().append_logs(logs)
        except OSError:
            # Half a line may be there, and a line after it would make the whole journal unreadable.
            self._broken = True
            with suppress(OSError):  # what cannot be cut off now is cut off when the journal is opened again
                os.truncate(path, size)
            raise


class _NoLock:
    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


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
