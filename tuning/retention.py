"""Which checkpoints a sweep keeps: what running trials need to go on, and the best trials' best epochs.

    retention = Retention(sweep.place, keep=5, mode="max")
    retention.tidy(ledger.trials())        # when a sweep is begun or taken up again
    retention.after_epoch(trial)           # as a running trial goes on
    retention.after_end(trial)             # when it has ended

Files are removed only after the ledger has what makes them unneeded. The best trial, which is exported, is a complete
one, so the weights of pruned trials are not kept: each was behind another that went on.
"""

import bisect
from collections.abc import Callable

from reports.ledger import TrialRecord
from reports.ranking import Worth, worth
from trainables.files import checkpoint_name
from trainables.places import Place

# Does what it is given, when the time has come.
Later = Callable[[Callable[[], None]], None]


def at_once(act: Callable[[], None]) -> None:
    act()


class Retention:
    """Removes a run's checkpoints.

    Args:
        place: where they are.
        keep: how many complete trials, the best ones, keep their best epoch.
        mode: `max` or `min`, of the sweep's metric.
        later: does what it is given once the ledger as it is now can no longer be lost; at once where that is so
            already.
    """

    def __init__(
        self,
        place: Place,
        *,
        keep: int,
        mode: str,
        later: Later = at_once,
    ) -> None:
        self._place, self._keep, self._mode, self._later = place, keep, mode, later
        self._best: list[tuple[Worth, int, int]] = []  # the best complete trials: worth, number, best epoch

    def tidy(self, trials: list[TrialRecord]) -> None:
        """Leaves what is needed of trials that have ended; what the ledger does not know is a crash's remains.

        At once: a number that the ledger does not know is soon another trial's.
        """
        self._best = []
        for trial in trials:
            self._take(trial)
        running = {trial.number for trial in trials if trial.state == "running"}
        for name in self._place.folders("trials"):
            if name.isdecimal() and int(name) not in running:  # what is no number is not of our making
                self._clear(int(name), at_once)

    def after_end(self, trial: TrialRecord) -> None:
        """Of a trial that has ended, leaves the best epoch if the trial is among the best; and of whom it displaced
        nothing."""
        displaced = self._take(trial)
        for number in {trial.number, *displaced}:
            self._clear(number, self._later)

    def after_epoch(self, trial: TrialRecord) -> None:
        """Of a running trial, leaves the last recorded epoch, the best one, and what is being written."""
        last = checkpoint_name(trial.epochs[-1]["epoch"])
        best = checkpoint_name(trial.best_epoch) if trial.best_epoch is not None else last
        self._remove(trial.number, lambda name: name.startswith("epoch-") and name < last and name != best, self._later)

    def _take(self, trial: TrialRecord) -> list[int]:
        """Counts a trial among the best, if it is one. Returns the numbers of those that no longer are."""
        if trial.state != "complete" or trial.value is None or trial.best_epoch is None:
            return []
        bisect.insort(self._best, (worth(trial.value, trial.loss, mode=self._mode), trial.number, trial.best_epoch))
        displaced = [number for _, number, _ in self._best[self._keep :]]
        del self._best[self._keep :]
        return displaced

    def _clear(self, number: int, later: Later) -> None:
        """Of a trial that has ended, or that the ledger does not know, leaves the best epoch or nothing."""
        kept = next((epoch for _, known, epoch in self._best if known == number), None)
        if kept is None:
            later(lambda: self._place.remove_folder(f"trials/{number}"))
        else:
            self._remove(number, lambda name: name != checkpoint_name(kept), later)

    def _remove(self, number: int, unneeded: Callable[[str], bool], later: Later) -> None:
        """Removes the files of a trial of which that is true."""

        def remove() -> None:
            for name in self._place.files(f"trials/{number}"):
                if unneeded(name):
                    self._place.remove(f"trials/{number}/{name}")

        later(remove)
