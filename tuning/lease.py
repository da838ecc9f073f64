"""One driver at a time for a run that is at home on object storage, wherever its drivers are.

    with leased(home, say=print) as lease:     # renewed from a thread, every few seconds
        lease.check()                          # UserError when another driver has taken the run over

Object storage has no locks. Who drives writes a note there and renews it; who finds another's looks whether it still
changes, which needs no clocks to agree, and takes over from one that does not. Of two that begin in the same moment the
one that wrote last goes on; the other looks before it lets its journal count and before it removes anything, and at
each renewal, and stops.
"""

import math
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from reports.drivers import DRIVER
from reports.home import Home
from trainables.errors import UserError

RENEW_S = 5.0
# A note that does not change for so long was left by a driver that died.
WATCH_S = 4 * RENEW_S
_LOOK_AGAIN_S = 1.0


class Lease:
    """This driver's note at a run's home. `life` names the driver among all that the run ever had."""

    def __init__(self, home: Home) -> None:
        self.home, self.life = home, secrets.token_hex(8)
        self.lost: UserError | None = None
        self._renewals = 0
        self._writing = threading.Lock()
        self._left = threading.Event()
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    def take(self) -> None:
        """Writes the note, over whichever is there, and keeps it new."""
        self._write()
        self.check()
        threading.Thread(target=self._keep, name="lease", daemon=True).start()

    def check(self) -> None:
        """Looks whether the note is still this driver's.

        Raises:
            UserError: it is another's.
            StorageError: the storage fails.
        """
        if self.lost is None:
            holder = self.home.bucket.read_json(DRIVER)
            if holder is None or holder.get("life") != self.life:
                who = _told(holder) if holder else "a driver that has ended since"
                self.lost = UserError("the sweep was taken over by another driver", where=self.home.url, got=who)
        if self.lost is not None:
            raise self.lost

    def leave(self) -> None:
        """Removes the note, if it is still this driver's."""
        self._left.set()
        if self.lost is None:
            with self._writing:
                self.check()
                self.home.bucket.remove(DRIVER)

    def _keep(self) -> None:
        while not self._left.wait(RENEW_S) and self.lost is None:
            try:
                self._renew()
            except UserError as error:
                self.lost = error
            except Exception as error:  # whatever it is: a note that is not renewed lets others in
                self.lost = UserError("the note of this driver cannot be kept", where=self.home.url, got=repr(error))

    def _renew(self) -> None:
        with self._writing:
            began = -math.inf
            # What took long to write may have come over another's.
            while time.monotonic() - began > RENEW_S and not self._left.is_set():
                self.check()
                self._renewals, began = self._renewals + 1, time.monotonic()
                self._write()

    def _write(self) -> None:
        self.home.bucket.write_json(
            DRIVER,
            {
                "life": self.life,
                "copy": self.home.copy,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": self._since,
                "renewals": self._renewals,
            },
        )


@contextmanager
def leased(home: Home, *, say: Callable[[str], object]) -> Iterator[Lease]:
    """Keeps other drivers off a run. The caller sees to it that no other works in its copy (`driving`).

    Args:
        say: told when it takes time.

    Raises:
        UserError: another driver is at work on the run, or the storage fails.
    """
    _wait_for_silence(home, say=say)
    lease = Lease(home)
    lease.take()
    try:
        yield lease
    except KeyboardInterrupt:
        home.bucket.answers.hurry()
        raise
    finally:
        with suppress(UserError):  # a note that stays is found to be silent
            lease.leave()


def _wait_for_silence(home: Home, *, say: Callable[[str], object]) -> None:
    found = home.bucket.read_json(DRIVER)
    if found is None or found.get("copy") == home.copy:  # of this very copy, which the caller holds: it is dead
        return
    say(f"{_told(found)} may be at work on this sweep: looking for {WATCH_S:.0f} s whether it still is")
    until = time.monotonic() + WATCH_S
    while time.monotonic() < until:
        time.sleep(_LOOK_AGAIN_S)
        now = home.bucket.read_json(DRIVER)
        if now is None:
            return
        if now != found:
            raise UserError(
                "this sweep is being run already",
                where=home.url,
                got=_told(now),
                hint="wait for it, or stop it with Ctrl-C there",
            )


def _told(holder: dict[str, Any]) -> str:
    """A driver in words."""
    return f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"
