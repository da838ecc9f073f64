"""Seeds that depend on what they are for, never on what came before.

with seeded(settings.seed, "epoch", 5):
    ...                       # every draw of torch in here is that of epoch 5, resumed or not
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose: 63 bits of the BLAKE2b digest of the seed and the purpose's words."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int, *purpose: str | int) -> Iterator[None]:
    """Torch's generators, on the CPU and on the current GPU, seeded for one purpose and put back afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive(seed, *purpose))
        yield
