"""Optimisers by torch's names.

optimizer = build_optimizer(groups, settings)     # groups: torch parameter groups with their lr
load_optimizer_state(optimizer, state)            # state: another such optimiser's `state_dict()`

A setting that an optimiser does not have is not used by it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import optim

from trainables.settings import TrialSettings

Groups = list[dict[str, Any]]


def _betas(settings: TrialSettings) -> tuple[float, float]:
    return (settings.beta1, settings.beta2)


def _own(settings: TrialSettings, *names: str) -> dict[str, Any]:
    """The settings of these names; those left at `auto` are torch's to choose."""
    return {name: value for name in names if (value := getattr(settings, name)) != "auto"}


# fused: one pass over all tensors, on CPU and CUDA alike, with the same result. SGD takes torch's own choice: fused, it
# refuses a group of which only some parameters have momentum yet, as after a thaw, and where fp16 skips the first step
# it goes on with momentum that nobody has written.
OPTIMIZERS: dict[str, Callable[[Groups, TrialSettings], optim.Optimizer]] = {
    "sgd": lambda groups, s: optim.SGD(groups, **_own(s, "lr", "momentum", "dampening", "nesterov", "weight_decay")),
    "asgd": lambda groups, s: optim.ASGD(groups, **_own(s, "lr", "alpha", "lambd", "weight_decay")),
    "adadelta": lambda groups, s: optim.Adadelta(groups, **_own(s, "lr", "rho", "eps", "weight_decay")),
    "adagrad": lambda groups, s: optim.Adagrad(
        trained(groups, s), **_own(s, "lr", "lr_decay", "eps", "initial_accumulator_value", "weight_decay")
    ),
    "adam": lambda groups, s: optim.Adam(
        groups,
        betas=_betas(s),
        fused=True,
        **_own(s, "lr", "eps", "amsgrad", "weight_decay", "decoupled_weight_decay"),
    ),
    "adamw": lambda groups, s: optim.AdamW(
        groups, betas=_betas(s), fused=True, **_own(s, "lr", "eps", "amsgrad", "weight_decay")
    ),
    "adamax": lambda groups, s: optim.Adamax(groups, betas=_betas(s), **_own(s, "lr", "eps", "weight_decay")),
    "nadam": lambda groups, s: optim.NAdam(
        groups,
        betas=_betas(s),
        **_own(s, "lr", "eps", "momentum_decay", "weight_decay", "decoupled_weight_decay"),
    ),
    "radam": lambda groups, s: optim.RAdam(
        groups, betas=_betas(s), **_own(s, "lr", "eps", "weight_decay", "decoupled_weight_decay")
    ),
    "rmsprop": lambda groups, s: optim.RMSprop(
        groups, **_own(s, "lr", "alpha", "eps", "momentum", "centered", "weight_decay")
    ),
    "rprop": lambda groups, s: optim.Rprop(groups, etas=(s.eta_minus, s.eta_plus), **_own(s, "lr")),
    "lbfgs": lambda groups, s: optim.LBFGS(
        [p for group in trained(groups, s) for p in group["params"]],
        line_search_fn=None if s.line_search == "none" else s.line_search,
        **_own(s, "lr", "max_iter", "history_size"),
    ),
    "sparse_adam": lambda groups, s: optim.SparseAdam(groups, betas=_betas(s), **_own(s, "lr", "eps")),
}


def build_optimizer(groups: Groups, settings: TrialSettings) -> optim.Optimizer:
    """The optimiser of a trial over its parameter groups."""
    return OPTIMIZERS[settings.optimizer](groups, settings)


def trained(groups: Groups, settings: TrialSettings) -> Groups:
    """The groups without what stays frozen to the end, for optimisers that would keep state for it all the same."""
    if settings.freeze_epochs:
        return groups
    return [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]


def load_optimizer_state(optimizer: optim.Optimizer, state: dict[str, Any]) -> None:
    """Restores an optimiser, giving each state tensor its parameter's memory layout.

    Fused kernels (adam's and adamw's) walk a parameter and its state in storage order, so a moment that came back from
    disk in another layout (`channels_last` parameters are saved contiguous) would be applied to the wrong elements.
    The rest is copied too: a file's tensors begin at odd addresses, and sums as lbfgs needs them depend on that in
    their last digit.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moved = {index: _like(parameters[index], values) for index, values in state["state"].items()}
    optimizer.load_state_dict({**state, "state": moved})


def _like(parameter: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
    def laid_out(value: Any) -> Any:
        if isinstance(value, list):
            return [laid_out(part) for part in value]
        if not isinstance(value, torch.Tensor):
            return value
        if value.shape == parameter.shape:
            return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        return value.clone()

    return {name: laid_out(value) for name, value in values.items()}
