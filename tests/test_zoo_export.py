"""Every model of the table leaves this package as a file that others run, with the same outputs."""

from pathlib import Path
from typing import get_args

import pytest
import torch
import torchvision
from torch import nn

from reports.formats import FORMATS, Portable, write_format
from reports.modelfile import Description
from reports.recipe import plain_recipe
from trainables.data.catalog import Task
from trainables.models import zoo
from trainables.models.build import build_model
from trainables.models.own_nets import OWN_NETS
from trainables.models.weights import Weights
from trainables.settings import TrialSettings

# The quickest of their kinds: residual, fire, squeezing, shuffling, and our own.
QUICK = ("resnet18", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "small_cnn", "residual34")
CLASSES = ("a", "b", "c", "d", "e")


def check(name: str, form: str, folder: Path, *, size: int | None = None) -> None:
    """Regression, as its scores are the network's outputs; with one channel, for which torchvision's are adapted."""
    facts = zoo.facts(name)
    # Small, but not so small that the last maps are single pixels; of three pictures, one more than were traced.
    size = size or max(facts.min_size, facts.size_multiple * -(-64 // facts.size_multiple))
    settings = TrialSettings(model=name, image_size=size)
    none = Weights("none", None, None, "")
    network = build_model(settings, classes=len(CLASSES), channels=1, weights=none, task="regression").network
    used_to(network, size=size)
    description = Description(
        architecture=name,
        classes=CLASSES,
        channels=1,
        image_size=size,
        center_crop=1.0,
        short_side=size,
        mean=(0.4,),
        std=(0.3,),
        sha256="0" * 64,
        task="regression",
        scores="identity",
    )
    portable = Portable(network, description)
    pictures = torch.randint(0, 256, (3, 1, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network((pictures / 255 - 0.4) / 0.3)
    del network
    scores = write_format(form, portable, folder, size=(1, size, size))(pictures)
    for path in folder.iterdir():
        path.unlink()  # up to 2.6 GB, and eighty of them
    assert scores.shape == expected.shape == (3, len(CLASSES))
    largest = float(expected.abs().max())
    assert float((scores - expected).abs().max()) <= 1e-4 * max(1.0, largest)
    assert float(expected.std(dim=0).max()) > 0.001 * largest


def used_to(network: nn.Module, *, size: int) -> None:
    """Gives BatchNorm the statistics of some noise; else pictures make no difference behind layers never trained."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network.train()(torch.randn(8, 1, size, size))
    network.eval()


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in zoo.MODELS]
)
def test_every_model_gives_the_same_outputs_as_a_traced_program(name: str, tmp_path: Path) -> None:
    check(name, "pt2", tmp_path)


@pytest.mark.skipif(bool(FORMATS["onnx"].missing()), reason="onnx is not installed")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in zoo.MODELS])
def test_every_model_gives_the_same_outputs_in_onnx(name: str, tmp_path: Path) -> None:
    check(name, "onnx", tmp_path)


@pytest.mark.skipif(bool(FORMATS["onnx"].missing()), reason="onnx is not installed")
@pytest.mark.parametrize(("name", "size"), [("small_cnn", 28), ("small_cnn", 45), ("residual34", 32)])
def test_our_own_networks_give_the_same_outputs_in_onnx_at_any_size(name: str, size: int, tmp_path: Path) -> None:
    """Also where the averaging to a fixed grid takes windows that overlap."""
    assert name in OWN_NETS
    check(name, "onnx", tmp_path, size=size)


@pytest.mark.parametrize("task", get_args(Task))
def test_the_recipe_for_torchvision_clips_outputs_where_ours_does(task: Task) -> None:
    """SqueezeNet ends in an activation, which is taken out for other tasks than classification."""
    settings = TrialSettings(model="squeezenet1_1", image_size=64, init="kaiming_normal")
    ours = build_model(
        settings, classes=len(CLASSES), channels=1, weights=Weights("none", None, None, ""), task=task
    ).network.eval()
    described = Description(
        "squeezenet1_1", CLASSES, 1, 64, 1.0, 64, (0.4,), (0.3,), "0" * 64, task=task, scores="identity"
    )
    code = plain_recipe(described)
    assert code is not None
    names: dict = {"torch": torch, "torchvision": torchvision}
    exec(code[code.index("network = ") : code.index("network.load_state_dict")], names)
    theirs = names["network"].eval()
    theirs.load_state_dict(ours.state_dict())
    pictures = torch.rand(8, 1, 64, 64) - 0.5
    with torch.inference_mode():
        torch.testing.assert_close(theirs(pictures), ours(pictures))
        assert bool((ours(pictures) < 0).any()) == (task != "classification")
