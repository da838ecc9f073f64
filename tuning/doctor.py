"""What this installation is made of, and what is wrong with it.

    for finding in examine():
        print(finding.what, finding.state, finding.advice or "")

Nothing here imports torch into this process: a broken installation can end a process at that import.
"""

import platform
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trainables.data.cache import COPIES, cache_folder, entries, size_of
from trainables.wording import counted

PACKAGES = ("tuneyard", "torch", "torchvision", "ray", "optuna", "pandas", "click", "pydantic", "safetensors")
# What each of these is for; all may be missing.
OPTIONAL = {
    "onnx": "model.onnx",
    "onnxscript": "model.onnx",
    "onnxruntime": "model.onnx",
    "tensorboard": "search.logging",
    "mlflow": "search.logging",
    "optuna-dashboard": "tune dashboard",
}
COMMANDS = ("tune", "tuneyard")

# torchvision registers its operators for one build of torch; nms is where a mismatch shows.
_PROBE = """
import torch, torchvision.ops
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
from trainables.hardware import describe_hardware
facts = describe_hardware()
print(facts["cpus"], "yes" if facts["fast_bf16"] else "no", ", ".join(facts["gpus"]) or "none", sep="\\t")
"""
_PROBE_LIMIT_S = 120


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what, how it is, and what to do when it is wrong."""

    what: str
    state: str
    advice: str | None = None


def examine() -> Iterator[Finding]:
    """Looks at versions, the fit of torch and torchvision, the hardware, the commands on the PATH, and the cache."""
    yield Finding("python", f"{platform.python_version()}, {sys.executable}")
    yield from (_package(name, advice=f"install it: python -m pip install {name}") for name in PACKAGES)
    yield from (_package(name, missing=f"not installed; only for {use}") for name, use in OPTIONAL.items())
    yield from _hardware()
    yield from (_command(name) for name in COMMANDS)
    yield from _cache(cache_folder())
    yield from _working_copies(cache_folder())


def _package(name: str, *, missing: str = "not installed", advice: str | None = None) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, missing, advice)


def _hardware() -> Iterator[Finding]:
    """torch and torchvision tried in a process of their own, and what that process saw of the machine."""
    what = "torch with torchvision"
    advice = "install the two together, from one place: python -m pip install --force-reinstall torch torchvision"
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        yield Finding(what, f"no answer within {_PROBE_LIMIT_S} s", advice)
        return
    if probe.returncode != 0:
        reason = (probe.stderr.strip().splitlines() or [f"the process ended with {probe.returncode}"])[-1]
        yield Finding(what, f"do not work: {reason}", advice)
        return
    cpus, bf16, gpus = probe.stdout.strip().splitlines()[-1].split("\t")
    yield Finding(what, "fit each other")
    yield Finding("CPUs", cpus)
    yield Finding("GPUs", gpus)
    yield Finding("fast bf16", bf16)


def _command(name: str) -> Finding:
    """Whose program a command on the PATH is."""
    what = f"command {name}"
    path = shutil.which(name)
    if path is None:
        return Finding(what, "not on the PATH", "`python -m tuning` is the same program")
    owner = owner_of_script(Path(path))
    if owner == "tuneyard":
        return Finding(what, f"{path}, ours")
    whose = "Ray's: its wheel installs a script of this name too" if owner == "ray" else "another program's"
    return Finding(
        what, f"{path}, {whose}", "use `tuneyard` or `python -m tuning`, or install tuneyard again to get it back"
    )


def owner_of_script(path: Path) -> str | None:
    """`tuneyard` or `ray`, by what a console script imports; None for anything else."""
    try:
        text = path.read_bytes()[-65536:].decode("utf-8", errors="replace")  # a Windows launcher ends in its script
    except OSError:
        return None
    if "tuning.cli" in text:
        return "tuneyard"
    return "ray" if "from ray." in text else None


def _cache(cache: Path) -> Iterator[Finding]:
    """The cache's folder, and how many entries of each kind it has, with their size."""
    yield Finding("cache", str(cache))
    sizes: dict[str, list[int]] = defaultdict(list)
    for entry in entries(cache):
        sizes[entry.kind].append(entry.bytes)
    for kind, those in sizes.items():
        yield Finding(f"cache, {kind}", f"{counted(len(those), 'entry', 'entries')}, {mb(sum(those))}")


def _working_copies(cache: Path) -> Iterator[Finding]:
    """Of runs that are at home on object storage."""
    copies = [copy for copy in (cache / COPIES).glob("*/*") if copy.is_dir()]
    if copies:
        size = mb(sum(map(size_of, copies)))
        state = f"{len(copies)} of runs on object storage, {size}, in {cache / COPIES}"
        yield Finding("working copies", f"{state}; may be removed when their drivers have ended")


def mb(size: int) -> str:
    """Bytes in words: `12.3 MB` (of 10⁶ bytes)."""
    return f"{size / 1e6:,.1f} MB"
