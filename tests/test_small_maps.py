"""Gradients of convolutions over tiny feature maps are right in bf16 on the CPU too."""

import pytest
import torch
from torch import nn

from trainables.hardware import has_fast_bf16
from trainables.models.small_maps import guard_small_maps, has_blind_elements


def gradient(conv: nn.Conv2d, pictures: torch.Tensor, *, bf16: bool) -> torch.Tensor:
    conv.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        output = conv(pictures)
    output.float().square().mean().backward()
    assert conv.weight.grad is not None
    return conv.weight.grad


def dirty_memory(count: int) -> None:
    """Leaves NaN in memory that the next allocations get."""
    junk = [
        torch.full((count,), float("nan"), dtype=dtype) for dtype in (torch.float32, torch.bfloat16) for _ in range(6)
    ]
    del junk


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "groups"), [(3, 1), (5, 1), (3, 64), (5, 64)])
def test_gradients_are_those_of_fp32(size: int, stride: int, kernel: int, groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 128, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)
    conv.to(memory_format=torch.channels_last)
    pictures = torch.randn(64, 64, size, size).contiguous(memory_format=torch.channels_last)
    expected = gradient(conv, pictures, bf16=False).clone()
    guard_small_maps(conv)
    dirty_memory(conv.weight.numel())
    got = gradient(conv, pictures, bf16=True)
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got, expected, atol=0.02 * expected.abs().max().item(), rtol=0.1)


@pytest.mark.skipif(not has_fast_bf16(torch.device("cpu")), reason="this CPU has no bf16 of its own")
def test_without_the_guard_they_are_not() -> None:
    """When this fails, torch has been mended and `small_maps` can go."""
    conv = nn.Conv2d(256, 512, 3, stride=2, padding=1, bias=False)
    wrong = 0
    for _ in range(5):
        dirty_memory(conv.weight.numel())
        grad = gradient(conv, torch.randn(128, 256, 1, 1), bf16=True)
        unseen = torch.ones(3, 3, dtype=torch.bool)
        unseen[1, 1] = False
        wrong += int((grad[:, :, unseen] != 0).sum())
    if wrong == 0:
        pytest.skip("the memory happened to be clean")


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size", "blind"),
    [
        (3, 1, 1, 1, True),
        (3, 2, 1, 1, True),
        (3, 2, 1, 2, True),
        (3, 1, 1, 2, False),
        (5, 1, 2, 2, True),
        (5, 1, 2, 3, False),
        (1, 1, 0, 1, False),
        (7, 2, 3, 32, False),
    ],
)
def test_blind_elements(kernel: int, stride: int, padding: int, size: int, blind: bool) -> None:
    conv = nn.Conv2d(1, 1, kernel, stride=stride, padding=padding)
    assert has_blind_elements(conv, height=size, width=size) is blind
