"""Trials that learnt nothing, and which setting tells them from the others.

    found = collapsed_of(sweep, trials)
    found.chance, len(found.trials), found.cause         # 0.1, 4, Cause("lr", (0.0024, 0.01), (0.00014, 0.0024))

A trial has collapsed when its best epoch does no better than naming one class for all pictures, within one standard
error of that; in regression, when giving the mean for all pictures would do as well. Too large a learning rate does it,
in the first epoch and for good.
"""

import dataclasses
import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.answers import pictures_of, standard_error
from reports.ledger import TrialRecord
from reports.sweep import Sweep
from reports.tables import shown

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
    """The trials that did no better than `chance`, of `judged`: the complete and pruned ones.

    Attributes:
        measure: what chance is a value of: the sweep's metric, or `val_r2`.
    """

    measure: str
    chance: float
    trials: Sequence[TrialRecord]
    judged: int
    cause: Cause | None

    @property
    def chance_in_words(self) -> str:
        """`0.5, one class for all pictures, give or take a standard error`."""
        if self.measure == "val_r2":
            return "an R² of 0, the mean for all pictures"
        return f"{shown(self.chance)}, one class for all pictures, give or take a standard error"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: trials by their numbers."""
        return {
            "measure": self.measure,
            "chance": self.chance,
            "trials": [trial.number for trial in self.trials],
            "cause": None if self.cause is None else dataclasses.asdict(self.cause),
        }


def collapsed_of(sweep: Sweep, trials: Sequence[TrialRecord]) -> Collapsed | None:
    """None where nothing collapsed, or the metric has no such chance."""
    judged = [trial for trial in trials if trial.state in ("complete", "pruned") and trial.value is not None]
    if sweep.task == "regression":
        measure, chance = "val_r2", 0.0
        values = [_r2(trial) for trial in judged]
        limit = chance
    else:
        measure, pictures = sweep.metric, pictures_of(sweep, "val")
        found = _chance(sweep)
        if found is None or not pictures:
            return None
        chance = found
        values = [trial.value for trial in judged]
        limit = chance + standard_error(chance, pictures=pictures)
    told = [(trial, value) for trial, value in zip(judged, values, strict=True) if value is not None]
    collapsed = [trial for trial, value in told if value <= limit]
    others = [trial for trial, value in told if value > limit]
    return Collapsed(measure, chance, collapsed, len(told), _cause(collapsed, others)) if collapsed else None


def _r2(trial: TrialRecord) -> float | None:
    """R² of the best epoch; None where only the order is learnt, or the targets of validation are all the same."""
    if trial.settings.get("loss") == "margin_ranking":
        return None
    best = next((epoch for epoch in trial.epochs if epoch["epoch"] == trial.best_epoch), {})
    r2 = best.get("val_r2")
    return r2 if isinstance(r2, (int, float)) and math.isfinite(r2) else None


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
