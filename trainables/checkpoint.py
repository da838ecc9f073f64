"""All that a trial needs to go on after an epoch, in one file that holds plain tensors.

    snapshot.save(folder / "epoch-00003.safetensors")
    for result in finetune(settings, …, resume=Snapshot.load(path)):
        ...

The file is safetensors: tensors by name (`model/…`, `optimizer/…`), and a JSON header for what is no tensor.
Reading one executes nothing. A snapshot holds only what training can change: with the backbone frozen that is the head.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainables.errors import TrialError
from trainables.files import replaced
from trainables.settings import TrialSettings

FORMAT = 1
_HEADER = "tuneyard"


@dataclass(frozen=True)
class Snapshot:
    """A trial after `epoch` epochs: the network's changeable tensors, and what its optimiser and schedule remember."""

    epoch: int
    settings: TrialSettings
    model: dict[str, Tensor]
    training: dict[str, Any]

    def save(self, path: Path) -> None:
        """Writes the file, flushed to disk and renamed into place: it is whole or not there.

        Raises:
            OSError: it cannot be written; a former file of that name stays.
        """
        tensors: dict[str, Tensor] = {f"model/{name}": tensor for name, tensor in self.model.items()}
        header = {
            "format": FORMAT,
            "epoch": self.epoch,
            "settings": dataclasses.asdict(self.settings),
            "training": _pack(self.training, name="training", tensors=tensors),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with replaced(path) as temporary:
            try:
                save_file(flat, temporary, metadata={_HEADER: json.dumps(header)})
            except SafetensorError as error:  # how safetensors tells of a full disk
                raise OSError(str(error)) from error

    @classmethod
    def load(cls, path: Path) -> "Snapshot":
        """Reads a file that `save` wrote.

        Raises:
            OSError: the file is not there or cannot be read.
            TrialError: it is damaged, or is no snapshot of this version.
        """
        path.open("rb").close()  # safetensors tells of what keeps a file from being opened in words of its own
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header["format"] != FORMAT:
                raise TrialError(f"checkpoint {path} has format {header['format']}; this version reads {FORMAT}")
            return cls(
                epoch=header["epoch"],
                settings=TrialSettings(**header["settings"]),
                model={n.removeprefix("model/"): t for n, t in tensors.items() if n.startswith("model/")},
                training=_unpack(header["training"], tensors=tensors),
            )
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise TrialError(f"checkpoint {path} cannot be read ({error!r})") from error


def _pack(tree: Any, *, name: str, tensors: dict[str, Tensor]) -> Any:
    """The tree as JSON; its tensors go to `tensors` and are named in their places."""
    if isinstance(tree, Tensor):
        tensors[name] = tree
        return {"tensor": name}
    if isinstance(tree, dict):
        return {"dict": [[k, _pack(v, name=f"{name}/{k}", tensors=tensors)] for k, v in tree.items()]}
    if isinstance(tree, (list, tuple)):
        kind = "tuple" if isinstance(tree, tuple) else "list"
        return {kind: [_pack(v, name=f"{name}/{i}", tensors=tensors) for i, v in enumerate(tree)]}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"{name} is a {type(tree).__name__}, which a checkpoint cannot hold")


def _unpack(packed: Any, *, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(packed, dict):
        return packed
    ((kind, value),) = packed.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {k: _unpack(v, tensors=tensors) for k, v in value}
    items = [_unpack(v, tensors=tensors) for v in value]
    return tuple(items) if kind == "tuple" else items


def copied(tensor: Tensor) -> Tensor:
    """A copy in the CPU's memory, which training going on does not change."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
