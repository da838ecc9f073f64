"""Every model of the table leaves this package as a file that others run, with the same outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
import torchvision
from torch import nn

from reports.agreement import TOLERANCE, Original
from reports.formats import FORMATS, Portable, write_format
from reports.held_out import noise_views
from reports.modelfile import Description
from reports.recipe import plain_recipe
from trainables.data.catalog import Task
from trainables.data.transforms import normalize
from trainables.models import zoo
from trainables.models.build import build_model
from trainables.models.own_nets import OWN_NETS
from trainables.models.weights import Weights
from trainables.settings import TrialSettings

# The quickest of their kinds: residual, fire, squeezing, shuffling, and our own.
QUICK = ("resnet18", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "small_cnn", "residual34")
CLASSES = ("a", "b", "c", "d", "e")


def used(name: str, *, size: int | None = None) -> Original:
    """The network as if it had been trained, for pictures of one channel, for which torchvision's are adapted.

    In regression, as its scores are the network's outputs.
    """
    facts = zoo.facts(name)
    # Small, but not so small that the last maps are single pixels; of three pictures, one more than are traced.
    size = size or max(facts.min_size, facts.size_multiple * -(-64 // facts.size_multiple))
    settings = TrialSettings(model=name, image_size=size)
    none = Weights("none", None, None, "")
    network = build_model(settings, classes=len(CLASSES), channels=1, weights=none, task="regression").network
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
    pictures = noise_views(description, count=8)
    give_statistics(network, normalize(pictures, mean=description.mean, std=description.std))
    return Original(description, network, pictures[:3])


def give_statistics(network: nn.Module, pictures: torch.Tensor) -> None:
    """Gives BatchNorm the statistics of these pictures, with nothing dropped.

    Without any, pictures make no difference behind layers never trained. Those of other pictures, or with layers
    dropped, do not fit: what leaves an EfficientNet then is rounding, magnified 1e6 times.
    """
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = 1.0
    with torch.no_grad():
        network(pictures)
    network.eval()


def check(name: str, form: str, folder: Path, *, size: int | None = None) -> None:
    original = used(name, size=size)
    portable = Portable(original.network, original.description)
    run = write_format(form, portable, folder, size=tuple(original.pictures.shape[1:]))
    for path in folder.iterdir():
        path.unlink()  # up to 2.6 GB, and eighty of them
    original.check(FORMATS[form].files[0], run)
    assert original.tolerance < 0.01  # or a mistake would pass for rounding
    assert original.scores.shape == (3, len(CLASSES))
    assert float(original.scores.std(dim=0).max()) > 0.001 * float(original.scores.abs().max())


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


@pytest.fixture(scope="module")
def deep() -> Original:
    """A network that magnifies rounding."""
    return used("resnet152")


def test_rounding_that_a_deep_network_magnifies_is_no_disagreement(deep: Original) -> None:
    difference = deep.check("same.pt2", Portable(deep.network, deep.description))
    assert TOLERANCE < difference <= deep.tolerance < 0.01
    assert difference <= deep.noise < 0.01


def _batchnorm_in_training(portable: Portable) -> None:
    portable.network.get_submodule("layer3.4.bn2").train()


def _a_layer_off(portable: Portable) -> None:
    portable.network.get_parameter("layer2.0.conv2.weight").mul_(1.001)


def _head_off(portable: Portable) -> None:
    portable.network.get_parameter("fc.weight").mul_(1.02)


def _normalised_otherwise(portable: Portable) -> None:
    portable.shift.add_(1e-3)


@pytest.mark.parametrize("spoil", [_batchnorm_in_training, _a_layer_off, _head_off, _normalised_otherwise])
def test_a_wrong_file_is_found_where_rounding_is_magnified_too(deep: Original, spoil: Callable[..., None]) -> None:
    portable = Portable(deep.network, deep.description)
    spoil(portable)
    with pytest.raises(RuntimeError, match=r"wrong\.pt2 does not agree .* differ by 0\.\d+, rounding explains 0\.00"):
        deep.check("wrong.pt2", portable)


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
