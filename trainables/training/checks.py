"""What settings of training must fit together: each other, and the task.

    for names, check in checks_for("regression"):
        check(settings)                              # UserError; it looks at the settings `names` alone
    milestones_of(settings)                          # (4, 6)

Importing this module imports no torch.
"""

from collections.abc import Callable
from functools import partial

from trainables.data.catalog import Task
from trainables.errors import UserError
from trainables.settings import TrialSettings
from trainables.tasks import LOSSES_OF

Check = tuple[set[str], Callable[[TrialSettings], object]]


def checks_for(task: Task) -> tuple[Check, ...]:
    """What must agree in a sweep of this task, and the settings that each check looks at."""
    return (
        ({"loss"}, partial(_check_loss, task=task)),
        ({"optimizer", "precision"}, _check_optimizer),
        ({"optimizer", "nesterov", "momentum"}, _check_momentum),
        ({"optimizer", "nesterov", "dampening"}, _check_dampening),
        ({"schedule", "milestones"}, _check_milestones),
    )


def milestones_of(settings: TrialSettings) -> tuple[int, ...]:
    """The epochs that `milestones` lists. UserError when it is no list of rising whole numbers above 0."""
    words = str(settings.milestones).replace(",", " ").split()
    numbers = tuple(int(word) for word in words if word.isascii() and word.isdecimal())
    if not words or len(numbers) < len(words) or numbers[0] < 1 or list(numbers) != sorted(set(numbers)):
        raise UserError(
            "not a list of epochs",
            where="milestones",
            got=settings.milestones,
            expected="rising whole numbers above 0, such as `4, 6`",
        )
    return numbers


def _check_loss(settings: TrialSettings, *, task: Task) -> None:
    if settings.loss not in ("auto", *LOSSES_OF[task]):
        expected = f"one of auto, {', '.join(LOSSES_OF[task])}"
        raise UserError(f"no loss for data.task {task}", where="loss", got=settings.loss, expected=expected)


def _check_optimizer(settings: TrialSettings) -> None:
    if settings.optimizer == "sparse_adam":
        raise UserError(
            "it wants sparse gradients, and those of all models here are dense",
            where="optimizer",
            got=settings.optimizer,
            hint="take adam",
        )
    if settings.optimizer == "lbfgs" and settings.precision == "fp16":
        raise UserError(
            "lbfgs cannot scale its losses, as fp16 needs it",
            where="precision",
            got=settings.precision,
            expected="auto, bf16 or fp32",
        )


def _check_momentum(settings: TrialSettings) -> None:
    if settings.nesterov and settings.optimizer == "sgd" and settings.momentum == 0:
        hint = "start it above 0, or leave nesterov out"
        raise UserError("Nesterov momentum needs momentum above 0", where="momentum", got=settings.momentum, hint=hint)


def _check_dampening(settings: TrialSettings) -> None:
    if settings.nesterov and settings.optimizer == "sgd" and settings.dampening:
        raise UserError("Nesterov momentum takes no dampening", where="dampening", got=settings.dampening, expected="0")


def _check_milestones(settings: TrialSettings) -> None:
    if settings.schedule == "multistep":
        milestones_of(settings)
