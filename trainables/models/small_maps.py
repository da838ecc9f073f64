"""Keeps convolutions over tiny feature maps out of bf16 on the CPU, where their gradients are partly garbage.

    guard_small_maps(network)        # once, before training under bf16 autocast on a CPU

Where a feature map is so small that some element of a kernel meets nothing but padding, that element's gradient is
zero. On CPUs with bf16 instructions torch 2.15 leaves it uninitialised for some strides (a 3×3 kernel of stride 2 over
1×1 maps: ResNet-18's `layer4` at 16 pixels), so weights that play no part turn into NaN. In fp32 it is zero.
"""

import torch
from torch import Tensor, nn


class GuardedConv2d(nn.Conv2d):
    """A convolution that computes in fp32 on inputs too small for its kernel."""

    def forward(self, input: Tensor) -> Tensor:
        if not has_blind_elements(self, height=input.shape[-2], width=input.shape[-1]):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def guard_small_maps(network: nn.Module) -> None:
    """Guards the network's convolutions, in place; their weights and names stay as they are."""
    for module in network.modules():
        if type(module) is nn.Conv2d and max(module.kernel_size) > 1:
            # Not a method put on each module: that would be a cycle, which holds the weights until it is collected.
            module.__class__ = GuardedConv2d


def has_blind_elements(conv: nn.Conv2d, *, height: int, width: int) -> bool:
    """Whether some element of the kernel meets only padding, at every position, on a map of this size."""
    if isinstance(conv.padding, str):  # "same" and "valid" are no models' of ours
        return True
    return any(
        _blind(size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        for size, kernel, stride, padding, dilation in zip(
            (height, width), conv.kernel_size, conv.stride, conv.padding, conv.dilation, strict=True
        )
    )


def _blind(size: int, *, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    positions = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return any(
        all(not 0 <= position * stride - padding + element * dilation < size for position in range(positions))
        for element in range(kernel)
    )
