"""Keeps convolutions over tiny feature maps out of bf16 on the CPU, where their gradients are partly garbage.

    guard_small_maps(network)        # once, before training under bf16 autocast on a CPU

Where a feature map is so small that some element of a kernel meets nothing but padding, that element's gradient is
zero. On CPUs with bf16 instructions torch 2.15 leaves it uninitialised for some strides (a 3×3 kernel of stride 2 over
1×1 maps: ResNet-18's `layer4` at 16 pixels), so weights that play no part turn into NaN. In fp32 it is zero.
"""

from types import MethodType

import torch
from torch import Tensor, nn


def guard_small_maps(network: nn.Module) -> None:
    """Lets each convolution compute in fp32 on inputs too small for its kernel; others stay as they are.

    A copy of a guarded network (`copy.deepcopy`) is guarded too, with weights of its own.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1:
            module.forward = MethodType(_guarded, module)  # type: ignore[method-assign]


def _guarded(conv: nn.Conv2d, pictures: Tensor) -> Tensor:
    if not has_blind_elements(conv, height=pictures.shape[-2], width=pictures.shape[-1]):
        return type(conv).forward(conv, pictures)
    with torch.autocast(pictures.device.type, enabled=False):
        return type(conv).forward(conv, pictures.float())


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
