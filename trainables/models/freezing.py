"""Which part of a model is trained: freeze its first stages, thaw them, and know what can change.

    freeze(model, 3)                                    # the first three stages of model.facts.stages
    training_mode(model)                                # the rest in train mode, the frozen stages in eval mode
    optimizer = SGD(parameter_groups(model, lr=0.01, head_lr_factor=10, weight_decay=0))
    snapshot = {name: state[name] for name in trainable_names(model)}

Frozen means still: no gradients, BatchNorm normalises by its running statistics and they do not move, dropout is off.
With the model's `freeze_batchnorm` False, frozen BatchNorm layers work on the batch and their statistics move, as in
tutorials that only clear `requires_grad`; their weights stay frozen all the same.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # what BatchNorm1d, 2d, 3d and SyncBatchNorm have in common

from trainables.models.nets import submodule

if TYPE_CHECKING:
    from trainables.models.build import Model


def freeze(model: "Model", count: int) -> None:
    """Freeze the first `count` stages and nothing else; their gradients are dropped."""
    if not 0 <= count <= len(model.facts.stages):
        raise ValueError(f"{model.facts.name} has {len(model.facts.stages)} stages, not {count}")
    model.network.requires_grad_(True)
    for part in _parts(model, count):
        for parameter in _parameters(part):
            parameter.requires_grad_(False)
            parameter.grad = None
    model.frozen = count


def thaw(model: "Model") -> None:
    """Train everything from here on. Call `training_mode` again before the next step."""
    freeze(model, 0)


def training_mode(model: "Model") -> None:
    """Put the network in train mode, but what is frozen in eval mode (see the module's text)."""
    model.network.train()
    for part in _parts(model, model.frozen):
        if isinstance(part, nn.Module):
            for module in part.modules():
                module.training = isinstance(module, _BatchNorm) and not model.freeze_batchnorm


def trainable_names(model: "Model") -> set[str]:
    """State-dict names of all that training can change as the model is frozen now: what a snapshot must hold.

    Parameters that take gradients, and the running statistics of BatchNorm layers that move.
    """
    names = {name for name, parameter in model.network.named_parameters() if parameter.requires_grad}
    frozen = {
        id(module) for part in _parts(model, model.frozen) if isinstance(part, nn.Module) for module in part.modules()
    }
    head = model.network.get_submodule(model.facts.head)
    names |= {f"{model.facts.head}.{name}" for name, _ in head.named_buffers(recurse=False)}
    for path, module in model.network.named_modules():
        still = model.freeze_batchnorm and id(module) in frozen
        if isinstance(module, _BatchNorm) and not still:
            names |= {f"{path}.{name}" for name, _ in module.named_buffers(recurse=False)}
    return names


def has_moving_statistics(model: "Model") -> bool:
    """Whether BatchNorm statistics of frozen stages go on moving, so that what is frozen does not stand still."""
    if model.freeze_batchnorm:
        return False
    parts = [part for part in _parts(model, model.frozen) if isinstance(part, nn.Module)]
    return any(isinstance(module, _BatchNorm) for part in parts for module in part.modules())


def parameter_groups(
    model: "Model", *, lr: float, head_lr_factor: float = 1.0, layer_decay: float = 1.0, weight_decay: float = 0.0
) -> list[dict]:
    """Groups for a torch optimiser: the head at `lr * head_lr_factor`, and before it the backbone at `lr`.

    With a `layer_decay` below 1 each stage is a group of its own: the last one learns at `lr`, each before it at
    `layer_decay` times the rate of the one after it (as in Howard and Ruder 2018, section 3.1).

    Each group holds all its parameters in the network's order, frozen ones too: without a gradient an optimiser
    passes them over and keeps no state for them. So the groups are the same before and after a thaw, and an
    optimiser's saved state fits in either.
    """
    head = list(model.network.get_submodule(model.facts.head).parameters())
    last = {"name": "head", "params": head, "lr": lr * head_lr_factor, "weight_decay": weight_decay}
    if layer_decay == 1:
        in_head = {id(parameter) for parameter in head}
        backbone = [parameter for parameter in model.network.parameters() if id(parameter) not in in_head]
        return [{"name": "backbone", "params": backbone, "lr": lr, "weight_decay": weight_decay}, last]
    groups = []
    for depth, stage in enumerate(reversed(model.facts.stages)):
        params = [parameter for path in stage.modules for parameter in _parameters(submodule(model.network, path))]
        rate = lr * layer_decay**depth
        groups.append({"name": stage.name, "params": params, "lr": rate, "weight_decay": weight_decay})
    return [*reversed(groups), last]


def _parameters(part: nn.Module | torch.Tensor) -> list[nn.Parameter]:
    if isinstance(part, nn.Module):
        return list(part.parameters())
    return [part] if isinstance(part, nn.Parameter) else []


def _parts(model: "Model", count: int) -> Iterator[nn.Module | torch.Tensor]:
    """Modules and single parameters of the first `count` stages."""
    for stage in model.facts.stages[:count]:
        for path in stage.modules:
            yield submodule(model.network, path)
