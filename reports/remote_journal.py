"""A sweep's journal on object storage, which knows no appending: in parts, of which only the last is written again.

    parts = JournalParts(bucket, life="3fa9c2d1")
    parts.bring(run / "journal.log")          # all of it; from now on this driver's journal counts
    parts.bring(run / "journal.log")          # what is new
    read_journal(bucket)                      # bytes

Each driver writes under a name of its own, its life, and `journal.json` says whose counts. So a driver that was taken
for dead does not write into the journal of the one after it, and finds out that its own counts no more.
"""

import re
from pathlib import Path

from trainables.bucket import Bucket
from trainables.errors import UserError
from trainables.outages import StorageError
from trainables.urls import joined

CURRENT, FOLDER = "journal.json", "journal"
PART = 256 * 2**10  # bytes


class JournalParts:
    """The journal of one driver at home."""

    def __init__(self, bucket: Bucket, *, life: str) -> None:
        self._bucket, self.life = bucket, life
        self._sent = 0
        self._counts = False

    def bring(self, path: Path) -> None:
        """Brings what the journal has beyond what was sent; whole lines alone.

        Raises:
            StorageError: the storage fails, or another driver's journal counts by now.
        """
        with path.open("rb") as file:
            start = self._sent // PART * PART
            file.seek(start)
            news = file.read()
        news = news[: news.rfind(b"\n") + 1]
        if start + len(news) > self._sent:
            if self._counts and _current(self._bucket) != self.life:
                raise StorageError("another driver's journal counts by now", where=self._bucket.url)
            for at in range(0, len(news), PART):
                self._bucket.write(_part(self.life, (start + at) // PART), news[at : at + PART])
            self._sent = start + len(news)
        if not self._counts:
            before = _current(self._bucket)
            self._bucket.write_json(CURRENT, {"life": self.life})
            self._counts = True
            if before not in (None, self.life):
                self._bucket.remove_folder(f"{FOLDER}/{before}")


def read_journal(bucket: Bucket) -> bytes | None:
    """The journal as it is at home; None where there is none."""
    life = _current(bucket)
    while life is not None:
        names = sorted(bucket.files(f"{FOLDER}/{life}"))
        parts = [bucket.read(f"{FOLDER}/{life}/{name}") for name in names]
        now = _current(bucket)
        if now == life:  # else a new driver has removed it meanwhile
            return b"".join(part or b"" for part in parts)
        life = now
    return None


def _current(bucket: Bucket) -> str | None:
    told = bucket.read_json(CURRENT)
    if told is None:
        return None
    life = told.get("life")
    if isinstance(life, str) and re.fullmatch(r"[0-9a-f]+", life):  # it becomes part of a path
        return life
    raise UserError("damaged", where=joined(bucket.url, CURRENT), hint="restore it from a copy")


def _part(life: str, number: int) -> str:
    return f"{FOLDER}/{life}/{number:05d}"
