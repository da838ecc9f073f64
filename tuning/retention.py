"""Which checkpoints a sweep keeps: what running trials need to go on, and the best trials' best epochs.

    retention = Retention(run, keep=5, mode="max")
    retention.tidy(ledger.trials())        # as trials end, and when a sweep is taken up again
    retention.after_epoch(trial)           # as a running trial goes on

Files are removed only after the ledger has what makes them unneeded.
"""

import shutil
from pathlib import Path

from reports.ledger import TrialRecord
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
        self._sign = -1 if mode == "max" else 1

    def tidy(self, trials: list[TrialRecord]) -> None:
        """Leaves what is needed of every trial; what the ledger does not know at all is a crash's remains."""
        if not self._trials.is_dir() or self._trials.is_symlink():
            return
        by_number = {str(trial.number): trial for trial in trials}
        best = self._best(trials)
        for folder in self._trials.iterdir():
            trial = by_number.get(folder.name)
            if folder.is_symlink() or not folder.name.isdecimal():
                continue  # not of our making
            if trial is not None and trial.state == "running":
                self.after_epoch(trial)
            elif trial is not None and trial.number in best:
                _leave(folder, {checkpoint_name(best[trial.number])})
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def after_epoch(self, trial: TrialRecord) -> None:
        """Of a running trial, leaves the last recorded epoch, the best one, and what is being written."""
        if not trial.epochs:
            return
        last = checkpoint_name(trial.epochs[-1]["epoch"])
        best = checkpoint_name(trial.best_epoch) if trial.best_epoch is not None else last
        for path in (self._trials / str(trial.number)).glob("epoch-*"):
            if path.name < last and path.name != best:
                path.unlink(missing_ok=True)

    def _best(self, trials: list[TrialRecord]) -> dict[int, int]:
        """The best complete trials, as number → best epoch."""
        complete = [
            (self._sign * t.value, t.number, t) for t in trials if t.state == "complete" and t.value is not None
        ]
        return {t.number: t.best_epoch for _, _, t in sorted(complete)[: self._keep] if t.best_epoch is not None}


def _leave(folder: Path, names: set[str]) -> None:
    for path in folder.iterdir():
        if path.name not in names:
            path.unlink(missing_ok=True)
