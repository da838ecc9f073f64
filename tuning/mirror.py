"""Keeps the home of a run on object storage up to date while a driver works in its working copy.

    with mirrored(lease, journal=run / "journal.log", say=print) as mirror:
        mirror.afterwards(lambda: bucket.remove("trials/3/epoch-00001.safetensors"))
        mirror.trouble                     # why the sweep must stop; None while all is well

The order is what makes it safe: a checkpoint is at home before its epoch is recorded, the record is at home before a
file that it made unneeded is removed. So what is at home is at any moment a state that the sweep was in, with all it
takes to go on from there, on any machine.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reports.remote_journal import JournalParts
from trainables.errors import UserError
from trainables.outages import StorageError
from tuning.lease import Lease

PERIOD_S = 1.0
# So long the end may take without a word.
SILENT_S = 3.0


class Mirror:
    """Brings the journal home from a thread, as it grows.

    Args:
        lease: this driver's hold on the run.
        journal: the file; None where the ledger is in a database.
    """

    def __init__(self, lease: Lease, *, journal: Path | None) -> None:
        self._lease, self._journal = lease, journal
        self._parts = JournalParts(lease.home.bucket, life=lease.life)
        self._failed: str | None = None  # in a line
        self._waiting: list[Callable[[], None]] = []
        self._ends = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    @property
    def trouble(self) -> str | None:
        """Why the sweep must stop, in a line; None while all is well."""
        return self._failed or (str(self._lease.lost) if self._lease.lost else None)

    def start(self) -> None:
        """Brings all there is home, as this driver's. Errors as `check`."""
        self._lease.check()  # from the next line on this driver's journal counts
        self._bring()
        self._thread.start()
        self._lease.home.push_record()
        self.check()

    def check(self) -> None:
        """Raises UserError where the run is another driver's by now, StorageError where not all gets home."""
        self._lease.check()
        if self._failed is not None:
            raise StorageError(self._failed)

    def waits(self) -> bool:
        """Whether the storage does not answer."""
        return self._lease.home.bucket.answers.is_away()

    def hurry(self) -> None:
        """Has what fails no longer tried again, while the storage does not answer."""
        self._lease.home.bucket.answers.hurry()

    def afterwards(self, act: Callable[[], None]) -> None:
        """Has something done, soon, once the ledger as it is now is at home."""
        with self._news:
            self._waiting.append(act)
            self._news.notify()

    def finish(self, *, say: Callable[[str], object]) -> None:
        """Brings home what is new, does what waits, and ends. Errors as `check`."""
        with self._news:
            self._ends = True
            self._news.notify()
        self._thread.join(SILENT_S)
        if self._thread.is_alive():
            say(f"bringing the last of it home to {self._lease.home.url} …")
            self._thread.join()
        self.check()

    def step(self) -> None:
        """Once, what the thread does again and again."""
        with self._news:
            acts, self._waiting = self._waiting, []  # taken before the ledger is looked at, which has all they rely on
        self._bring()
        if acts:
            self._lease.check()  # another driver may have taken over meanwhile, and need what would be removed
        for act in acts:
            act()

    def _work(self) -> None:
        ends = False
        while not ends:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._ends, timeout=PERIOD_S)
                ends = self._ends
            try:
                self.step()
            except Exception as error:  # whatever it is: a sweep must not go on unmirrored
                self._failed = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                return

    def _bring(self) -> None:
        if self._journal is not None:
            self._parts.bring(self._journal)


@contextmanager
def mirrored(lease: Lease, *, journal: Path | None, say: Callable[[str], object]) -> Iterator[Mirror]:
    """A mirror at work; when the block ends, the record and the logs are at home.

    Args:
        say: told when the end takes time, or not all is at home.

    Raises:
        UserError: another driver has taken over.
        StorageError: the storage fails.
    """
    mirror = Mirror(lease, journal=journal)
    mirror.start()
    told = False
    try:
        try:
            yield mirror
        except KeyboardInterrupt:
            mirror.hurry()
            raise
        finally:
            mirror.finish(say=say)
        lease.home.push_record()
        lease.home.push("logs")
        told = True
    except UserError:  # says it itself
        told = True
        raise
    finally:
        if not told:
            say("the last of the record may be on this machine alone: go on from here")
