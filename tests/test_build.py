"""Models as trials get them: both ends fitted, deterministic, a plain tensor out."""

import dataclasses
from typing import get_args

import pytest
import torch
from torch import nn

from meta_device import meta_device
from trainables.errors import UserError
from trainables.models import zoo
from trainables.models.build import BUILT_FROM, Model, build_model
from trainables.models.heads import adapt_first_conv, spread_channels, start_head_at
from trainables.models.nets import bare_network
from trainables.models.own_nets import ACTIVATIONS, OWN_NETS
from trainables.models.weights import LoadReport, Weights
from trainables.settings import Activation, Init, TrialSettings

NONE = Weights("none", None, None, "")
SMALL = {
    "resnet18": 32,
    "squeezenet1_1": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "mobilenet_v3_small": 32,
    "small_cnn": 28,
    "residual34": 32,
}


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


@pytest.mark.parametrize("name", [name for name in SMALL if not zoo.facts(name).own])
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


class Watched:
    """Settings that note which of them are read."""

    def __init__(self, settings: TrialSettings, read: set[str]) -> None:
        self._settings, self._read = settings, read

    def __getattr__(self, name: str) -> object:
        self._read.add(name)
        return getattr(self._settings, name)


def test_a_model_depends_on_the_settings_that_are_named_and_on_no_others():
    """Networks are shared between trials that agree in these."""
    read: set[str] = set()
    for init in get_args(Init):
        settings = TrialSettings(model="small_cnn", image_size=28, init=init)
        build_model(Watched(settings, read), classes=2, channels=3, weights=NONE)  # type: ignore[arg-type]
    of_the_trial = {"freeze", "freeze_batchnorm"}
    of_the_weights = {"weights"}  # checked only; what counts is what they were resolved to
    assert read == {*BUILT_FROM, *of_the_trial, *of_the_weights}


# ---- dropout, activation, the head's bias ------------------------------------------------------------------------


FIRST_WITH_DROPOUT = {f.family: name for name, f in reversed(zoo.MODELS.items()) if f.has_dropout}.values()


@pytest.mark.parametrize("name", FIRST_WITH_DROPOUT)
def test_dropout_sets_every_dropout_layer_and_auto_none(name):
    def rates(**changes) -> list[float]:
        with meta_device():
            network = build(name, **changes).network
        return [module.p for module in network.modules() if isinstance(module, nn.Dropout)]

    own = rates()
    with meta_device():
        facts = zoo.facts(name)
        untouched = bare_network(facts, image_size=facts.image_size)
    assert own == [module.p for module in untouched.modules() if isinstance(module, nn.Dropout)]
    assert rates(dropout=0.37) == [0.37] * len(own)
    assert rates(dropout=0.0) == [0.0] * len(own)


@pytest.mark.parametrize("name", sorted(zoo.MODELS))
def test_dropout_and_activation_are_refused_where_a_model_has_none(name):
    facts = zoo.facts(name)
    for setting, allowed, value in (("dropout", facts.has_dropout, 0.5), ("activation", facts.own, "tanh")):
        chosen = TrialSettings(model=name, image_size=facts.image_size, **{setting: value})
        if allowed:
            zoo.check_model_settings(chosen)
            continue
        with pytest.raises(UserError, match=f"{name} has .*expected auto") as caught:
            zoo.check_model_settings(chosen)
        assert caught.value.where == setting


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("name", OWN_NETS)
def test_our_own_networks_take_every_activation(name, activation):
    with meta_device():
        network = build(name, activation=activation).network
    kinds = {type(module) for module in network.modules()} & {nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh}
    names = {"auto": nn.ReLU, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
    assert kinds == {names[activation]}


def test_every_activation_that_is_offered_is_in_the_table():
    assert get_args(Activation) == ("auto", *ACTIVATIONS)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "sizes"), [("small_cnn", (8, 28, 33, 100)), ("alexnet_2012", (65, 96)), ("residual34", (8, 45, 64))]
)
def test_our_own_networks_have_the_same_weights_at_every_size(name, sizes, channels):
    states = []
    for size in sizes:
        model = build(name, image_size=size, channels=channels)
        assert model.network.eval()(torch.rand(2, channels, size, size)).shape == (2, 3)
        states.append(state(model))
    for other in states[1:]:
        assert_same(states[0], other)


def shapes(name: str, kind: type) -> list[tuple[int, ...]]:
    with meta_device():
        network = build(name, classes=10, channels=1).network
    return [tuple(module.weight.shape) for module in network.modules() if isinstance(module, kind)]


def test_our_own_networks_have_the_widths_they_promise():
    assert [shape[0] for shape in shapes("small_cnn", nn.Conv2d)] == [32, 64]
    assert shapes("small_cnn", nn.Linear) == [(256, 3136), (128, 256), (10, 128)]
    assert [shape[0] for shape in shapes("alexnet_2012", nn.Conv2d)] == [96, 256, 384, 384, 256]
    assert shapes("alexnet_2012", nn.Linear) == [(4096, 6400), (4096, 4096), (10, 4096)]
    layers = shapes("residual34", nn.Conv2d)
    assert len([shape for shape in layers if shape[2:] == (1, 1)]) == 3  # shortcuts, where the width changes
    assert len([shape for shape in layers if shape[2:] != (1, 1)]) + 1 == 34
    with meta_device():
        network = build("residual34").network
    assert [len(network.get_submodule(f"layer{number}")) for number in (1, 2, 3, 4)] == [3, 4, 6, 3]
    with meta_device():
        network = build("alexnet_2012").network
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize(("name", "size", "grid"), [("small_cnn", 28, 7), ("alexnet_2012", 224, 5)])
def test_at_the_size_a_network_is_made_for_nothing_is_averaged(name, size, grid):
    with meta_device():
        network = build(name).network
        maps = network[: list(dict(network.named_children())).index("grid")](torch.empty(1, 3, size, size))
    assert maps.shape[2:] == (grid, grid)


@pytest.mark.parametrize("name", zoo.MODELS)
def test_every_head_that_has_a_bias_can_start_at_given_values(name):
    with meta_device():
        network = build(name, classes=3).network
    network.get_submodule(zoo.facts(name).head).to_empty(device="cpu")
    start_head_at(network, zoo.facts(name), values=torch.tensor([1.5, -2.0, 300.0]))
    bias = network.get_submodule(zoo.facts(name).head).bias
    assert (bias is None) == (name == "maxvit_t")
    assert bias is None or (bias.tolist() == [1.5, -2.0, 300.0] and bias.requires_grad)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1", "resnet18"])
def test_outputs_may_be_negative_where_the_task_is_not_classification(name, task):
    settings = TrialSettings(model=name, image_size=32)
    model = build_model(settings, classes=2, channels=3, weights=NONE, task=task)
    plain = build_model(settings, classes=2, channels=3, weights=NONE)
    for built in (model, plain):
        start_head_at(built.network, built.facts, values=torch.full((2,), -1000.0))
        built.network.eval()
    assert (model.network(torch.rand(2, 3, 32, 32)) < -900).all()
    assert (plain.network(torch.rand(2, 3, 32, 32)) == 0).all() == name.startswith("squeezenet")
    assert_same(state(model), state(plain))


def test_without_weights_the_report_is_empty():
    model = build("squeezenet1_1", image_size=32, freeze=2)
    assert model.load_report == LoadReport()
    assert model.load_report.summary() == "no weights loaded"
    assert (model.frozen, model.freeze_batchnorm) == (2, True)
