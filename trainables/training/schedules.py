"""Learning-rate schedules by name, each stepped once an epoch, after the optimiser.

schedule = build_schedule(optimizer, settings)
...                                  # an epoch of optimiser steps
schedule.step()
"""

from collections.abc import Callable

from torch.optim import Optimizer, lr_scheduler

from trainables.settings import TrialSettings

SCHEDULES: dict[str, Callable[[Optimizer, TrialSettings], lr_scheduler.LRScheduler]] = {
    "step": lambda optimizer, s: lr_scheduler.StepLR(optimizer, step_size=s.step_size, gamma=s.gamma),
    "exponential": lambda optimizer, s: lr_scheduler.ExponentialLR(optimizer, gamma=s.gamma),
    "cosine": lambda optimizer, s: lr_scheduler.CosineAnnealingLR(optimizer, T_max=s.epochs),
    "constant": lambda optimizer, s: lr_scheduler.ConstantLR(optimizer, factor=1.0),
}


def build_schedule(optimizer: Optimizer, settings: TrialSettings) -> lr_scheduler.LRScheduler:
    """The schedule of a trial."""
    return SCHEDULES[settings.schedule](optimizer, settings)
