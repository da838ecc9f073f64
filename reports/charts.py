"""A sweep's pictures as data, before anything is drawn: pure functions of its trials.

    history = history_of(trials, mode="max")
    history.over_trials[-1]                      # (39, 0.8954): the best value once trial 39 was there
    curves_of(trials, metric="val_accuracy", mode="max")
    timeline_of(trials).lanes                    # how many trials ran at once

What is too much to draw is sampled, evenly and always the same, with the best kept (of a timeline the last part is
shown); `left_out` says how many are not there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from reports.ledger import TrialRecord, best_of
from reports.ranking import ranked

MOST_POINTS = 1500
MOST_CURVES = 150
MOST_BARS = 600

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Point:
    """One trial with a value. `at_s` is the sweep's wall time when its last epoch ended."""

    number: int
    state: str
    value: float
    at_s: float


@dataclass(frozen=True)
class History:
    """Values as trials came in, and the best complete one so far, as steps (x, value)."""

    points: tuple[Point, ...]
    over_trials: tuple[tuple[int, float], ...]
    over_time: tuple[tuple[float, float], ...]
    left_out: int = 0


def history_of(trials: Sequence[TrialRecord], *, mode: str) -> History:
    """All trials that reached a value; only complete ones move the best."""
    valued = [trial for trial in trials if trial.value is not None and trial.epochs]
    points = [Point(t.number, t.state, t.value, ended_s(t)) for t in valued if t.value is not None]
    complete = [point for point in points if point.state == "complete"]
    over_trials = _best_so_far([(p.number, p.value) for p in sorted(complete, key=lambda p: p.number)], mode=mode)
    over_time = _best_so_far([(p.at_s, p.value) for p in sorted(complete, key=lambda p: p.at_s)], mode=mode)
    if trials and over_trials:  # the lines go on to the end
        last = max(trial.number for trial in trials)
        over_trials += ((last, over_trials[-1][1]),) if last > over_trials[-1][0] else ()
        end = max(point.at_s for point in points)
        over_time += ((end, over_time[-1][1]),) if end > over_time[-1][0] else ()
    some = evenly(points, most=MOST_POINTS, keep=best_place(valued, mode=mode))
    return History(tuple(some), over_trials, over_time, left_out=len(points) - len(some))


def ended_s(trial: TrialRecord) -> float:
    """The sweep's wall time, in seconds, when the trial's last recorded epoch ended."""
    return trial.epochs[-1].get("elapsed", 0.0) if trial.epochs else 0.0


def _best_so_far(pairs: Sequence[tuple[Any, float]], *, mode: str) -> tuple[tuple[Any, float], ...]:
    """The pairs that were better than all before them."""
    steps: list[tuple[Any, float]] = []
    for x, value in pairs:
        if not steps or (value > steps[-1][1] if mode == "max" else value < steps[-1][1]):
            steps.append((x, value))
    return tuple(steps)


# learning curves


@dataclass(frozen=True)
class Curve:
    """One trial's numbers by epoch; `rank` 0 is the best trial's."""

    number: int
    state: str
    rank: int
    epochs: tuple[int, ...]
    train: tuple[float | None, ...]
    val: tuple[float | None, ...]


@dataclass(frozen=True)
class Curves:
    """Learning curves of one quantity, the best trial first."""

    name: str
    curves: tuple[Curve, ...]
    left_out: int = 0


def curves_of(trials: Sequence[TrialRecord], *, metric: str, mode: str) -> Curves:
    """How `metric` (`val_accuracy`) and its twin on the training pictures (`train_accuracy`) went, epoch by epoch."""
    name = metric.removeprefix("val_")
    order = [trial for trial in ranked(trials, mode=mode) if trial.epochs]
    head = order[: MOST_CURVES // 3]
    some = [*head, *evenly(order[len(head) :], most=MOST_CURVES - len(head))]
    ranks = {trial.number: rank for rank, trial in enumerate(order)}
    curves = tuple(
        Curve(
            number=trial.number,
            state=trial.state,
            rank=ranks[trial.number],
            epochs=tuple(epoch["epoch"] for epoch in trial.epochs),
            train=tuple(_finite(epoch.get(f"train_{name}")) for epoch in trial.epochs),
            val=tuple(_finite(epoch.get(f"val_{name}")) for epoch in trial.epochs),
        )
        for trial in some
    )
    return Curves(name, curves, left_out=len(order) - len(some))


# workers and time


@dataclass(frozen=True)
class Bar:
    """One trial at work, in seconds of the sweep's wall time, on one of the lanes."""

    number: int
    state: str
    start_s: float
    end_s: float
    lane: int


@dataclass(frozen=True)
class Timeline:
    """Which trials ran side by side, of many the last ones. The time a sweep lay still between runs is not in it."""

    bars: tuple[Bar, ...]
    lanes: int
    left_out: int = 0


def timeline_of(trials: Sequence[TrialRecord]) -> Timeline:
    """Each trial from the start of its first epoch to the end of its last, on the first lane that is free."""
    spans = []
    for trial in trials:
        if trial.epochs and "elapsed" in trial.epochs[0]:
            first = trial.epochs[0]
            spans.append((max(0.0, first["elapsed"] - first["seconds"]), ended_s(trial), trial))
    spans.sort(key=lambda span: (span[0], span[2].number))
    free_at: list[float] = []
    bars = []
    for start, end, trial in spans:
        # An epoch's record comes a little after its end, so one trial may seem to begin before the last one's end.
        lane = next((i for i, free in enumerate(free_at) if free <= start + 0.25), len(free_at))
        if lane == len(free_at):
            free_at.append(end)
        free_at[lane] = max(free_at[lane], end)
        bars.append(Bar(trial.number, trial.state, start, end, lane))
    some = bars[-MOST_BARS:]  # every tenth of them would show no work but gaps
    return Timeline(tuple(some), len(free_at), left_out=len(bars) - len(some))


@dataclass(frozen=True)
class TimeSpent:
    """Seconds of the workers by what they were spent on; `workers_s` is all they had."""

    parts: dict[str, float] = field(default_factory=dict)
    workers_s: float = 0.0


# An epoch's own parts, where its record has them, and what the page calls them; the rest of an epoch is training.
_PARTS = {"seconds_sharing": "shared features", "seconds_validating": "validate"}


def time_spent(trials: Sequence[TrialRecord], *, wall_seconds: float, lanes: int) -> TimeSpent:
    """Where the time of the workers went: the epochs (by part, where recorded), and the engine around them.

    Args:
        trials: of a ledger.
        wall_seconds: the sweep's.
        lanes: how many trials ran at once (`Timeline.lanes`).
    """
    parts: dict[str, float] = {}
    for trial in trials:
        for epoch in trial.epochs:
            rest = epoch["seconds"]
            for name, label in _PARTS.items():
                if (seconds := epoch.get(name)) is not None:
                    parts[label] = parts.get(label, 0.0) + seconds
                    rest -= seconds
            label = "train" if any(name in epoch for name in _PARTS) else "train and validate"
            parts[label] = parts.get(label, 0.0) + max(0.0, rest)
    if not parts:
        return TimeSpent()
    total = max(wall_seconds * lanes, sum(parts.values()))
    engine = total - sum(parts.values())
    return TimeSpent({**parts, "idle, engine and start-up": engine}, workers_s=total)


# sampling


def evenly(items: Sequence[_Item], *, most: int, keep: int | None = None) -> list[_Item]:
    """At most so many of the items, evenly spaced, the first, the last and the one at `keep` among them."""
    if len(items) <= most:
        return list(items)
    places = _spread(len(items), most)
    if keep is not None and keep not in places:
        places = sorted({*_spread(len(items), most - 1), keep})
    return [items[place] for place in places]


def _spread(count: int, most: int) -> list[int]:
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def best_place(trials: Sequence[TrialRecord], *, mode: str) -> int | None:
    """Where the best complete one is (`reports.ranking`); None where there is none."""
    best = best_of(trials, mode=mode)
    return None if best is None else trials.index(best)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
