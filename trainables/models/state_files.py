"""Files of weights that somebody else may have written: plain tensors are read, everything else is refused.

state = read_state(Path("squeezenet1_1.pth"))       # {"features.0.weight": tensor, …}, on the CPU
"""

import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from trainables.errors import UserError
from trainables.models.download import reason

_WRAPPERS = ("state_dict", "model")  # where training programs put a state dict among other things


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a state dict, `.safetensors` or torch's format, without wrapper or `module.` prefix.

    Reads with `weights_only=True`: a pickle that would run code is refused before it can. UserError when there is
    no such file, or it is damaged, holds anything but plain tensors, or nothing.
    """
    _require_file(path)
    content = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_torch(path)
    if isinstance(content, Mapping):
        content = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), content)
    if not isinstance(content, Mapping):
        raise _unfit(path, f"the file holds a {type(content).__name__}")
    if not content:
        raise _unfit(path, "the file holds an empty state dict")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise _unfit(path, f"the file holds a {type(value).__name__} under {key!r}, not a tensor")
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            raise _unfit(path, f"the file holds a sparse, quantised or empty tensor under {key!r}")
    if all(key.startswith("module.") for key in content):  # saved from DataParallel
        return {key.removeprefix("module."): value for key, value in content.items()}
    return dict(content)


def _require_file(path: Path) -> None:
    try:
        if path.is_file():
            return
        what = "this is a folder, not a file of weights" if path.is_dir() else "no such file"
    except OSError as error:  # a name too long, a folder that may not be entered
        what = reason(error)
    raise UserError(
        what,
        where="weights",
        got=str(path),
        expected="auto, imagenet, none, or the path of a state dict or of an exported model's folder",
    )


def _read_safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise _unfit(path, f"not a safetensors file, or a damaged one ({reason(error)})") from error


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = "not a state dict: it holds objects or code, which are never run, or it is no file of torch's"
        raise _unfit(path, what) from error
    except Exception as error:  # a damaged file can fail in any of the readers underneath, in any way
        raise _unfit(path, f"the file is damaged or not in torch's format ({reason(error)})") from error


def _unfit(path: Path, what: str) -> UserError:
    return UserError(
        what,
        where="weights",
        got=str(path),
        expected="a state dict of plain tensors",
        hint="write one with torch.save(model.state_dict(), path)",
    )
