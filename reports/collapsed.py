"""Trials that learnt nothing, and which setting tells them from the others.

    found = collapsed_of(sweep, trials)
    found.chance, len(found.trials), found.cause         # 0.1, 4, Cause("lr", (0.0024, 0.01), (0.00014, 0.0024))

A trial has collapsed when its best epoch does no better than naming one class for all pictures, within one standard
error of that. Too large a learning rate does it, in the first epoch and for good.
"""

import dataclasses
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.answers import pictures_of, standard_error
from reports.ledger import TrialRecord
from reports.sweep import Sweep

# Of the pairs of a trial that collapsed and one that did not, in so many the former must have the larger value of a
# setting that is called the cause, or in so many the smaller one.
_TELLS_APART = 0.9
_FEWEST = 2


@dataclass(frozen=True)
class Cause:
    """A setting whose values in trials that collapsed lie on one side: lowest and highest there, and in the others."""

    setting: str
    collapsed: tuple[float, float]
    others: tuple[float, float]


@dataclass(frozen=True)
class Collapsed:
    """The trials that did no better than `chance`, of `judged`: the complete and pruned ones."""

    chance: float
    trials: Sequence[TrialRecord]
    judged: int
    cause: Cause | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: trials by their numbers."""
        return {
            "chance": self.chance,
            "trials": [trial.number for trial in self.trials],
            "cause": None if self.cause is None else dataclasses.asdict(self.cause),
        }


def collapsed_of(sweep: Sweep, trials: Sequence[TrialRecord]) -> Collapsed | None:
    """None where nothing collapsed, or the metric has no such chance."""
    chance, pictures = _chance(sweep), pictures_of(sweep, "val")
    if chance is None or not pictures:
        return None
    limit = chance + standard_error(chance, pictures=pictures)
    judged = [trial for trial in trials if trial.state in ("complete", "pruned") and trial.value is not None]
    collapsed = [trial for trial in judged if trial.value is not None and trial.value <= limit]
    others = [trial for trial in judged if trial.value is not None and trial.value > limit]
    return Collapsed(chance, collapsed, len(judged), _cause(collapsed, others)) if collapsed else None


def _chance(sweep: Sweep) -> float | None:
    """What naming one class for all validation pictures comes to."""
    if sweep.task != "classification":
        return None
    counts: Mapping[str, int] = sweep.record["data"]["counts"].get("val", {})
    if sweep.metric == "val_accuracy" and counts:
        return max(counts.values()) / sum(counts.values())
    return 1 / len(sweep.record["classes"]) if sweep.metric == "val_balanced_accuracy" else None


def _cause(collapsed: Sequence[TrialRecord], others: Sequence[TrialRecord]) -> Cause | None:
    """The explored number that tells the two best apart, if any does well."""
    best, least = None, _TELLS_APART
    for name in {name: None for trial in collapsed for name in trial.params}:  # in the order of the sweep file
        there, elsewhere = _numbers(collapsed, name), _numbers(others, name)
        if min(len(there), len(elsewhere)) < _FEWEST:
            continue
        apart = _apart(there, elsewhere)
        if apart >= least and (best is None or apart > least):
            best, least = Cause(name, (there[0], there[-1]), (elsewhere[0], elsewhere[-1])), apart
    return best


def _apart(some: Sequence[float], others: Sequence[float]) -> float:
    """In what share of the pairs the same side has the larger value: 0.5 to 1, equals half. Both are sorted."""
    above = sum(bisect_left(others, value) + bisect_right(others, value) for value in some) / 2
    share = above / (len(some) * len(others))
    return max(share, 1 - share)


def _numbers(trials: Sequence[TrialRecord], name: str) -> list[float]:
    values = [trial.params.get(name) for trial in trials]
    return sorted(value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool))
