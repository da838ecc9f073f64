"""How many rows a network sees at a time where it does not learn, and what it is said to compute in."""

import pytest
import torch
from torch import Tensor

from trainables.arithmetic import Arithmetic, forwarded


@pytest.mark.parametrize(
    ("shape", "side", "seen"),
    [
        pytest.param((20, 3, 224, 224), None, [8, 8, 4], id="pictures of 224 px"),
        pytest.param((3, 1, 1000, 1000), None, [1, 1, 1], id="large ones"),
        pytest.param((64, 3, 32, 32), None, [64], id="small ones"),
        pytest.param((32, 8, 56, 56), None, [32], id="feature maps"),
        pytest.param((300, 512), None, [300], id="features"),
        pytest.param((20, 8, 56, 56), 224, [8, 8, 4], id="feature maps of pictures of 224 px"),
        pytest.param((20, 512), 224, [8, 8, 4], id="features of pictures of 224 px"),
    ],
)
def test_a_cpu_sees_few_large_pictures_at_a_time(shape: tuple[int, ...], side: int | None, seen: list[int]) -> None:
    rows, counts = torch.rand(shape), []

    def network(part: Tensor) -> Tensor:
        counts.append(len(part))
        return part.flatten(1).sum(dim=1, keepdim=True)

    assert torch.equal(forwarded(network, rows, side=side), rows.flatten(1).sum(dim=1, keepdim=True))
    assert counts == seen


@pytest.mark.parametrize(
    ("capability", "allowed", "told"),
    [((7, 5), True, "fp32"), ((8, 0), True, "tf32"), ((9, 0), False, "fp32"), (None, True, "fp32")],
    ids=["too old", "allowed", "not allowed", "no GPU"],
)
def test_tf32_is_told_where_a_gpu_has_it(
    capability: tuple[int, int] | None, allowed: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    assert Arithmetic.of(torch.device("cuda", 0), None).precision == told
    assert Arithmetic.of(torch.device("cpu"), None).precision == "fp32"


def test_with_tf32_other_numbers_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what was computed with it is not taken by a process that its user has told to do without."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    keys = []
    for allowed in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        keys.append(Arithmetic.of(torch.device("cuda", 0), None).key())
    assert keys[0] != keys[1]
