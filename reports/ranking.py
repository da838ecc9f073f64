"""What is better than what: one rule for a trial's epochs, for trials, and for the order of a leaderboard.

    worth(0.9, 0.31, mode="max") < worth(0.9, 0.35, mode="max")     # the better comes first
    first, *rest = ranked(ledger.trials(), mode="max")
    gap_to_second(ledger.trials(), mode="max")          # 0.012: how far the winner is ahead

Complete trials come first, by value; then the pruned, by the value they had reached; then the failed; last those that
still run. Of equals that with the lower validation loss stands first, then the earlier: so the leader is always the
trial that `Ledger.best` names, and its best epoch the one whose checkpoint is kept.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reports.ledger import TrialRecord

_ORDER = {"complete": 0, "pruned": 1, "failed": 2, "running": 3}

Worth = tuple[float, float]


def worth(value: float | None, loss: float | None, *, mode: str) -> Worth:
    """What sorts scores, the best first: by value, then by validation loss. What is no number comes last."""
    sign = -1.0 if mode == "max" else 1.0
    return _or_last(value, sign=sign), _or_last(loss)


def ranked(trials: Iterable["TrialRecord"], *, mode: str) -> list["TrialRecord"]:
    """The trials, best first. `mode` is `max` or `min`."""

    def key(trial: "TrialRecord") -> tuple[int, Worth, int]:
        return _ORDER.get(trial.state, len(_ORDER)), worth(trial.value, trial.loss, mode=mode), trial.number

    return sorted(trials, key=key)


def gap_to_second(trials: Iterable["TrialRecord"], *, mode: str) -> float | None:
    """By how much the best complete trial's value beats the next one's (≥ 0); None with fewer than two."""
    values = [t.value for t in ranked(trials, mode=mode) if t.state == "complete" and t.value is not None]
    return abs(values[0] - values[1]) if len(values) > 1 else None


def on_new_pictures(mode: str) -> str:
    """What a model's score will be on new pictures, beside that on pictures which chose the model."""
    return "somewhat less" if mode == "max" else "somewhat worse"


def _or_last(number: float | None, *, sign: float = 1.0) -> float:
    return math.inf if number is None or not math.isfinite(number) else sign * number
