"""What trials took from each other, and what that saved, as far as the record tells.

found = shared_work(trials)
found.ready, found.making_s, found.saved_s     # 12 epochs found all of it there; the others spent 3.6 s on it

An epoch's record says what it shared (a frozen stage, or the pictures' views) and how long it was at making it; an
epoch that found everything there was at it for exactly 0 s.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from reports.ledger import TrialRecord


@dataclass(frozen=True)
class SharedWork:
    """Epochs by what they shared.

    Attributes:
        epochs: those of all trials.
        ready: those that found all there that they shared.
        making: those that made some of it, or waited for others that did, which took `making_s` in all.
        saved_s: what the ready ones would have spent at the others' pace, each kind of work at its own.
        told: how many of the ready ones that counts; of the rest the work was done before the sweep.
        unshared: why frozen layers were part of the training instead, as the trials gave it, with their epochs.
    """

    epochs: int
    ready: int
    making: int
    making_s: float
    saved_s: float
    told: int
    unshared: dict[str, int]


def shared_work(trials: Sequence[TrialRecord]) -> SharedWork:
    """Sums up the epochs; the same network, picture size and stage are the same kind of work."""
    ready: dict[tuple, int] = defaultdict(int)
    making: dict[tuple, list[float]] = defaultdict(list)
    unshared: dict[str, int] = defaultdict(int)
    for trial in trials:
        for epoch in trial.epochs:
            stage, _, why = str(epoch.get("shared", "nothing")).partition(" (")
            if why:
                unshared[why.removesuffix(")")] += 1
            if stage == "nothing":
                continue
            kind = (trial.settings.get("model"), trial.settings.get("image_size"), stage)
            if seconds := epoch.get("seconds_sharing", 0.0):
                making[kind].append(seconds)
            else:
                ready[kind] += 1
    told = {kind: count for kind, count in ready.items() if making[kind]}
    return SharedWork(
        epochs=sum(len(trial.epochs) for trial in trials),
        ready=sum(ready.values()),
        making=sum(map(len, making.values())),
        making_s=sum(map(sum, making.values())),
        saved_s=sum(count * sum(making[kind]) / len(making[kind]) for kind, count in told.items()),
        told=sum(told.values()),
        unshared=dict(unshared),
    )
