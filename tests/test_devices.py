"""What is computed on a GPU stays there and never makes the host wait, as far as can be told without one.

torch's fake tensors have shapes and devices and no numbers: an operation on tensors of two devices is an error there,
and so is asking for a number, or for a shape that depends on numbers, for which a host waits. Copies from one device to
the other pass, though some of them wait too; `test_gpu.py` sees those.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorDeviceMismatchError

from trainables.arithmetic import Preparation
from trainables.data import transforms
from trainables.data.catalog import Task
from trainables.settings import TrialSettings
from trainables.tasks import LOSSES_OF
from trainables.training.losses import build_loss, predicted
from trainables.training.metrics import Gathered, RunningMetrics
from trainables.training.scores import SCORES

PICTURES, CLASSES = 12, 7
PAIRS = [(task, loss) for task, losses in LOSSES_OF.items() for loss in losses]


@contextmanager
def fake_gpu() -> Iterator[torch.device]:
    """A GPU, as far as torch's bookkeeping is concerned."""
    transforms._scale_and_shift.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield torch.device("cuda", 0)
    transforms._scale_and_shift.cache_clear()


def targets_of(task: Task) -> Tensor:
    """On the CPU, as a store has them."""
    draw = torch.Generator().manual_seed(0)
    if task == "classification":
        return torch.randint(CLASSES, (PICTURES,), generator=draw)
    if task == "multilabel":
        return torch.randint(2, (PICTURES, CLASSES), generator=draw).float()
    return torch.rand(PICTURES, CLASSES, generator=draw)


TARGETS = {task: targets_of(task) for task in SCORES}


def test_the_fake_knows_two_devices_and_a_wait() -> None:
    with fake_gpu() as gpu:
        with pytest.raises(FakeTensorDeviceMismatchError):
            torch.zeros(3, device=gpu) + torch.zeros(3)
        with pytest.raises(DataDependentOutputException):
            torch.zeros(3, device=gpu).sum().item()


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize(("task", "name"), PAIRS)
def test_losses_and_running_numbers(task: Task, name: str, class_weights: str) -> None:
    settings = TrialSettings(loss=name, class_weights=class_weights)  # type: ignore[arg-type]
    loss = build_loss(settings, task=task, classes=CLASSES, targets=TARGETS[task])
    with fake_gpu() as gpu:
        outputs, targets = torch.zeros(PICTURES, CLASSES, device=gpu), TARGETS[task].to(gpu)
        value = loss.to(gpu)(outputs, targets)
        running = RunningMetrics(gpu, settings=settings, task=task)
        running.update(value, outputs, targets)
        gathered = Gathered(settings=settings, task=task, loss=loss)
        gathered.update(outputs, targets)
        for numbers in (running, gathered):
            with pytest.raises(DataDependentOutputException):  # the one wait, at the end
                numbers.compute()
        assert value.device == gpu


@pytest.mark.parametrize("task", SCORES)
def test_scores(task: Task) -> None:
    with fake_gpu() as gpu:
        says = predicted(torch.zeros(PICTURES, CLASSES, dtype=torch.float64, device=gpu), task=task, loss="auto")
        scores = SCORES[task](says, TARGETS[task].to(gpu))
        assert {number.device for number in scores.values()} == {gpu}


def test_pictures_are_normalised_there() -> None:
    with fake_gpu() as gpu:
        prepare = Preparation(gpu, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
        views = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
        pictures, targets = prepare(views, torch.zeros(4, dtype=torch.int64))
        assert (pictures.device, targets.device) == (gpu, gpu)
        assert pictures.is_contiguous(memory_format=torch.channels_last)
