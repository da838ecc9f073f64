"""Whether a file made of a network computes what the network does: the same scores, but for the rounding of fp32.

    original = Original(description, network, pictures)      # uint8 [N, C, S, S]
    original.check("model.pt2", run)                         # the largest difference; RuntimeError if it is too large
    original.noise                                           # how far two computations of its logits may be apart

Most networks give the same scores to `TOLERANCE` in whatever order a program adds up their products. A deep one far
from trained magnifies what is rounded from layer to layer (a ResNet-152 with random weights, a thousandfold). How far
such a network in fp32 is from itself in fp64 tells rounding from a mistake; it is computed only when it is asked for.
"""

import copy
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from reports.modelfile import Description
from reports.predict import Predictor, as_scores

TOLERANCE = 1e-4  # between two computations in fp32, relative to the largest number, or to 1 where that is more
# Two computations may be apart by this many times the error of the one that was measured: each has its own.
ROUNDING = 4
_BATCH = 32


class Original:
    """A network on the CPU in fp32, with what it gives for some pictures, as every file made of it must.

    `tolerance` is what differences are held against: `TOLERANCE`, or more once one was larger and the network itself
    turned out to be less exact.
    """

    def __init__(self, description: Description, network: nn.Module, pictures: Tensor) -> None:
        self.description = description
        self.pictures = pictures
        self.tolerance = TOLERANCE
        self.network = network
        self._logits = self._computed(network)

    def check(self, file: str, run: Callable[[Tensor], Tensor]) -> float:
        """Runs a file on the pictures, first on a single one, and returns the largest difference of its scores.

        Raises:
            RuntimeError: they differ by more than rounding.
        """
        with torch.inference_mode():
            got = torch.cat([run(batch) for batch in (self.pictures[:1], *self.pictures[1:].split(_BATCH))])
        difference = _difference(got, self.scores)
        if not difference <= self.tolerance:
            self.tolerance = max(TOLERANCE, ROUNDING * _difference(self.scores, self._scores_of(self._exact)))
        if not difference <= self.tolerance:
            raise RuntimeError(
                f"{file} does not agree with the original: its scores differ by {difference},"
                f" rounding explains {self.tolerance}"
            )
        return difference

    @property
    def scores(self) -> Tensor:
        """float32 [N, classes]."""
        return self._scores_of(self._logits)

    @property
    def noise(self) -> float:
        """What separates the logits of two computations in fp32, relative to a picture's largest or to 1."""
        error = (self._logits - self._exact).abs().amax(dim=1)
        return max(TOLERANCE, ROUNDING * float((error / self._exact.abs().amax(dim=1).clamp(min=1.0)).max()))

    @cached_property
    def _exact(self) -> Tensor:
        return self._computed(_InDouble(self.network))

    def _computed(self, network: nn.Module) -> Tensor:
        predictor = Predictor(self.description, network, device=torch.device("cpu"))
        return torch.cat([predictor.logits(batch) for batch in self.pictures.split(_BATCH)])

    def _scores_of(self, logits: Tensor) -> Tensor:
        return as_scores(logits, self.description)


class _InDouble(nn.Module):
    """A copy of a network that computes in fp64."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = copy.deepcopy(network).double()

    def forward(self, pictures: Tensor) -> Tensor:
        return self._network(pictures.double())


def _difference(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max()) / max(1.0, float(expected.abs().max()))
