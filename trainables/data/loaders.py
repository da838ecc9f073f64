"""Batches of views, in an order and with contents that do not depend on how they are made.

for images, targets in training_batches(store, settings=settings, data_seed=0, epoch=1, pin_memory=False):
    ...                                       # uint8 [N, C, S, S]; int64 [N] or float32 [N, K]
for images, targets in evaluation_batches(store, "val", settings=settings, batch_size=64):
    ...
"""

import multiprocessing
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from trainables.data.prefetching import Prefetched
from trainables.data.store import PixelStore
from trainables.data.transforms import UNIFORMS, training_view, uniforms, validation_view
from trainables.errors import TrialError
from trainables.settings import TrialSettings

Batch = tuple[Tensor, Tensor]
# Keeps the numbers that order the pictures apart from those that shape their views when both seeds are the same.
ORDER_STREAM = 1 << 40


@dataclass(frozen=True)
class Views(Dataset[Batch]):
    """The views of a store's pictures, made a batch at a time; `epoch` is `None` for the views of validation."""

    store: PixelStore
    settings: TrialSettings
    data_seed: int = 0
    epoch: int | None = None

    def __getitems__(self, indices: list[int]) -> Batch:
        """The views, uint8 [N, C, S, S], and the targets of the pictures with these indices."""
        shape = (len(indices), self.store.channels, self.settings.image_size, self.settings.image_size)
        # Laid out as the pictures are stored and as networks are fed: any other way costs more than the views do.
        images = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        for place, (index, draws) in enumerate(zip(indices, self._draws(indices), strict=True)):
            images[place] = self._view(self.store[index], draws)
        return images, self.store.targets[indices]

    def _draws(self, indices: list[int]) -> Iterable[np.ndarray | None]:
        if self.epoch is None:
            return [None] * len(indices)
        return uniforms(self.data_seed, self.epoch, indices, UNIFORMS)

    def _view(self, picture: Tensor, draws: np.ndarray | None) -> Tensor:
        if draws is None:
            return validation_view(picture, size=self.settings.image_size, center_crop=self.settings.center_crop)
        return training_view(picture, settings=self.settings, uniforms=draws)


def training_batches(
    store: PixelStore, *, settings: TrialSettings, data_seed: int, epoch: int, pin_memory: bool = False
) -> Iterable[Batch]:
    """The training pictures in the order of (`settings.seed`, `epoch`), each in its view of (`data_seed`, `epoch`).

    Yields uint8 [N, C, S, S] and the pictures' rows of `store.targets` (int64 [N], or float32 [N, K] where the task is
    multilabel or regression), in memory from which a GPU copies by itself under `pin_memory`; the batches are the same
    whatever `settings.workers` is. `TrialError` when `drop_last` would leave no batch.
    """
    plan = training_plan(store, settings=settings, epoch=epoch)
    views = Views(store, settings, data_seed, epoch)
    return _loader(views, plan, workers=settings.workers, pin_memory=pin_memory)


def training_plan(store: PixelStore, *, settings: TrialSettings, epoch: int) -> list[Tensor]:
    """Which pictures are in which batch: indices, int64 [N], for each of an epoch's batches.

    `TrialError` when `drop_last` would leave no batch.
    """
    order = training_order(store.indices("train"), seed=settings.seed, epoch=epoch)
    plan = list(order.split(settings.batch_size))
    if settings.drop_last and len(plan[-1]) < settings.batch_size:
        plan.pop()
    if not plan:
        raise TrialError(
            f"drop_last leaves no batch: batch_size is {settings.batch_size}, training pictures are {len(order)}"
        )
    return plan


def evaluation_batches(
    store: PixelStore, split: str, *, settings: TrialSettings, batch_size: int, pin_memory: bool = False
) -> Iterable[Batch]:
    """All pictures of a split in the order of their indices, in the view of validation; nothing is left out."""
    plan = store.indices(split).split(batch_size) if len(store.indices(split)) else []
    views = Views(store, settings)
    return _loader(views, list(plan), workers=settings.workers, pin_memory=pin_memory)


def training_order(indices: Tensor, *, seed: int, epoch: int) -> Tensor:
    """`indices` (int64 [N]) shuffled by (seed, epoch), the same for every version of torch."""
    keys = uniforms(seed + ORDER_STREAM, epoch, indices, 1)[:, 0]
    return indices[torch.from_numpy(np.argsort(keys, kind="stable"))]


def _loader(views: Views, plan: list[Tensor], *, workers: int, pin_memory: bool) -> Iterable[Batch]:
    workers = min(workers, len(plan))
    loader = DataLoader(
        views,
        batch_sampler=[batch.tolist() for batch in plan],
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context=_worker_context() if workers else None,
        # A generator of its own: without one, every pass would draw from the global one, which belongs to the trial.
        generator=torch.Generator(),
    )
    # A GPU computes by itself what it was told to, which leaves this process time for the next views.
    return Prefetched(loader) if pin_memory and not workers else loader


def _as_it_is(batch: Any) -> Any:
    """`Views` hands over whole batches; there is nothing left to collate."""
    return batch


@cache
def _worker_context() -> multiprocessing.context.BaseContext:
    """Workers are forked from a small server process that has imported this module and runs no threads.

    Forking the trial itself is not safe (it holds threads of torch, CUDA and Ray), and spawning would import torch
    anew for every worker and epoch.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    return context
