"""How many trials share a GPU: one until a trial's memory was measured, then as many as fit; fewer when one does not.

    packing = Packing(most=8, fits=ledger.fits_a_gpu())   # None: nothing is known yet
    packing.share                                         # 1.0: of a GPU, for each trial
    packing.measured(0.17, left_s=900.0)                  # a trial's peak, as a share of the GPU's memory
    if packing.changed:
        packing.settle()                                  # 4 trials a GPU from here on
    packing.ran_out()                                     # True: 2 from the next settling on, and its trial tries again

No Ray, no torch and no clock in it. What it has learnt is two numbers; the ledger keeps the one that matters.
"""

import math
from collections.abc import Mapping, Sequence

# Of what a trial was measured to take: others may be a little larger, and the allocator wastes some.
MARGIN = 1.2
# To make other places takes 7 s: new processes load torch and open the GPU. It pays where more than this is left to do.
WORTH_S = 15.0
# How much longer a process's first epoch on a GPU takes than its others: kernels are loaded, and the fastest picked.
WARMING_UP_S = 1.5


def fitting(peak: float) -> int:
    """How many trials of this peak, a share of a GPU's memory, fit on it with a margin; at least one."""
    return max(1, math.floor(1 / (peak * MARGIN))) if peak > 0 else 1


def share_of(per_gpu: int) -> float:
    """Each one's share of a GPU, such that together they are not more than one: Ray counts in ten-thousandths."""
    return math.floor(10_000 / per_gpu) / 10_000


def most_a_gpu(nodes: Sequence[Mapping[str, float]], *, cpus: float, workers: int | None) -> int:
    """How many trials a GPU are of use: what the CPUs beside it serve, and no more than the workers there are to be.

    Args:
        nodes: the resources of each.
        cpus: of one trial.
        workers: most trials at once, on all nodes.
    """
    with_gpus = [node for node in nodes if node.get("GPU", 0) > 0]
    served = max((node.get("CPU", 0) / cpus / node["GPU"] for node in with_gpus), default=1.0)
    if workers is not None and with_gpus:
        served = min(served, math.ceil(workers / sum(node["GPU"] for node in with_gpus)))
    return max(1, math.floor(served + 1e-9))


class Packing:
    """What is known of the trials' memory, and how many share a GPU at present.

    Args:
        most: more of them on a GPU are of no use.
        fits: how many fit, as far as the sweep has found out; None where no trial was measured yet.
    """

    def __init__(self, *, most: int, fits: int | None = None) -> None:
        self.fits = fits
        self._most, self._peak, self._pays = most, 0.0, False
        self.per_gpu = self._wanted()

    @property
    def share(self) -> float:
        """Of a GPU, for each trial."""
        return share_of(self.per_gpu)

    @property
    def changed(self) -> bool:
        """Whether another number than the present one should share a GPU."""
        wanted = self._wanted()
        return wanted < self.per_gpu or (wanted > self.per_gpu and self._pays)

    def measured(self, peak: float, *, left_s: float) -> bool:
        """Takes in a trial's peak. Returns whether fewer fit than was known.

        Only of a trial with a GPU to itself: beside others torch keeps what it got, up to its limit, needed or not.

        Args:
            peak: a share of the GPU's memory.
            left_s: how long the rest of the sweep would take with the places as they are.
        """
        if self.per_gpu > 1:
            return False
        self._pays = self._pays or left_s > WORTH_S
        self._peak = max(peak, self._peak)
        return self._at_most(fitting(peak))

    def ran_out(self) -> bool:
        """A trial's memory did not suffice. Returns whether it may have more: not if it had a GPU to itself."""
        if self.per_gpu == 1:
            return False
        self._at_most(self.per_gpu // 2)
        return True

    def settle(self) -> str:
        """From here on as many share a GPU as should. Returns that, and why, in a line."""
        more, self.per_gpu, self._pays = self._wanted() > self.per_gpu, self._wanted(), False
        why = f"a trial took up to {self._peak:.0%} of a GPU's memory" if more else "a trial ran out of GPU memory"
        return f"{why}: {self.per_gpu} at a time on each from here on"

    def _at_most(self, fits: int) -> bool:
        fewer = self.fits is None or fits < self.fits
        self.fits = fits if self.fits is None else min(fits, self.fits)
        return fewer

    def _wanted(self) -> int:
        return min(self.fits or 1, self._most)
