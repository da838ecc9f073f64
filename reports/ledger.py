"""The sweep's one record: an Optuna study, read and written in whole facts.

    ledger = Ledger.open(run)                  # read-only for reports; the sweep's driver opens it to write
    for trial in ledger.trials():
        print(trial.number, trial.state, trial.value, trial.params)

Each epoch is one attribute of its trial (`epoch:00003`), written in one line after the checkpoint it names is
on disk, so a crash leaves an epoch recorded whole or not at all. The value reported to the study at a step is the best
value so far: the sampler, the pruner, the leaderboard and the exported model all follow that one score. Which of equal
scores is the best is for `reports.ranking.worth` to say.
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from reports.checked import check_study, check_trial
from reports.history import History, trial_of
from reports.journal import Journal
from reports.ranking import ranked, worth
from trainables.files import checkpoint_path

if TYPE_CHECKING:
    from reports.database import Database

JOURNAL = "journal.log"

_EPOCH = "epoch:"
_STATES = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
ENDED = ("complete", "pruned", "failed")  # as what a trial ends


@dataclass(frozen=True)
class TrialRecord:
    """What the ledger says of one trial.

    `epochs` are in order; `value` and `best_epoch` are of the best one. `order` counts the trials that ended before it.
    """

    number: int
    state: str
    params: dict[str, Any]
    settings: dict[str, Any]
    epochs: tuple[dict[str, Any], ...]
    value: float | None
    best_epoch: int | None
    error: str | None
    attempts: tuple[str, ...]
    started: str | None
    ended: str | None
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict, repr=False)
    order: int | None = None

    @property
    def loss(self) -> float | None:
        """The validation loss of the best epoch, which decides between equal values."""
        return next((e.get("val_loss") for e in self.epochs if e["epoch"] == self.best_epoch), None)

    @property
    def seconds(self) -> float:
        """Time spent in this trial's recorded epochs, in seconds."""
        return sum(epoch["seconds"] for epoch in self.epochs)

    @property
    def trainable(self) -> int | None:
        """How many parameters the last epoch trained; None where that is not recorded."""
        return self.epochs[-1].get("trainable") if self.epochs else None

    def checkpoint(self, epoch: int | None) -> str | None:
        """The checkpoint of a recorded epoch, as a path relative to the run's folder.

        Made from the numbers, not read: a ledger from a stranger might name any file.
        """
        return next((checkpoint_path(self.number, e["epoch"]) for e in self.epochs if e["epoch"] == epoch), None)


class Ledger:
    """An Optuna study that holds one sweep.

    Args:
        study: the study itself; `optuna.importance` and `optuna.visualization` work on it as it is.
        place: where it is kept.
        metric: which number of an epoch is the score, such as `val_accuracy`.
        mode: `max` or `min`.
    """

    def __init__(self, study: optuna.Study, place: "Journal | Database", *, metric: str, mode: str) -> None:
        self.study, self.metric, self.mode = study, metric, mode
        self._place = place
        # Of the trials that have ended, which do not change any more:
        self._history = History(study)
        self._ended: dict[int, TrialRecord] = {}
        self._counts: Counter[str] = Counter()
        self._best: TrialRecord | None = None
        self._by_order: list[tuple[int, int]] = []  # as which it ended, number

    @classmethod
    def create(cls, run: Path, *, metric: str, mode: str, database: "Database | None" = None) -> "Ledger":
        """A new, empty ledger: in a run's folder, or in a database. Errors of the latter as `Database.create`."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it announces the study on the screen
        place = database or Journal(run / JOURNAL)
        direction = StudyDirection.MAXIMIZE if mode == "max" else StudyDirection.MINIMIZE
        return cls(place.create(direction), place, metric=metric, mode=mode)

    @classmethod
    def open(
        cls, run: Path, *, metric: str, mode: str, writable: bool = False, database: "Database | None" = None
    ) -> "Ledger":
        """The ledger of a run.

        Raises:
            UserError: there is none, or it cannot be read. As all that reads trials from it, where one is damaged.
        """
        place = database or Journal(run / JOURNAL)
        study = place.load(writable=writable)
        check_study(study.user_attrs, where=place.where)
        return cls(study, place, metric=metric, mode=mode)

    # reading

    def trials(self) -> list[TrialRecord]:
        """All trials by number; those that were only begun to be suggested are left out."""
        self._look()
        numbers = range(self._history.seen)
        known = (self._ended.get(number) or self._read(self._history.open[number]) for number in numbers)
        return [trial for trial in known if trial.settings]

    def trial(self, number: int) -> TrialRecord:
        return self._ended.get(number) or self._read(trial_of(self.study, number))

    def best(self) -> TrialRecord | None:
        """The trial with the best value; only complete ones can be best."""
        self._look()
        return self._best

    def counts(self) -> dict[str, int]:
        """How many trials there are of each state; those that were only begun to be suggested are left out."""
        self._look()
        going_on = (_STATES[t.state] for t in self._history.open.values() if t.user_attrs.get("settings"))
        return dict(self._counts + Counter(going_on))

    def unfinished(self) -> list[int]:
        """Numbers of trials that were begun and have no end: to be gone on with."""
        self._look()
        return [number for number, trial in self._history.open.items() if trial.state == TrialState.RUNNING]

    def count(self) -> int:
        """Trials that exist, finished or not; those only enqueued do not count."""
        self._look()
        return self._history.seen - self._waiting()

    def latest(self, number: int) -> list[TrialRecord]:
        """The trials that ended last, up to that many, in the order in which they ended; forgiven ones left out."""
        self._look()
        return [self._ended[ended] for _, ended in self._by_order[self.forgiven() :][-number:]]

    def outcome(self) -> str | None:
        """How the sweep ended (`trials`, `hours`, `errors`, …); None while it has not."""
        return self.study.user_attrs.get("outcome")

    def fits_a_gpu(self) -> int | None:
        """How many of the sweep's trials fit on a GPU together, as far as was found out; None before."""
        return self.study.user_attrs.get("fits_a_gpu")

    def elapsed_s(self) -> float:
        """Wall time the sweep has used, over all its runs, up to what was last recorded; in seconds."""
        epochs = max((epoch.get("elapsed", 0.0) for trial in self.trials() for epoch in trial.epochs), default=0.0)
        return max(epochs, self.study.user_attrs.get("elapsed", 0.0))

    # writing: the driver alone does it

    def one_flush(self) -> AbstractContextManager[None]:
        """Writes within it reach the disk together, when it ends: a flush takes longer than all else in a step."""
        return self._place.one_flush()

    def begin(self) -> int:
        """The number of a new trial: of the first that was enqueued, else one more."""
        self._look()
        if self._waiting():
            return self.study.ask().number
        storage = self.study._storage  # as `ask` does, without its search through all trials for one that waits
        return storage.get_trial(storage.create_new_trial(self.study._study_id)).number

    def handle(self, number: int) -> Trial:
        """The study's own handle on a running trial, to suggest through. Making one asks the sampler."""
        return Trial(self.study, trial_of(self.study, number)._trial_id)

    def record_elapsed(self, seconds: float) -> None:
        """Notes the wall time used, where no epoch does."""
        self.study.set_user_attr("elapsed", seconds)

    def record_fits_a_gpu(self, trials: int | None) -> None:
        """Notes how many trials fit on a GPU together."""
        self.study.set_user_attr("fits_a_gpu", trials)

    def record_settings(self, number: int, settings: Mapping[str, Any]) -> None:
        """The settings a trial runs with; from here on the trial is more than begun."""
        self._note(number, "settings", dict(settings))

    def record_epoch(self, number: int, epoch: Mapping[str, Any]) -> bool:
        """Records one finished epoch, whose checkpoint must be on disk. An epoch seen twice keeps its first value.

        Returns:
            Whether the epoch was new.
        """
        known = trial_of(self.study, number)
        key = f"{_EPOCH}{epoch['epoch']:05d}"
        if key in known.user_attrs:
            self.report_epochs(number)
            return False
        self._note(number, key, dict(epoch))
        self.report_epochs(number)
        return True

    def record_attempt(self, number: int, reason: str) -> list[str]:
        """Notes that a trial was interrupted, and why. Returns the reasons so far."""
        attempts = [*self.trial(number).attempts, reason]
        self._note(number, "attempts", attempts)
        return attempts

    def finish(self, number: int, state: str, *, error: str | None = None) -> None:
        """Ends a trial as `complete`, `pruned` or `failed`. Ending a finished trial again changes nothing."""
        frozen = trial_of(self.study, number)
        if frozen.state.is_finished():
            return
        if error is not None:
            self._note(number, "error", error)
        self._note(number, "order", self._count_ended())
        record = self._read(frozen)
        if state == "complete":
            assert record.value is not None, f"trial {number} is complete without a value"
            self.study.tell(number, record.value)
        elif state == "pruned":
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, state=TrialState.FAIL)

    def record_outcome(self, outcome: str | None) -> None:
        """Notes how the sweep ended, or, with None, that it goes on."""
        if outcome != self.outcome():
            self.study.set_user_attr("outcome", outcome)

    def forgiven(self) -> int:
        """How many ended trials no longer count as the same error in a row: those before the last resume from that."""
        return self.study.user_attrs.get("forgiven", 0)

    def forgive_errors(self) -> None:
        """Lets a sweep that stopped over one repeated error go on."""
        self.study.set_user_attr("forgiven", self._count_ended())

    def _count_ended(self) -> int:
        self._look()
        return len(self._ended)

    def _note(self, number: int, name: str, value: Any) -> None:
        """One attribute of a trial, in one line of the journal."""
        self.study._storage.set_trial_user_attr(trial_of(self.study, number)._trial_id, name, value)

    def with_distributions(self, distributions: Mapping[str, BaseDistribution]) -> "Ledger":
        """The same ledger over wider distributions, all of it or nothing."""
        return Ledger(self._place.widen(self.study, distributions), self._place, metric=self.metric, mode=self.mode)

    def report_epochs(self, number: int) -> None:
        """Tells the study each recorded epoch's best value so far, where a crash kept one from it."""
        frozen = trial_of(self.study, number)
        best: float | None = None
        for epoch in _epochs(frozen):
            best = _better(best, epoch.get(self.metric), mode=self.mode)
            if best is not None and epoch["epoch"] not in frozen.intermediate_values:
                self.study._storage.set_trial_intermediate_value(frozen._trial_id, epoch["epoch"], best)

    def _look(self) -> None:
        """Takes in what has ended since the last look."""
        for trial in self._history.news():
            record = self._read(trial)
            self._ended[trial.number] = record
            if record.order is not None:
                bisect.insort(self._by_order, (record.order, record.number))
            if record.settings:
                self._counts[record.state] += 1
                self._best = best_of([trial for trial in (self._best, record) if trial is not None], mode=self.mode)

    def _waiting(self) -> int:
        return sum(trial.state == TrialState.WAITING for trial in self._history.open.values())

    def _read(self, trial: FrozenTrial) -> TrialRecord:
        epochs, attrs = _epochs(trial), trial.user_attrs
        check_trial(trial, epochs, where=self._place.where)
        scored = [epoch for epoch in epochs if _better(None, epoch.get(self.metric), mode=self.mode) is not None]
        best = min(scored, key=lambda e: worth(e[self.metric], e.get("val_loss"), mode=self.mode), default={})
        return TrialRecord(
            number=trial.number,
            state=_STATES[trial.state],
            params=dict(trial.params),
            settings=attrs.get("settings", {}),
            epochs=epochs,
            value=best.get(self.metric),
            best_epoch=best.get("epoch"),
            # A crash between noting the error and ending the trial lets it go on; what it then meets counts.
            error=attrs.get("error") if trial.state in (TrialState.FAIL, TrialState.PRUNED) else None,
            attempts=tuple(attrs.get("attempts", ())),
            order=attrs.get("order") if trial.state.is_finished() else None,
            started=trial.datetime_start.isoformat() if trial.datetime_start else None,
            ended=trial.datetime_complete.isoformat() if trial.datetime_complete else None,
            distributions=trial.distributions,
        )


def best_of(trials: Iterable[TrialRecord], *, mode: str) -> TrialRecord | None:
    """The complete trial with the best value; of equals as `reports.ranking` has it."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return next(iter(ranked(complete, mode=mode)), None)


def _epochs(trial: FrozenTrial) -> tuple[dict[str, Any], ...]:
    keys = sorted(key for key in trial.user_attrs if key.startswith(_EPOCH))
    return tuple(trial.user_attrs[key] for key in keys)


def _better(best: float | None, value: float | None, *, mode: str) -> float | None:
    """The better of two values; one that is not a number never is."""
    if value is None or not math.isfinite(value):
        return best
    if best is None:
        return value
    return max(best, value) if mode == "max" else min(best, value)
