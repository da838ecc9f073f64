"""The part of a network that a trial trains, compiled by torch (`compile: true`).

    keep_compiled(cache)                                   # what one trial has compiled, later trials and sweeps take
    network = Compiled(stream.network, batch_size=32)      # compiles at its first full batch
    outputs = network(pictures)
    check_compiler()                                       # UserError, before the first trial

What is compiled is for one size of batch, so it is the same in every epoch, before a resume and after it. A smaller
batch, the last one of an epoch, goes through the network as it is, and so do the validation pictures.
"""

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._dynamo.exc import ShortenTraceback

from trainables.data.cache import kind_folder
from trainables.data.room import forget_compiled
from trainables.errors import TrialError, UserError
from trainables.hardware import is_gpu_out_of_memory

KIND = "compiled"


class Compiled(nn.Module):
    """A network whose batches of `batch_size` pictures are computed by code made for them.

    The network stays as it is, with its names and modes; this has its parameters.
    """

    def __init__(self, network: nn.Module, *, batch_size: int) -> None:
        super().__init__()
        # What former trials left here would count as variants of this one, and after eight torch compiles no more.
        torch._dynamo.reset()
        torch._inductor.config.compile_threads = torch.get_num_threads()
        self._network = network
        self._batch_size = batch_size
        self._fast = torch.compile(network.forward, dynamic=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """TrialError where torch cannot compile the network."""
        # What BatchNorm says of a single picture, it says in its own words only where nothing is compiled.
        if len(pictures) != self._batch_size or len(pictures) == 1:
            return self._network(pictures)
        try:
            return self._fast(pictures)
        except ShortenTraceback as error:  # what compilers fail with, and a GPU that Triton is missing for
            if is_gpu_out_of_memory(error):
                raise
            reason = _reason(error)
            raise TrialError(f"torch cannot compile this network here ({reason}); set compile: false") from error


def keep_compiled(cache: Path) -> None:
    """Has this process keep what it compiles in the cache, and look there first. UserError as `kind_folder`.

    Other than what else is in the cache, this is code, which is run: it is to be the user's own.
    """
    folder = kind_folder(cache, KIND)
    chosen = str(folder / f"torch-{torch.__version__}")
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR") != chosen:  # the first time in this process
        forget_compiled(folder)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = chosen


def check_compiler() -> None:
    """UserError where what torch compiles with is missing: a C++ compiler, or Python's headers."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not shutil.which(shlex.split(compiler)[0]):
        missing = f"a C++ compiler ({compiler})"
    elif not headers.exists():
        missing = f"Python's headers ({headers})"
    else:
        return
    raise UserError(
        f"torch cannot compile without {missing}",
        where="compile",
        hint="install it (Debian: g++, python3-dev; CXX names another compiler), or set compile: false",
    )


def _reason(error: ShortenTraceback) -> str:
    """The one line that says it: the compiler's own first error, where it got so far."""
    cause = getattr(error, "inner_exception", error)
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return next((line for line in lines if "error:" in line), lines[0]).strip()
