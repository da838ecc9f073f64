"""Networks that stay in a worker between trials: built and loaded once, copied for each trial.

resident = residents.get(settings, classes=2, channels=3, task="classification", weights=weights, device=device)
model = resident.copy(settings)                # a trial's own; the resident's network is never trained
digest = resident.digests[3]                  # of all that the first three stages compute with
"""

import copy
import dataclasses
import functools
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from trainables.arithmetic import Arithmetic
from trainables.data.catalog import Task
from trainables.models import zoo
from trainables.models.build import BUILT_FROM, Model, build_model
from trainables.models.freezing import freeze
from trainables.models.nets import submodule
from trainables.models.small_maps import guard_small_maps
from trainables.models.split import Anatomy
from trainables.models.weights import Weights
from trainables.settings import TrialSettings

# Together they take no more memory than this, and of a GPU no more than this share of what the process may have; one
# that is larger is built anew for every trial.
KEPT_BYTES = 2**30
KEPT_SHARE = 0.05


@dataclass(frozen=True)
class Resident:
    """A network before training, on its device, channels_last, with its graph."""

    model: Model
    _row_bytes: dict[tuple, int] = dataclasses.field(default_factory=dict, repr=False)

    @functools.cached_property
    def anatomy(self) -> Anatomy:
        return Anatomy(self.model.network, self.model.facts)

    def copy(self, settings: TrialSettings) -> Model:
        """The model of one trial, frozen as its settings say. UserError as `check_model_settings`."""
        zoo.check_model_settings(settings)
        network = copy.deepcopy(self.model.network)
        model = dataclasses.replace(self.model, network=network, freeze_batchnorm=settings.freeze_batchnorm)
        freeze(model, zoo.frozen_stages(model.facts, settings.freeze))
        return model

    def part(self, start: int, end: int) -> nn.Module:
        """From behind `start` stages (0: normalised pictures) to behind `end`, in evaluation."""
        return self.anatomy.part(self.model.network, start, end)

    def row_bytes(self, stages: int, *, shape: tuple[int, int, int], arithmetic: Arithmetic) -> int:
        """The size of what the first stages make of one picture of this shape, [C, S, S]."""
        key = (stages, shape, arithmetic.dtype)
        if key not in self._row_bytes:
            nothing = torch.zeros(1, *shape, device=arithmetic.device).to(memory_format=torch.channels_last)
            with torch.no_grad(), arithmetic.autocast():
                row = self.part(0, stages)(nothing)
            self._row_bytes[key] = row.numel() * row.element_size()
        return self._row_bytes[key]

    @functools.cached_property
    def digests(self) -> tuple[str, ...]:
        """For each number of stages, SHA-256 of what they are made of and compute with: modules, names and values."""
        total = hashlib.sha256(self.model.facts.name.encode())
        found = [total.hexdigest()]
        for stage in self.model.facts.stages:
            for path in stage.modules:
                part = submodule(self.model.network, path)
                if isinstance(part, nn.Module):
                    total.update(f"{path} {part!r}".encode())
                tensors = part.state_dict() if isinstance(part, nn.Module) else {"": part}
                for name, tensor in tensors.items():
                    total.update(f"{path}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                    total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
            found.append(total.hexdigest())
        return tuple(found)

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.model.network.state_dict().values())


class Residents:
    """The networks last used, as many as there is room for (`room`)."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple, Resident] = OrderedDict()

    def get(
        self,
        settings: TrialSettings,
        *,
        classes: int,
        channels: int,
        task: Task,
        weights: Weights,
        device: torch.device,
    ) -> Resident:
        """The network of these settings before training.

        Raises:
            UserError: as `build_model`.
        """
        essence = {name: getattr(settings, name) for name in BUILT_FROM}
        key = (*essence.values(), classes, channels, task, weights, device)
        resident = self._kept.pop(key, None)
        if resident is None:
            model = build_model(
                TrialSettings(**essence), classes=classes, channels=channels, task=task, weights=weights
            )
            model.network.to(device).to(memory_format=torch.channels_last)
            if device.type == "cpu":
                guard_small_maps(model.network)
            resident = Resident(model)
        self._kept[key] = resident
        while self._kept and sum(kept.bytes for kept in self._kept.values()) > room(device):
            self._kept.popitem(last=False)
        return resident

    def clear(self) -> None:
        """Keeps none of them."""
        self._kept.clear()


def room(device: torch.device) -> int:
    """How many bytes of networks are kept there. What trials leave must not decide whether the next one has memory."""
    if device.type == "cpu":
        return KEPT_BYTES
    total = torch.cuda.get_device_properties(device).total_memory
    allowed = torch.cuda.get_per_process_memory_fraction(device.index)  # which takes no device without an index
    return min(KEPT_BYTES, int(KEPT_SHARE * allowed * total))


residents = Residents()
