"""What a sweep does next, decided from its ledger: no Ray, no threads, no clock of its own.

    conductor = Conductor(ledger, spec, retention=retention, limit=2, clock=time.monotonic)
    job = conductor.next_job()                        # Job, or WAIT, or DONE
    go_on = conductor.epoch_done(job.number, epoch)   # the trial goes on, or is to be stopped
    conductor.worker_lost(job.number, "killed")       # its trial will be the next job, from its last checkpoint

The engine translates between this and Ray Tune. Everything that must survive a crash is read from the ledger, so a
conductor on the ledger of a killed sweep decides as the old one would have.
"""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reports.ledger import Ledger, TrialRecord
from trainables.settings import TrialSettings
from trainables.wording import counted
from tuning.packing import WARMING_UP_S, Packing
from tuning.retention import Retention
from tuning.sampling import build_pruner, build_sampler, should_prune, suggest
from tuning.spec import Spec

HEARTBEAT_S = 60.0
# The reason of an attempt that ended with its machine.
NODE_LOST = "its node was lost, or out of reach"
# The reason of one that asked for more of a GPU than its share.
CROWDED = "out of GPU memory beside other trials"


class NoJob(enum.Enum):
    """What there is instead of a job."""

    WAIT = "nothing to start at present"
    DONE = "nothing to start any more"


@dataclass(frozen=True)
class Job:
    """A trial to run: from its start, or from the checkpoint of its last recorded epoch."""

    number: int
    settings: TrialSettings
    checkpoint: str | None


@dataclass(frozen=True)
class Running:
    """A trial at work, as far as its last recorded epoch."""

    number: int
    settings: TrialSettings
    params: Mapping[str, Any]
    epoch: int
    value: float | None
    cold: bool = False  # its process has to start, and has not ended an epoch yet


class Conductor:
    """Hands out trials and takes in what becomes of them.

    Args:
        ledger: the sweep's record, opened to write.
        spec: the sweep.
        retention: removes checkpoints that nobody needs any more.
        limit: most trials at work at once.
        clock: seconds from any fixed point, such as `time.monotonic`.
        packing: how many trials share a GPU, where that is to be found out.
        watch: told of each trial that ended.
    """

    def __init__(
        self,
        ledger: Ledger,
        spec: Spec,
        *,
        retention: Retention,
        limit: int,
        clock: Callable[[], float],
        packing: Packing | None = None,
        watch: Callable[[TrialRecord], None] = lambda trial: None,
    ) -> None:
        self.ledger, self.spec, self.limit = ledger, spec, limit
        self.running: dict[int, Running] = {}
        self.storage_error: str | None = None
        self.packing, self.watch = packing, watch
        self._retention, self._clock = retention, clock
        self._noted = ledger.elapsed_s()
        self._started = clock() - self._noted
        self._stopping: str | None = None
        ledger.study.sampler = build_sampler(spec.search)
        ledger.study.pruner = build_pruner(spec.search)
        retention.tidy(ledger.trials())

    # what to start

    def next_job(self, *, cold: bool = False) -> Job | NoJob:
        """The next trial to start. Trials begun before a crash, or whose worker died, come first.

        cold: it goes to a new process.
        """
        self._note_time()
        if self._ends() or self.repacking:
            return NoJob.WAIT if self.running else NoJob.DONE
        if len(self.running) >= self.limit:
            return NoJob.WAIT
        begun = next((n for n in self.ledger.unfinished() if n not in self.running), None)
        if begun is not None:
            return self._start(begun, cold=cold)
        if self.ledger.count() >= self.spec.search.trials:
            return NoJob.WAIT if self.running else NoJob.DONE
        return self._start(None, cold=cold)

    def _start(self, begun: int | None, *, cold: bool) -> Job | NoJob:
        with self.ledger.one_flush():
            number = self.ledger.begin() if begun is None else begun
            self.ledger.report_epochs(number)
            record = self.ledger.trial(number)
            if not record.settings:
                params = suggest(self.ledger.handle(number), self.spec.space)
                self.ledger.record_settings(number, dataclasses.asdict(self.spec.settings_for(params)))
                record = self.ledger.trial(number)
        settings = TrialSettings(**record.settings)
        last = record.epochs[-1]["epoch"] if record.epochs else 0
        self.running[number] = Running(number, settings, record.params, last, record.value, cold)
        if end := self._end_of(number, last):
            self._finish(number, *end)
            return self.next_job(cold=cold)
        return Job(number=number, settings=settings, checkpoint=record.checkpoint(last))

    # what became of it

    def epoch_done(self, number: int, epoch: Mapping[str, Any]) -> bool:
        """Records an epoch, whose checkpoint is on disk. Returns whether the trial goes on."""
        if number not in self.running:
            return False
        recorded = {**epoch, "elapsed": round(self.elapsed_s(), 3)}
        with self.ledger.one_flush():
            self.ledger.record_epoch(number, recorded)
            record = self.ledger.trial(number)
            last = record.epochs[-1]["epoch"]
            if self.packing and "gpu_share" in epoch:
                self._measure(self.packing, self.running[number], epoch)
            self.running[number] = dataclasses.replace(self.running[number], epoch=last, value=record.value, cold=False)
            if end := self._end_of(number, last):
                self.ledger.finish(number, end[0], error=end[1])
        if end:
            self._ended(number)
            return False
        self._retention.after_epoch(record)
        if self._ends() or self.repacking:
            del self.running[number]
            return False
        return True

    def trial_failed(self, number: int, error: str) -> None:
        """Ends a trial that cannot go on with its settings; the sampler learns of it (`tuning.window`)."""
        if number in self.running:
            self._finish(number, "failed", error)

    def out_of_gpu_memory(self, number: int, error: str) -> None:
        """A trial that shared its GPU will go on from its last checkpoint beside fewer others; else it has failed."""
        if number not in self.running:
            return
        if self.packing is None or not self.packing.ran_out():
            self._finish(number, "failed", error)
            return
        with self.ledger.one_flush():
            self.ledger.record_attempt(number, CROWDED)
            self.ledger.record_fits_a_gpu(self.packing.fits)
        del self.running[number]

    def worker_lost(self, number: int, reason: str) -> None:
        """A trial's process died: it goes on from its last checkpoint, `search.retries` times at most.

        That a whole node was lost, or a GPU was shared by too many, is nobody's fault, and does not count.
        """
        if number not in self.running:
            return
        if self._stopping:  # whoever stops the sweep may end its workers too
            del self.running[number]
            return
        attempts = self.ledger.record_attempt(number, reason)
        lost = sum(attempt not in (NODE_LOST, CROWDED) for attempt in attempts)
        if lost > self.spec.search.retries:
            self._finish(number, "failed", f"its worker died {counted(lost, 'time')}; the last time: {reason}")
        else:
            del self.running[number]

    def storage_failed(self, reason: str) -> None:
        """The run's folder cannot be written: the sweep stops, to be resumed when it can."""
        self.storage_error = self.storage_error or reason
        self.stop("storage")

    # when it ends

    def stop(self, reason: str) -> None:
        """No new trials; those at work stop after their epoch and can be gone on with."""
        self._stopping = self._stopping or reason

    @property
    def stopping(self) -> str | None:
        """Why the sweep is stopping, if it is."""
        return self._stopping

    @property
    def repacking(self) -> bool:
        """Whether trials at work stop after their epoch, to go on with another share of a GPU (`packing.settle`)."""
        return self.packing is not None and self.packing.changed

    def elapsed_s(self) -> float:
        """Wall time of the sweep, over all its runs, in seconds."""
        return self._clock() - self._started

    def outcome(self) -> str | None:
        """How the sweep ended: `trials`, `hours` or `errors`; None when it was interrupted or goes on."""
        if self._stopping == "errors":
            return "errors"
        if self.ledger.count() >= self.spec.search.trials and not self.ledger.unfinished():
            return "trials"
        return "hours" if self._stopping == "hours" else None

    def _measure(self, packing: Packing, trial: Running, epoch: Mapping[str, Any]) -> None:
        """Takes in what an epoch took of a GPU, and about how long all epochs to come would take in the places there
        are. What is shared is computed once, and left out; so is what the first epoch of a process takes longer."""
        seconds = epoch["seconds"] - epoch.get("seconds_sharing", 0.0) - (WARMING_UP_S if trial.cold else 0.0)
        begun = sum(self._epochs_left(number) for number in self.ledger.unfinished())
        new = (self.spec.search.trials - self.ledger.count()) * trial.settings.epochs
        left_s = max(0.0, seconds) * (begun + new) / len(self.running)
        if packing.measured(epoch["gpu_share"], left_s=left_s):
            self.ledger.record_fits_a_gpu(packing.fits)

    def _epochs_left(self, number: int) -> int:
        record = self.ledger.trial(number)
        return record.settings.get("epochs", 0) - (record.epochs[-1]["epoch"] if record.epochs else 0)

    def _ends(self) -> bool:
        hours = self.spec.search.hours
        if hours is not None and self.elapsed_s() >= hours * 3600:
            self.stop("hours")
        return self._stopping is not None

    def _note_time(self) -> None:
        """Once a minute, so that hours count whatever became of the epochs they went into."""
        elapsed = self.elapsed_s()
        if elapsed - self._noted >= HEARTBEAT_S:
            self._noted = elapsed
            self.ledger.record_elapsed(round(elapsed, 3))

    def _end_of(self, number: int, last: int) -> tuple[str, str | None] | None:
        """As what a trial ends after its last recorded epoch, and with which error; None while it goes on."""
        if last >= self.running[number].settings.epochs:
            if self.running[number].value is None:
                return "failed", f"{self.spec.search.metric} is undefined on these validation pictures"
            return "complete", None
        if last and should_prune(self.ledger.study, number):
            return "pruned", None
        return None

    def _finish(self, number: int, state: str, error: str | None) -> None:
        with self.ledger.one_flush():
            self.ledger.finish(number, state, error=error)
        self._ended(number)

    def _ended(self, number: int) -> None:
        """What follows the end of a trial, once that is on disk."""
        del self.running[number]
        trial = self.ledger.trial(number)
        self._retention.after_end(trial)
        self.watch(trial)
        if self._same_errors():
            self.stop("errors")

    def _same_errors(self) -> bool:
        """Whether the latest trials, up to the limit, all failed with one error."""
        latest = self.ledger.latest(self.spec.search.max_same_errors)
        return (
            len(latest) == self.spec.search.max_same_errors
            and all(t.state == "failed" for t in latest)
            and len({t.error for t in latest}) == 1
        )
