"""Mixup and cutmix: training batches whose pictures are made of two, and losses of both targets.

mixing = Mixing(settings)
batch = mixing(pictures, targets, epoch=3, step=0)     # the same for the same (settings.seed, epoch, step)
batch.loss(loss, outputs)                              # each of the two targets by its share
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from trainables.seeding import seeded
from trainables.settings import TrialSettings


@dataclass(frozen=True)
class Batch:
    """Pictures float [N, C, S, S]; each is `share` of a picture with the target in `targets`, the rest of another."""

    pictures: Tensor
    targets: Tensor
    others: Tensor | None = None
    share: float = 1.0

    def loss(self, loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor) -> Tensor:
        """The loss to each of the two targets, weighed by its share: what any loss, of whatever targets, allows."""
        if self.others is None:
            return loss(outputs, self.targets)
        return self.share * loss(outputs, self.targets) + (1 - self.share) * loss(outputs, self.others)

    @property
    def leading(self) -> Tensor:
        """The targets of what the pictures show most of."""
        return self.targets if self.others is None or self.share >= 0.5 else self.others


class Mixing:
    """A trial's mixup (Zhang et al. 2018, arXiv:1710.09412) and cutmix (Yun et al. 2019, arXiv:1905.04899).

    Pictures are paired with their neighbours in the batch, whose order is random. Where both are wanted, each batch
    has one of them, with even odds.
    """

    def __init__(self, settings: TrialSettings) -> None:
        self._seed = settings.seed
        self._ways: list[v2.MixUp | v2.CutMix] = []
        if settings.mixup:
            self._ways.append(v2.MixUp(alpha=settings.mixup))
        if settings.cutmix:
            self._ways.append(v2.CutMix(alpha=settings.cutmix))

    def __call__(self, pictures: Tensor, targets: Tensor, *, epoch: int, step: int) -> Batch:
        """A training batch; as it is where nothing is to be mixed, or there is nothing to mix with."""
        if not self._ways or len(pictures) < 2:
            return Batch(pictures, targets)
        with seeded(self._seed, "mixing", epoch, step):
            way = self._ways[int(torch.randint(len(self._ways), ()))]
            drawn = way.make_params([pictures])
        mixed = way.transform(pictures, {"labels": targets, "batch_size": len(pictures), **drawn})
        share = drawn["lam"] if isinstance(way, v2.MixUp) else drawn["lam_adjusted"]
        mixed = mixed.contiguous(memory_format=torch.channels_last)
        return Batch(mixed, targets, targets.roll(1, 0), share)
