"""A study as a sampler sees it: not more trials than it takes for a good suggestion, however many there are.

    sampler.sample_relative(Window(study), trial, search_space)

TPE weighs all trials anew for each suggestion, which takes a hundred times as long in a study of 10,000 as in one of
100. What it makes of them is one density of the 25 best and one of the others, among which Optuna itself lets the old
ones count less and less. So it gets the best ones of all time, and of the others the latest.

TPE passes over trials that failed, so it would go on drawing settings that diverge: nothing bad is known of them. Here
a failed trial stands among the pruned ones, with no value, which is the worst of all.
"""

import bisect
import copy
from collections.abc import Container
from typing import Any

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from reports.history import History

BEST = 25  # as many as Optuna's TPE ever takes for the good ones
LATEST = 500
FAILED = 9  # most failed trials to each other one: the best tenth, which TPE takes for the good ones, has none of them


class Window:
    """Stands for its study where a sampler asks for the trials. Which it shows depends on what is recorded alone."""

    def __init__(self, study: Study, *, least: int = 0) -> None:
        """`least`: as many of the latest are shown at the least, where a sampler counts them."""
        self.study, self._most = study, max(LATEST, least)
        self._history = History(study)
        self._latest: list[FrozenTrial] = []
        self._best: list[FrozenTrial] = []
        self._failed: list[FrozenTrial] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.study, name)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """The trials in sight, by number; those that failed as pruned ones."""
        for trial in self._history.news():
            self._take(trial)
        ended = {trial.number: trial for trial in (*self._best, *self._latest)}
        failed = {trial.number: trial for trial in self._failed[::-1][: FAILED * len(ended)]}
        seen = ended | failed | self._history.open
        chosen = [trial for _, trial in sorted(seen.items()) if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        """What Optuna's samplers call."""
        return self.get_trials(deepcopy=deepcopy, states=states)

    def _take(self, trial: FrozenTrial) -> None:
        if trial.state == TrialState.FAIL:
            self._keep(self._failed, _as_worst(trial))
            return
        self._keep(self._latest, trial)
        if trial.state == TrialState.COMPLETE:
            bisect.insort(self._best, trial, key=self._rank)
            del self._best[BEST:]

    def _keep(self, latest: list[FrozenTrial], trial: FrozenTrial) -> None:
        bisect.insort(latest, trial, key=lambda t: t.number)
        del latest[: -self._most]

    def _rank(self, trial: FrozenTrial) -> tuple[float, int]:
        assert trial.value is not None, "a complete trial has a value"
        return (-trial.value if self.study.direction == StudyDirection.MAXIMIZE else trial.value), trial.number


def _as_worst(trial: FrozenTrial) -> FrozenTrial:
    """The trial as one that was pruned before it had a value."""
    shown = copy.copy(trial)
    shown.state, shown.intermediate_values = TrialState.PRUNED, {}
    return shown
