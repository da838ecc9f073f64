"""Optimisers by torch's names.

optimizer = build_optimizer(groups, settings)     # groups: torch parameter groups with their lr
load_optimizer_state(optimizer, state)            # state: another such optimiser's `state_dict()`
"""

from collections.abc import Callable
from typing import Any

import torch

from trainables.settings import TrialSettings

Groups = list[dict[str, Any]]

# fused: one pass over all tensors, on CPU and CUDA alike, with the same result. SGD takes torch's own choice: fused, it
# refuses a group of which only some parameters have momentum yet, as after a thaw, and where fp16 skips the first step
# it goes on with momentum that nobody has written.
OPTIMIZERS: dict[str, Callable[[Groups, TrialSettings], torch.optim.Optimizer]] = {
    "sgd": lambda groups, s: torch.optim.SGD(
        groups, lr=s.lr, momentum=s.momentum, nesterov=s.nesterov, weight_decay=s.weight_decay
    ),
    "adam": lambda groups, s: torch.optim.Adam(groups, lr=s.lr, weight_decay=s.weight_decay, fused=True),
    "adamw": lambda groups, s: torch.optim.AdamW(groups, lr=s.lr, weight_decay=s.weight_decay, fused=True),
    "rmsprop": lambda groups, s: torch.optim.RMSprop(groups, lr=s.lr, momentum=s.momentum, weight_decay=s.weight_decay),
}


def build_optimizer(groups: Groups, settings: TrialSettings) -> torch.optim.Optimizer:
    """The optimiser of a trial over its parameter groups."""
    return OPTIMIZERS[settings.optimizer](groups, settings)


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restores an optimiser, giving each state tensor its parameter's memory layout.

    Fused kernels (adam's and adamw's) walk a parameter and its state in storage order, so a moment that came back from
    disk in another layout (`channels_last` parameters are saved contiguous) would be applied to the wrong elements.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moved = {index: _like(parameters[index], values) for index, values in state["state"].items()}
    optimizer.load_state_dict({**state, "state": moved})


def _like(parameter: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
    def laid_out(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
            return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        return value

    return {name: laid_out(value) for name, value in values.items()}
