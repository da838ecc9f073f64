"""The two ends of a network: a new head for the classes at hand, a first convolution for the channels at hand.

    replace_head(network, facts, classes=2)
    start_head_at(network, facts, values=targets.mean(dim=0))       # regression, whose targets may be far from zero
    adapt_first_conv(network, facts, channels=1)

A first convolution made for colour takes grey pictures with the sum of its weights over the colours: a grey picture
then gives what its copy in three equal channels gave, if both are normalised alike. The other way round, a
convolution made for grey is spread evenly over the colours. Bias, stride, padding and the like stay as they are.
"""

import torch
from torch import nn

from trainables.models.nets import replace_module
from trainables.models.table import ModelFacts


def replace_head(network: nn.Module, facts: ModelFacts, *, classes: int) -> None:
    """Put a fresh layer with `classes` outputs, initialised by torch's default, in the place of the head."""
    old = network.get_submodule(facts.head)
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    elif isinstance(old, nn.Conv2d):
        new = nn.Conv2d(old.in_channels, classes, kernel_size=1, bias=old.bias is not None)
    else:
        raise TypeError(f"the head of {facts.name} is a {type(old).__name__}")
    replace_module(network, facts.head, new)


def start_head_at(network: nn.Module, facts: ModelFacts, *, values: torch.Tensor) -> None:
    """Let the head's bias start at these values, float32 [outputs]; its weights stay. MaxVit's head has no bias."""
    bias = network.get_submodule(facts.head).bias
    if isinstance(bias, nn.Parameter):
        with torch.no_grad():
            bias.copy_(values)


def adapt_first_conv(network: nn.Module, facts: ModelFacts, *, channels: int) -> None:
    """Make the first convolution take pictures of `channels` channels, by its weights as they are."""
    conv = network.get_submodule(facts.first_conv)
    assert isinstance(conv, nn.Conv2d), facts.name
    if conv.in_channels == channels:
        return
    conv.weight = nn.Parameter(spread_channels(conv.weight.detach(), channels=channels))
    conv.in_channels = channels
    if facts.rescales_input:  # indexes three channels; zoo.normalization gives grey pictures as it would leave them
        network.transform_input = False  # type: ignore[assignment]


def spread_channels(weight: torch.Tensor, *, channels: int) -> torch.Tensor:
    """[out, in, kh, kw] → [out, channels, kh, kw], with the same sum over the input channels."""
    return (weight.sum(dim=1, keepdim=True) / channels).expand(-1, channels, -1, -1).clone()
