"""A network by its name, as torchvision or we make it, and ways to reach its parts by dotted paths.

    network = bare_network(facts, image_size=224)       # 3 channels, 1000 classes, random weights, no extra heads
    set_dropout(network, 0.3)
    submodule(network, "layer1.0.conv1")

The weights are drawn from torch's global generator; `trainables.models.build` sets and restores it.
"""

import torch
from torch import nn
from torchvision import models

from trainables.models.own_nets import OWN_NETS
from trainables.models.table import ModelFacts


def bare_network(facts: ModelFacts, *, image_size: int, channels: int = 3, activation: str = "auto") -> nn.Module:
    """float32 [N, C, image_size, image_size] → float32 [N, 1000].

    Our own networks are made for the channels at hand, with any activation (`auto` is relu); torchvision's always have
    C = 3 and their own activation, and `heads.adapt_first_conv` fits them to the channels.
    """
    if facts.own:
        return OWN_NETS[facts.name](channels=channels, activation="relu" if activation == "auto" else activation)
    options: dict = {}
    if facts.rescales_input:
        # The rescaling is what the ImageNet weights expect; without them it does no harm, so it is always there.
        options = {"aux_logits": False, "transform_input": True, "init_weights": True}
    elif facts.family == "vit":
        options = {"image_size": image_size}
    elif facts.family == "maxvit":
        options = {"input_size": (image_size, image_size)}
    return models.get_model(facts.name, weights=None, **options)


def skeleton(facts: ModelFacts) -> nn.Module:
    """The network at its ImageNet picture size, on torch's meta device: names and shapes without values."""
    if facts.family == "regnet":  # torchvision computes its widths with tensors, which the meta device cannot
        with torch.random.fork_rng(devices=[]):
            return bare_network(facts, image_size=facts.image_size).to("meta")
    with torch.device("meta"):
        return bare_network(facts, image_size=facts.image_size)


def set_dropout(network: nn.Module, probability: float) -> None:
    """Give all dropout layers of the network this probability."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def submodule(network: nn.Module, path: str) -> nn.Module | torch.Tensor:
    """The module, parameter or buffer of `network` at a dotted path."""
    found: nn.Module | torch.Tensor = network
    for part in path.split("."):
        found = getattr(found, part)
    return found


def replace_module(network: nn.Module, path: str, new: nn.Module) -> None:
    """Put `new` where the module at `path` is."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, new)
