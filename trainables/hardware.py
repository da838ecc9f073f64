"""What the machine offers a trial: device, arithmetic, threads; and how a GPU fails.

device = pick_device(gpus=0.5)              # a trial with half a GPU; without a share it is the CPU
dtype = autocast_dtype("auto", device)      # torch.bfloat16 where the hardware has it, else None
"""

import gc
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch

from trainables.data.parallel import available_cores
from trainables.errors import TrialError

_LOOK = "import json; from trainables import hardware; print(json.dumps(hardware.look_at_gpus()))"
_LOOK_LIMIT_S = 120
# What CUDA and its libraries take of a GPU for each process, beside what torch allocates: at most this.
CONTEXT_BYTES = 3 * 2**28


_OUT_OF_MEMORY = (
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDA out of memory",
    "CUDA ran out of memory",
    "CUDA error: out of memory",
    "Triton Error [CUDA]: out of memory",
)
_PERHAPS_OUT_OF_MEMORY = (
    "unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)


def pick_device(*, gpus: float = 1.0) -> torch.device:
    """The CUDA device this process may use, else the CPU; the CPU in any case with no share of the GPUs.

    A CUDA device comes with its index, without which torch does not take it for limits of memory.
    """
    if gpus > 0 and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


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


def has_tf32(device: torch.device) -> bool:
    """Whether it is a GPU that can take TF32, with 10 bits of mantissa, for fp32."""
    return device.type == "cuda" and torch.cuda.is_available() and torch.cuda.get_device_capability(device) >= (8, 0)


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


@contextmanager
def all_threads() -> Iterator[None]:
    """Lets torch use every core for a while, where nothing else is at work."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(before, available_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def limit_gpu_memory(device: torch.device, *, gpus: float) -> None:
    """Holds this process to its share of a GPU's memory, and begins to measure what it takes.

    Ray counts shares and does not enforce them: without a limit a trial that takes more than its own makes its
    neighbour run out of memory, so that what fails depends on what runs beside it.
    """
    if device.type == "cuda":
        own = CONTEXT_BYTES / torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(1.0 if gpus >= 1 else max(gpus - own, 0.0), device)
        torch.cuda.reset_peak_memory_stats(device)


def gpu_share(device: torch.device) -> float | None:
    """The most that this process took of a GPU's memory since `limit_gpu_memory`, as a share; None on a CPU."""
    if device.type != "cuda":
        return None
    taken = torch.cuda.max_memory_reserved(device) + CONTEXT_BYTES
    return round(taken / torch.cuda.get_device_properties(device).total_memory, 4)


def release_gpu_memory(device: torch.device) -> None:
    """Gives what a finished trial has left on the GPU, and pinned of the host's memory, back to the other processes."""
    if device.type == "cuda":
        gc.collect()  # networks, optimisers and schedules refer to each other in circles
        torch.cuda.empty_cache()
        torch.accelerator.empty_host_cache()


def is_gpu_out_of_memory(error: Exception, *, crowded: bool = False) -> bool:
    """Whether the GPU's memory did not suffice, whichever library was the one to notice.

    crowded: the process has a part of a GPU only, so what may be a lack of memory is taken for one. A convolution that
    lacks memory says that there is no way to compute it, as one does that the GPU cannot compute at all.
    """
    signs = (*_OUT_OF_MEMORY, *(_PERHAPS_OUT_OF_MEMORY if crowded else ()))
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
    )


def is_torch_of_other_gpus(error: Exception) -> bool:
    """Whether torch has no code for this GPU, which is older, or newer, than those that it was built for."""
    return isinstance(error, RuntimeError) and "no kernel image is available" in str(error)


def has_lost_gpu(error: Exception) -> bool:
    """Whether CUDA has failed in a way after which this process cannot use it any more."""
    if is_gpu_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


def describe_hardware() -> dict[str, Any]:
    """The machine in a few words, for the record. Opens no CUDA context in this process."""
    with describing_hardware() as described:
        return described()


@contextmanager
def describing_hardware() -> Iterator[Callable[[], dict[str, Any]]]:
    """Begins to look at the machine, which takes seconds where there are GPUs; what it gives waits for the answer."""
    count = torch.cuda.device_count()  # asks the driver's management library, which opens no context
    with _looking_from_outside(count) if count else nullcontext(look_at_gpus) as gpus:
        yield lambda: {
            "machine": platform.machine(),
            "system": platform.system(),
            "cpus": available_cores(),
            **gpus(),
        }


def look_at_gpus() -> dict[str, Any]:
    """The GPUs' names, and whether trials compute bf16 in hardware. Opens a CUDA context on a machine with a GPU."""
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"fast_bf16": has_fast_bf16(pick_device()), "gpus": names}


@contextmanager
def _looking_from_outside(count: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """`look_at_gpus` in a process of its own: a context holds hundreds of MB for as long as its process lives."""
    command = [sys.executable, "-c", _LOOK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:

        def looked() -> dict[str, Any]:
            try:
                out, errors = process.communicate(timeout=_LOOK_LIMIT_S)
            except subprocess.TimeoutExpired:
                reason = f"no answer within {_LOOK_LIMIT_S} s"
            else:
                if process.returncode == 0:
                    return json.loads(out.splitlines()[-1])
                reason = (errors.strip().splitlines() or [f"exit {process.returncode}"])[-1]
            return {"fast_bf16": False, "gpus": [f"unknown ({reason})"] * count}

        try:
            yield looked
        finally:
            process.kill()
