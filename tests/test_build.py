"""Models as trials get them: both ends fitted, deterministic, a plain tensor out."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.meta_device import meta_device
from trainables.errors import UserError
from trainables.models import zoo
from trainables.models.build import Model, build_model
from trainables.models.heads import adapt_first_conv, spread_channels
from trainables.models.weights import LoadReport, Weights
from trainables.settings import TrialSettings

NONE = Weights("none", None, None, "")
SMALL = {"resnet18": 32, "squeezenet1_1": 32, "googlenet": 32, "inception_v3": 75, "mobilenet_v3_small": 32}


def build(name: str, *, classes: int = 3, channels: int = 3, **changes) -> Model:
    changes = {"image_size": zoo.facts(name).image_size, **changes}
    return build_model(TrialSettings(model=name, **changes), classes=classes, channels=channels, weights=NONE)


def state(model: Model) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


SMALLEST = {facts.family: name for name, facts in reversed(zoo.MODELS.items())}.values()  # of each family


@pytest.mark.parametrize(("name", "channels"), [*((name, 1) for name in zoo.MODELS), *((name, 3) for name in SMALLEST)])
def test_every_model_takes_the_pictures_and_tells_the_classes(name, channels):
    with meta_device():
        model = build(name, classes=7, channels=channels, freeze="backbone")
        images = torch.empty(2, channels, model.facts.image_size, model.facts.image_size)
        logits = model.network.train()(images)  # in train mode nets with extra heads would return tuples
    assert type(logits) is torch.Tensor
    assert logits.shape == (2, 7)
    assert model.network.get_submodule(model.facts.first_conv).weight.shape[1] == channels
    head = set(model.network.get_submodule(model.facts.head).parameters())
    assert {parameter for parameter in model.network.parameters() if parameter.requires_grad} == head
    assert not any(name.startswith(model.facts.aux_heads) for name in state(model) if model.facts.aux_heads)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_builds_the_same_model_and_leaves_torchs_generator_alone(name):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = build(name, image_size=SMALL[name], seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(7)  # another state of the generator changes nothing
    assert_same(state(one), state(build(name, image_size=SMALL[name], seed=3)))
    other = state(build(name, image_size=SMALL[name], seed=4))
    head = f"{one.facts.head}.weight"
    first = f"{one.facts.first_conv}.weight"
    assert not torch.equal(state(one)[head], other[head])
    assert not torch.equal(state(one)[first], other[first])


@pytest.mark.parametrize("name", SMALL)
def test_a_real_forward_and_backward_pass(name):
    size = SMALL[name]
    model = build(name, image_size=size)
    logits = model.network.train()(torch.rand(4, 3, size, size))
    assert logits.shape == (4, 3)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert model.network.get_submodule(model.facts.first_conv).weight.grad is not None


@pytest.mark.parametrize("name", SMALL)
def test_grey_pictures_give_what_their_copies_in_three_channels_gave(name):
    size, facts = SMALL[name], zoo.facts(name)
    color, grey = build(name, image_size=size).network.eval(), build(name, channels=1, image_size=size).network.eval()
    pixels = torch.rand(2, 1, size, size)
    if facts.rescales_input:  # undoes the mean and std of each colour itself
        mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in zoo.normalization(facts, channels=3))
        three, one = (pixels - mean) / std, (pixels - 0.5) / 0.5
    else:
        three, one = pixels.expand(-1, 3, -1, -1), pixels
    with torch.no_grad():
        torch.testing.assert_close(grey(one), color(three), rtol=1e-3, atol=1e-5)


def test_the_first_convolution_keeps_all_but_its_channels():
    facts = dataclasses.replace(zoo.facts("resnet18"), first_conv="0")
    conv = nn.Conv2d(3, 8, 5, stride=2, padding=3, dilation=2, bias=True, padding_mode="reflect")
    network = nn.Sequential(conv)
    pixels = torch.rand(2, 1, 16, 16)
    before = network(pixels.expand(-1, 3, -1, -1))
    adapt_first_conv(network, facts, channels=1)
    torch.testing.assert_close(network(pixels), before)
    assert (conv.in_channels, conv.stride, conv.padding, conv.padding_mode) == (1, (2, 2), (3, 3), "reflect")


def test_spreading_grey_weights_over_colours_and_back_changes_nothing():
    weight = torch.randn(4, 1, 3, 3)
    spread = spread_channels(weight, channels=3)
    assert spread.shape == (4, 3, 3, 3)
    torch.testing.assert_close(spread_channels(spread, channels=1), weight)


def test_a_vision_transformer_takes_the_size_asked_for():
    with meta_device():
        model = build("vit_b_16", image_size=160)
        assert state(model)["encoder.pos_embedding"].shape == (1, 101, 768)
        assert model.network(torch.empty(1, 3, 160, 160)).shape == (1, 3)


def test_settings_that_no_model_can_have_are_refused_before_anything_is_built():
    for changes in ({"image_size": 16}, {"freeze": "layer9"}, {"freeze": 6}):
        with pytest.raises(UserError):
            build("alexnet" if "image_size" in changes else "resnet18", **changes)


def test_without_weights_the_report_is_empty():
    model = build("squeezenet1_1", image_size=32, freeze=2)
    assert model.load_report == LoadReport()
    assert model.load_report.summary() == "no weights loaded"
    assert (model.frozen, model.freeze_batchnorm) == (2, True)
