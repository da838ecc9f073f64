"""Seeds that depend on what they are for, never on what came before.

with seeded(settings.seed, "epoch", 5, device=device):
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
def seeded(seed: int, *purpose: str | int, device: torch.device | None = None) -> Iterator[None]:
    """Torch's generators, on the CPU and on `device`, seeded for one purpose and put back afterwards.

    Without a GPU as the device, none is touched.
    """
    drawn = derive(seed, *purpose)
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.random.default_generator.manual_seed(drawn)
        for gpu in gpus:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(drawn)
        yield
