"""The machine a measurement was made on, in words.

print(describe_machine())      # {"cpu": "AMD EPYC", "cores": 2, "flags": ["avx2", …], "gpus": [], "load": 0.1, …}
with gpu_watched() as busy:
    …
print(busy())                  # 0.43: the mean share of the time in which the first GPU was at work; None without one
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainables.hardware import cpu_flags, describe_hardware

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16")
_PACKAGES = ("tuneyard", "torch", "torchvision", "ray", "optuna")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, what it is good at, memory, GPUs, versions, and the load of the minute before."""
    hardware = describe_hardware()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": _cpu_name(),
        "cores": hardware["cpus"],
        "flags": [flag for flag in _FLAGS if flag in cpu_flags()],
        "memory_gb": round(memory_gb),
        "gpus": hardware["gpus"],
        "load": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def machine_line(machine: dict[str, Any]) -> str:
    """The same in one line."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    gpus = ", ".join(machine["gpus"]) or "no GPU"
    flags = " ".join(machine["flags"])
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({flags}), {machine['memory_gb']} GB, {gpus}; {versions};"
        f" load before the start {machine['load']}"
    )


@contextmanager
def gpu_watched() -> Iterator[Callable[[], float | None]]:
    """Asks NVIDIA's own tool, twice a second, how busy the first GPU is. What it gives is for after the block."""
    if not shutil.which("nvidia-smi"):
        yield lambda: None
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0", "-lms", "500"]
    told: list[float] = []
    with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield lambda: sum(told) / len(told) / 100 if told else None
        finally:
            process.terminate()
            out, _ = process.communicate()
            told += [float(line) for line in out.split() if line.strip().isdigit()]


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
