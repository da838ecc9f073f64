"""Where and how a network computes: device, number type, and the way of a batch to them.

arithmetic = Arithmetic.of(device, torch.bfloat16)
prepare = Preparation(device, mean=(0.5,), std=(0.5,))
with arithmetic.autocast():
    outputs = network(prepare.pictures(batch))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.data.transforms import normalize
from trainables.hardware import cpu_flags, has_tf32

# A core's caches hold what a network makes of eight pictures of 224 px better than of 32 (docs/PERFORMANCE.md).
_PIXELS_AT_A_TIME = 8 * 224 * 224
# A processor's instructions for many numbers at once, by how Linux names them: libraries choose their code by these.
_INSTRUCTIONS = ("amx", "asimd", "avx", "bf16", "fma", "i8mm", "sve")


def forwarded(network: Callable[[Tensor], Tensor], rows: Tensor, *, side: int | None = None) -> Tensor:
    """What a network in evaluation mode makes of rows [N, …]: pictures, or what some layers made of them.

    On a CPU a few of them at a time, as each is computed by itself: as many as there would be of pictures of `side`
    px, else as suits the rows' own size. How many share a batch shows in the last bits.
    """
    if rows.device.type != "cpu" or (side is None and rows.dim() != 4):
        return network(rows)
    at_a_time = max(1, _PIXELS_AT_A_TIME // (side * side if side else rows.shape[2] * rows.shape[3]))
    if len(rows) <= at_a_time:
        return network(rows)
    return torch.cat([network(part) for part in rows.split(at_a_time)])


@dataclass(frozen=True)
class Arithmetic:
    """Where and in which type a network computes.

    `dtype` None is fp32. `scaler` scales losses for fp16, whose small gradients would vanish otherwise.
    """

    device: torch.device
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype | None) -> "Arithmetic":
        scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        return cls(device=device, dtype=dtype, scaler=scaler)

    def key(self) -> dict[str, Any]:
        """What the last bits of a result depend on, beside what is computed; of a CPU, its instructions for that."""
        if self.device.type == "cuda":
            where: dict[str, Any] = {"device": torch.cuda.get_device_name(self.device), "cuda": torch.version.cuda}
        else:
            where = {
                "device": torch.backends.cpu.get_cpu_capability(),
                "instructions": sorted(flag for flag in cpu_flags() if flag.startswith(_INSTRUCTIONS)),
                "threads": torch.get_num_threads(),
            }
        return {**where, "type": self.precision}

    @property
    def precision(self) -> str:
        """What it computes in, for the record: `fp32`, `bf16`, `fp16`; or `tf32`, which many GPUs take for fp32's."""
        if self.dtype is not None:
            return {torch.bfloat16: "bf16", torch.float16: "fp16"}[self.dtype]
        return "tf32" if torch.backends.cudnn.allow_tf32 and has_tf32(self.device) else "fp32"

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)


@dataclass(frozen=True)
class Preparation:
    """Moves a batch to the device and normalises it there: uint8 [N, C, H, W] → float channels_last [N, C, H, W]."""

    device: torch.device
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pictures: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.pictures(pictures), targets.to(self.device, non_blocking=True)

    def pictures(self, pictures: Tensor) -> Tensor:
        """The pictures alone."""
        pictures = pictures.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return normalize(pictures, mean=self.mean, std=self.std)

    def features(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What a part of the network made of the pictures is moved only."""
        return features.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
