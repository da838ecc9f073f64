"""Which checkpoints a sweep keeps: what running trials need to go on, and the best trials' best epochs.

    retention = Retention(run, keep=5, mode="max")
    retention.tidy(ledger.trials())        # when a sweep is begun or taken up again
    retention.after_epoch(trial)           # as a running trial goes on
    retention.after_end(trial)             # when it has ended

Files are removed only after the ledger has what makes them unneeded. The best trial, which is exported, is a complete
one, so the weights of pruned trials are not kept: each was behind another that went on.
"""

import bisect
import shutil
from pathlib import Path

from reports.ledger import TrialRecord
from reports.ranking import Worth, worth
from trainables.files import checkpoint_name


class Retention:
    """Removes checkpoints from a run's folder.

    Args:
        run: the run's folder.
        keep: how many complete trials, the best ones, keep their best epoch.
        mode: `max` or `min`, of the sweep's metric.
    """

    def __init__(self, run: Path, *, keep: int, mode: str) -> None:
        self._trials, self._keep = run / "trials", keep
        self._mode = mode
        self._best: list[tuple[Worth, int, int]] = []  # the best complete trials: worth, number, best epoch

    def tidy(self, trials: list[TrialRecord]) -> None:
        """Leaves what is needed of every trial; what the ledger does not know at all is a crash's remains."""
        self._best = []
        for trial in trials:
            self._take(trial)
        if not self._trials.is_dir() or self._trials.is_symlink():
            return
        running = {str(trial.number): trial for trial in trials if trial.state == "running"}
        for folder in self._trials.iterdir():
            if folder.is_symlink() or not folder.name.isdecimal():
                continue  # not of our making
            if folder.name in running:
                self.after_epoch(running[folder.name])
            else:
                self._clear(int(folder.name))

    def after_end(self, trial: TrialRecord) -> None:
        """Of a trial that has ended, leaves the best epoch if the trial is among the best; and of whom it displaced
        nothing."""
        displaced = self._take(trial)
        for number in {trial.number, *displaced}:
            self._clear(number)

    def after_epoch(self, trial: TrialRecord) -> None:
        """Of a running trial, leaves the last recorded epoch, the best one, and what is being written."""
        if not trial.epochs:
            return
        last = checkpoint_name(trial.epochs[-1]["epoch"])
        best = checkpoint_name(trial.best_epoch) if trial.best_epoch is not None else last
        for path in (self._trials / str(trial.number)).glob("epoch-*"):
            if path.name < last and path.name != best:
                path.unlink(missing_ok=True)

    def _take(self, trial: TrialRecord) -> list[int]:
        """Counts a trial among the best, if it is one. Returns the numbers of those that no longer are."""
        if trial.state != "complete" or trial.value is None or trial.best_epoch is None:
            return []
        bisect.insort(self._best, (worth(trial.value, trial.loss, mode=self._mode), trial.number, trial.best_epoch))
        displaced = [number for _, number, _ in self._best[self._keep :]]
        del self._best[self._keep :]
        return displaced

    def _clear(self, number: int) -> None:
        """Of a trial that has ended, or that the ledger does not know, leaves the best epoch or nothing."""
        folder = self._trials / str(number)
        if self._trials.is_symlink() or folder.is_symlink() or not folder.is_dir():
            return
        kept = next((epoch for _, known, epoch in self._best if known == number), None)
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.iterdir():
            if path.name != checkpoint_name(kept):
                path.unlink(missing_ok=True)
