"""The order of a leaderboard.

    first, *rest = ranked(ledger.trials(), mode="max")
    gap_to_second(ledger.trials(), mode="max")          # 0.012: how far the winner is ahead

Complete trials come first, by value; then the pruned, by the value they had reached; then the failed; last those that
still run. Of equals the earlier trial stands first, so the leader is always the trial that `Ledger.best` names.
"""

import math
from collections.abc import Iterable

from reports.ledger import TrialRecord

_ORDER = {"complete": 0, "pruned": 1, "failed": 2, "running": 3}


def ranked(trials: Iterable[TrialRecord], *, mode: str) -> list[TrialRecord]:
    """The trials, best first. `mode` is `max` or `min`."""
    sign = -1.0 if mode == "max" else 1.0

    def key(trial: TrialRecord) -> tuple[int, float, int]:
        worth = math.inf if trial.value is None else sign * trial.value
        return _ORDER.get(trial.state, len(_ORDER)), worth, trial.number

    return sorted(trials, key=key)


def gap_to_second(trials: Iterable[TrialRecord], *, mode: str) -> float | None:
    """By how much the best complete trial's value beats the next one's (≥ 0); None with fewer than two."""
    values = [t.value for t in ranked(trials, mode=mode) if t.state == "complete" and t.value is not None]
    return abs(values[0] - values[1]) if len(values) > 1 else None
