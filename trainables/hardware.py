"""What the machine offers a trial: device, arithmetic, threads.

device = pick_device()
dtype = autocast_dtype("auto", device)      # torch.bfloat16 where the hardware has it, else None
"""

import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch

from trainables.errors import TrialError


def pick_device() -> torch.device:
    """The CUDA device this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type autocast computes in; None computes in fp32.

    Raises:
        TrialError: fp16 on a CPU, where torch has no gradient scaling worth the name.
    """
    if precision == "fp32":
        return None
    if precision == "bf16":
        return torch.bfloat16
    if precision == "fp16":
        if device.type != "cuda":
            raise TrialError("precision fp16 needs a GPU; use bf16, fp32 or auto here")
        return torch.float16
    return torch.bfloat16 if has_fast_bf16(device) else None


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is the hardware's own, not emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())


@cache
def cpu_flags() -> frozenset[str]:
    """The processor's feature flags as Linux lists them; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(flags.split())
    return frozenset()


def use_threads(cpus: float) -> None:
    """Gives torch as many threads as the trial has CPUs, so that trials side by side do not fight."""
    threads = max(1, int(cpus))
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def describe_hardware() -> dict[str, Any]:
    """The machine in a few words, for the record."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "fast_bf16": has_fast_bf16(pick_device()),
        "gpus": gpus,
    }
