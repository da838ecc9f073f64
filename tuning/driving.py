"""Holding a run while a driver works in it, and what its disk's errors come to.

with saving(address_of(run)), driving(run):
    …                       # nobody else drives this run; an OSError from here is one clear line
"""

import os
import shlex
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

from reports.drivers import DRIVER, LOCK, driver_of
from reports.home import address_of
from trainables.data.folders import check_names
from trainables.errors import UserError
from trainables.files import write_json
from trainables.urls import is_url


@contextmanager
def saving(run: str) -> Iterator[None]:
    """Turns an error of the disk into one clear line: what is recorded is whole, and the sweep can be resumed.

    Raises:
        UserError: in place of any OSError.
    """
    safe, mend = "what is recorded is safe", "make the folder writable or make room"
    if is_url(run):
        safe, mend = "what is recorded is safe, the last of it on this machine alone", "see that the storage answers"
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the sweep cannot be saved ({error})",
            where=run,
            hint=f"{safe}; {mend}, then `tune resume {shlex.quote(run)}`",
        ) from error


@contextmanager
def driving(run: Path) -> Iterator[None]:
    """Holds a run: one driver at a time. The hold ends with the process, however that ends.

    Raises:
        UserError: another driver is at work, and who it is; or the folder leads elsewhere by links; or no record could
            hold its name.
    """
    check_names([str(run.absolute())], where="RUN")
    _refuse_links(run)
    lock = FileLock(run / LOCK)
    try:
        lock.acquire(timeout=1)  # a reader that looks whether anybody holds it does so for an instant
    except Timeout:
        holder = driver_of(run) or {}
        who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}" if holder else "another process"
        raise UserError(
            "this sweep is being run already",
            where=address_of(run),
            got=who,
            hint="wait for it, or stop it with Ctrl-C there",
        ) from None
    try:
        _clear_remains(run)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(run / DRIVER, {"pid": os.getpid(), "host": socket.gethostname(), "since": since})
        yield
    finally:
        with suppress(OSError):
            (run / DRIVER).unlink(missing_ok=True)
        lock.release()


def _refuse_links(run: Path) -> None:
    """A run may come from a stranger, and a driver writes and removes: never through a link out of the folder."""
    for path in chain(run.iterdir(), run.glob("logs/**/*"), run.glob("trials/*")):
        if path.is_symlink():
            raise UserError(
                "a link in a run's folder",
                where=str(path),
                hint="put the files themselves there to go on with the sweep",
            )


def _clear_remains(run: Path) -> None:
    """Unfinished files of a killed driver; their finished forms, if any, are in place."""
    for pattern in (".*.tmp", "trials/*/.*.tmp", ".*.wider"):
        for path in run.glob(pattern):
            path.unlink(missing_ok=True)
