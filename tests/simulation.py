"""A sweep without Ray or torch's work: the real conductor and ledger, trials that are a formula.

    sweep = Simulation(tmp_path, spec)
    sweep.drive()                      # to the end, or until the planned crash
    sweep.table()                      # what `tune show --json` says, times apart

A crash is planned by the number of ledger writes that still succeed; the write it falls on may leave a torn line.
"""

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from reports.database import Database
from reports.journal import JournalFile
from reports.ledger import JOURNAL, Ledger
from trainables.files import checkpoint_path
from trainables.places import Place, place_at
from trainables.settings import TrialSettings
from tuning.conductor import Conductor, Job, NoJob
from tuning.retention import Later, Retention, at_once
from tuning.space import Choice, Float
from tuning.spec import SearchSettings, Spec

SPACE = {
    "lr": Float(1e-4, 1e-1, log=True),
    "momentum": Float(0.1, 0.9),
    "freeze": Choice(("none", "layer2", 3)),
    "nesterov": Choice((False, True), when={"freeze": ("none",)}),
}


class Crash(BaseException):
    """The process is gone; nothing after this happened."""


def small_spec(*, trials: int = 12, epochs: int = 9, **search: Any) -> Spec:
    """A sweep with a conditional space, whose sampler learns after three trials."""
    return Spec(trial={"epochs": epochs}, space=SPACE, search=SearchSettings(trials=trials, **search))


def formula(settings: TrialSettings, epoch: int) -> dict[str, Any]:
    """An epoch's numbers, from the settings alone; a few settings diverge."""
    peak = math.exp(-((math.log10(settings.lr) + 2.5) ** 2)) * (0.8 + 0.2 * settings.momentum)
    wobble = random.Random(f"{settings} {epoch}").uniform(-0.03, 0.03)
    accuracy = min(1.0, max(0.0, peak * (1 - 0.7**epoch) + wobble))
    return {
        "epoch": epoch,
        "train_loss": 1 - accuracy,
        "train_accuracy": accuracy,
        "val_loss": 1 - accuracy,
        "val_accuracy": accuracy,
        "lr": settings.lr,
        "seconds": 1.0,
    }


def diverges(settings: TrialSettings) -> bool:
    return settings.lr > 0.03 or settings.momentum > 0.85


class Simulation:
    """One run's folder and the drivers that work on it, one after the other."""

    def __init__(
        self,
        folder: Path,
        spec: Spec,
        *,
        limit: int = 1,
        seed: int = 0,
        database: Database | None = None,
        place: Place | None = None,
        later: Later = at_once,
    ) -> None:
        """`place` and `later` where checkpoints are elsewhere than in the folder, as `Retention` has them."""
        self.folder, self.spec, self.limit, self.database = folder, spec, limit, database
        self.place, self.later = place or place_at(str(folder)), later
        self.random = random.Random(seed)
        self.epochs_run: list[tuple[int, int]] = []
        self.now = 0.0
        if not (folder / JOURNAL).exists():
            Ledger.create(folder, metric=spec.search.metric, mode=spec.search.mode, database=database)

    def open(self, *, writable: bool = False) -> Ledger:
        metric, mode = self.spec.search.metric, self.spec.search.mode
        return Ledger.open(self.folder, metric=metric, mode=mode, writable=writable, database=self.database)

    def conductor(self) -> Conductor:
        search = self.spec.search
        return Conductor(
            self.open(writable=True),
            self.spec,
            retention=Retention(self.place, keep=search.keep, mode=search.mode, later=self.later),
            limit=self.limit,
            clock=lambda: self.now,
        )

    def drive(self, *, stop_after: int | None = None) -> Conductor:
        """A driver's life. With several at work, whose epoch ends next is drawn from the simulation's seed."""
        conductor = self.conductor()
        self.work(conductor, stop_after=stop_after)
        return conductor

    def next_job(self, conductor: Conductor) -> Job | NoJob:
        return conductor.next_job()

    def work(self, conductor: Conductor, *, stop_after: int | None = None) -> None:
        """Does the conductor's jobs until it has no more."""
        at_work: dict[int, tuple[Job, int]] = {}
        while True:
            while isinstance(job := self.next_job(conductor), Job):
                at_work[job.number] = (job, self._last_epoch(job))
            if job is NoJob.DONE:
                return
            number = self.random.choice(sorted(at_work))
            job, last = at_work[number]
            self.now += 1.0
            if stop_after is not None and len(self.epochs_run) >= stop_after:
                conductor.stop("SIGINT")
            if not self._one_epoch(conductor, job, last + 1):
                del at_work[number]
            else:
                at_work[number] = (job, last + 1)

    def _last_epoch(self, job: Job) -> int:
        if job.checkpoint is None:
            return 0
        with self.place.reading(job.checkpoint) as path:
            return int(path.read_text())

    def _one_epoch(self, conductor: Conductor, job: Job, epoch: int) -> bool:
        if diverges(job.settings) and epoch == 2:
            conductor.trial_failed(job.number, f"diverged at lr {job.settings.lr}")
            return False
        self.epochs_run.append((job.number, epoch))
        checkpoint = checkpoint_path(job.number, epoch)
        with self.place.writing(checkpoint) as path:
            path.write_text(str(epoch))
        return conductor.epoch_done(job.number, {**formula(job.settings, epoch), "checkpoint": checkpoint})

    def table(self) -> list[dict[str, Any]]:
        """All that the ledger says, times apart."""
        rows = []
        for trial in self.open().trials():
            row = dataclasses.asdict(dataclasses.replace(trial, started=None, ended=None, distributions={}))
            row["epochs"] = [
                {k: v for k, v in e.items() if not k.startswith(("seconds", "elapsed"))} for e in row["epochs"]
            ]
            rows.append(row)
        return rows

    def files(self) -> list[str]:
        """The checkpoints that are there."""
        folders = [f"trials/{number}" for number in self.place.folders("trials")]
        return sorted(f"{folder}/{name}" for folder in folders for name in self.place.files(folder))


class CrashingJournal:
    """Makes the journal's writer die at its n-th write from now: before it, in the middle of it, or after it."""

    def __init__(self, patch: Any) -> None:
        self._left: int | None = None
        self._how = "before"
        self.writes = 0
        original = JournalFile.append_logs

        def append_logs(journal: JournalFile, logs: list[dict[str, Any]]) -> None:
            self.writes += 1
            if self._left is None:
                return original(journal, logs)
            self._left -= 1
            if self._left > 0:
                return original(journal, logs)
            if self._how != "before":
                original(journal, logs)
            if self._how == "torn":
                _tear_last_line(journal.path)
            raise Crash

        patch.setattr(JournalFile, "append_logs", append_logs)

    def at(self, write: int, how: str) -> None:
        self._left, self._how = write, how

    def never(self) -> None:
        self._left = None


_written: list[str] = []


@event.listens_for(Engine, "before_cursor_execute")
def _note_write(connection: object, cursor: object, statement: str, *_: object) -> None:
    if statement.split(maxsplit=1)[0] in ("INSERT", "UPDATE", "DELETE"):
        _written.append(statement)


class CrashingDatabase:
    """Makes the database's writer die at its n-th transaction from now: before or after it is committed."""

    def __init__(self, patch: Any) -> None:
        self._left: int | None = None
        self._how = "before"
        self.writes = 0
        original = Session.commit

        def commit(session: Session) -> None:
            session.flush()
            writes = bool(_written)
            _written.clear()
            self.writes += writes
            if self._left is not None:
                self._left -= writes
                if self._left == 0 and writes:
                    if self._how == "after":
                        original(session)
                    raise Crash
            original(session)

        patch.setattr(Session, "commit", commit)

    def at(self, write: int, how: str) -> None:
        self._left, self._how = write, how

    def never(self) -> None:
        self._left = None


def _tear_last_line(path: Path) -> None:
    data = path.read_bytes()
    start = data[:-1].rfind(b"\n") + 1
    path.write_bytes(data[: start + (len(data) - start) // 2])
