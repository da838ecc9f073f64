"""The two ends of a network: a new head for the classes at hand, a first convolution for the channels at hand.

    replace_head(network, facts, classes=2)
    scale_head(network, facts, mean=mean, std=std, trained=False)   # regression, whose targets may be of any size
    fold_scale(network, facts, scale=…, shift=…)                    # a plain head again, with the same outputs
    adapt_first_conv(network, facts, channels=1)

A first convolution made for colour takes grey pictures with the sum of its weights over the colours: a grey picture
then gives what its copy in three equal channels gave, if both reach the convolution with the same numbers. (GoogLeNet
and Inception normalise colour once more themselves, and grey not: theirs are the same with `normalize: auto` alone.)
The other way round, a convolution made for grey is spread evenly over the colours. Bias, stride, padding and the like
stay as they are.
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
    """Let the head's bias, where it has one, start at these values, float32 [outputs]; its weights stay."""
    bias = network.get_submodule(facts.head).bias
    if isinstance(bias, nn.Parameter):
        with torch.no_grad():
            bias.copy_(values)


def scale_head(network: nn.Module, facts: ModelFacts, *, mean: torch.Tensor, std: torch.Tensor, trained: bool) -> None:
    """Let the head learn standardised numbers and give them in their own units: its outputs times `std` plus `mean`.

    A head without a bias (MaxVit's) gives no more than multiples. `mean` and `std`: float32 [outputs], kept in buffers
    of the head. `trained`: the head comes from elsewhere, and is to give what it gave.
    """
    head = network.get_submodule(facts.head)
    bias = head.bias
    head.register_buffer("scale", std.clone())
    head.register_buffer("shift", mean.clone() if isinstance(bias, nn.Parameter) else torch.zeros_like(mean))
    head.register_forward_hook(_in_units)
    if trained:
        with torch.no_grad():
            head.weight.div_(_beside(head.scale, head.weight))  # type: ignore[operator, arg-type]
            if isinstance(bias, nn.Parameter):
                bias.sub_(head.shift).div_(head.scale)  # type: ignore[arg-type]


def _in_units(head: nn.Module, inputs: object, outputs: torch.Tensor) -> torch.Tensor:
    shape = (1, -1, *[1] * (outputs.dim() - 2))
    return outputs.float() * head.scale.view(shape) + head.shift.view(shape)  # type: ignore[operator]


def fold_scale(network: nn.Module, facts: ModelFacts, *, scale: torch.Tensor, shift: torch.Tensor) -> None:
    """Put into a plain head's weights and bias what `scale_head` did to its outputs."""
    head = network.get_submodule(facts.head)
    with torch.no_grad():
        head.weight.mul_(_beside(scale, head.weight))  # type: ignore[operator, arg-type]
        if isinstance(head.bias, nn.Parameter):
            head.bias.mul_(scale).add_(shift)


def _beside(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """[outputs] → [outputs, 1, …], to go with a head's weight."""
    return values.view(-1, *[1] * (weight.dim() - 1))


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
