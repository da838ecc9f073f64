"""Learning-rate schedules by name: at each step the rate is a function of how far the trial is.

schedule = Schedule(optimizer, settings, steps=8)      # steps: training steps of one epoch
schedule.set(epoch=1, step=0)                          # before each step, counted from 0; epochs are from 1
schedule.end_epoch(epoch=1, val_loss=0.7)              # after each validation
schedule.lr                                            # the rate of the last step

Each gives the rates of torch's own of that name (`StepLR`, `OneCycleLR`, …) in closed form, so a resumed trial needs no
history; only `plateau` remembers something. Nothing but the rate moves, where torch's `OneCycleLR` has momentum fall
and rise as well. The rate of `rprop` stays as it is, for it is read once, as the size of the first step. During the
warm-up of W epochs the schedule stands at its start, and the rate rises by equal parts from step to step; epochs of the
schedule are counted from its end.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer

from trainables.settings import TrialSettings
from trainables.training.checks import milestones_of

# Relative improvement of the validation loss that counts, as in torch's `ReduceLROnPlateau`.
PLATEAU_THRESHOLD = 1e-4


@dataclass(frozen=True)
class Progress:
    """How far a schedule is: `epoch` and `step` within it, both from 0; each has `steps`, and there are `epochs`."""

    epoch: int
    step: int
    steps: int
    epochs: int


def _multistep(settings: TrialSettings, at: Progress) -> float:
    return settings.gamma ** sum(milestone <= at.epoch for milestone in milestones_of(settings))


def _cosine(settings: TrialSettings, at: Progress) -> float:
    """Loshchilov and Hutter 2017 (arXiv:1608.03983), equation 5, without restarts."""
    return _between(1.0, settings.min_lr_factor, at.epoch / at.epochs)


def _one_cycle(settings: TrialSettings, at: Progress) -> float:
    """Smith and Topin 2017 (arXiv:1708.07120), in two phases with cosine annealing, as in torch."""
    start = 1 / settings.div_factor
    last = at.epochs * at.steps - 1
    peak = settings.pct_start * (last + 1) - 1
    now = at.epoch * at.steps + at.step
    if peak > 0 and now <= peak:
        return _between(start, 1.0, now / peak)
    return _between(1.0, start / settings.final_div_factor, (now - peak) / (last - peak))


def _between(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a cosine; `share` runs from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


# The rate as a share of `lr`. That of `plateau` is not a function of time; its falls are `Schedule`'s to count.
SCHEDULES: dict[str, Callable[[TrialSettings, Progress], float]] = {
    "step": lambda settings, at: settings.gamma ** (at.epoch // settings.step_size),
    "multistep": _multistep,
    "exponential": lambda settings, at: settings.gamma**at.epoch,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "plateau": lambda settings, at: 1.0,
    "constant": lambda settings, at: 1.0,
}


class Schedule:
    """Sets an optimiser's learning rates; each of its groups keeps its proportion to the others."""

    def __init__(self, optimizer: Optimizer, settings: TrialSettings, *, steps: int) -> None:
        self.lr = settings.lr
        self._optimizer, self._settings, self._steps = optimizer, settings, steps
        self._starts = [group["lr"] for group in optimizer.param_groups]
        # What `plateau` remembers.
        self._best: float | None = None
        self._waited, self._fallen = 0, 1.0

    def set(self, *, epoch: int, step: int) -> None:
        """The rates of a step."""
        factor = self.factor(epoch=epoch, step=step)
        self.lr = self._settings.lr * factor
        for group, start in zip(self._optimizer.param_groups, self._starts, strict=True):
            group["lr"] = start * factor

    def factor(self, *, epoch: int, step: int) -> float:
        """The rate of a step as a share of `settings.lr`."""
        settings = self._settings
        if settings.optimizer == "rprop":
            return 1.0
        warm = settings.warmup_epochs
        rise = min(1.0, ((epoch - 1) * self._steps + step + 1) / (warm * self._steps)) if warm else 1.0
        at = Progress(
            epoch=max(0, epoch - 1 - warm),
            step=step if epoch > warm else 0,
            steps=self._steps,
            epochs=max(1, settings.epochs - warm),
        )
        return SCHEDULES[settings.schedule](settings, at) * self._fallen * rise

    def end_epoch(self, *, epoch: int, val_loss: float) -> None:
        """Takes an epoch's validation loss in; `plateau` alone does anything with it."""
        settings = self._settings
        if settings.schedule != "plateau" or epoch <= settings.warmup_epochs:
            return
        if self._best is None or val_loss < self._best - PLATEAU_THRESHOLD * abs(self._best):
            self._best, self._waited = val_loss, 0
            return
        self._waited += 1
        if self._waited > settings.patience:
            self._fallen = max(self._fallen * settings.gamma, settings.min_lr_factor)
            self._waited = 0

    def state_dict(self) -> dict[str, Any]:
        """What `plateau` remembers; nothing for the others."""
        if self._settings.schedule != "plateau":
            return {}
        return {"best": self._best, "waited": self._waited, "fallen": self._fallen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._settings.schedule == "plateau":
            self._best, self._waited, self._fallen = state["best"], state["waited"], state["fallen"]


def steps_of(pictures: int, settings: TrialSettings) -> int:
    """Training steps of an epoch over that many pictures; at least 1."""
    whole, rest = divmod(pictures, settings.batch_size)
    return max(1, whole + (rest > 0 and not settings.drop_last))
