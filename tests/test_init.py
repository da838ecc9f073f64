"""Initial weights: drawn by torch's own functions, told where that cannot be, and only where nothing is loaded."""

import itertools
import math
from typing import get_args

import pytest
import torch
from torch import nn

from trainables.errors import UserError
from trainables.models import zoo
from trainables.models.build import build_model, foreseen
from trainables.models.init import INITS, InitReport, initialise
from trainables.models.nets import skeleton
from trainables.models.weights import Weights, resolve_weights
from trainables.settings import Init, InitMode, InitNonlinearity, TrialSettings

NONE = Weights("none", None, None, "")

# What torch calls what a setting asks for, with settings that are not its defaults.
REFERENCE = {
    "xavier_uniform": ({"init_gain": 1.5}, lambda w: nn.init.xavier_uniform_(w, gain=1.5)),
    "xavier_normal": ({"init_gain": 0.5}, lambda w: nn.init.xavier_normal_(w, gain=0.5)),
    "kaiming_uniform": (
        {"init_mode": "fan_out", "init_nonlinearity": "tanh"},
        lambda w: nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="tanh"),
    ),
    "kaiming_normal": (
        {"init_nonlinearity": "leaky_relu", "init_slope": 0.3},
        lambda w: nn.init.kaiming_normal_(w, a=0.3, mode="fan_in", nonlinearity="leaky_relu"),
    ),
    "normal": ({"init_mean": 0.1, "init_std": 0.3}, lambda w: nn.init.normal_(w, 0.1, 0.3)),
    "uniform": ({"init_low": -0.2, "init_high": 0.7}, lambda w: nn.init.uniform_(w, -0.2, 0.7)),
    "constant": ({"init_value": 0.25}, lambda w: nn.init.constant_(w, 0.25)),
    "orthogonal": ({"init_gain": 2.0}, lambda w: nn.init.orthogonal_(w, gain=2.0)),
    "sparse": ({"init_sparsity": 0.4, "init_std": 0.2}, lambda w: nn.init.sparse_(w, 0.4, std=0.2)),
}


def build(model: str = "small_cnn", *, weights: Weights = NONE, channels: int = 3, **changes):
    chosen = TrialSettings(model=model, image_size=32, **changes)
    return build_model(chosen, classes=10, channels=channels, weights=weights)


def test_the_table_has_what_the_setting_offers():
    assert get_args(Init) == ("default", *INITS)
    assert set(REFERENCE) == set(INITS)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("seed", [0, 7])
def test_weights_are_those_that_torch_draws(init, seed):
    changes, reference = REFERENCE[init]
    ours, theirs = (nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(20, 30)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    for layer in (ours[1], theirs[1]):
        nn.init.normal_(layer.weight)
    torch.manual_seed(seed)
    report = initialise(ours, TrialSettings(init=init, **changes))
    torch.manual_seed(seed)
    for name, layer in (("0.weight", theirs[0]), ("2.weight", theirs[2])):
        if name in report.drawn:
            reference(layer.weight)
    assert torch.equal(ours[0].weight, theirs[0].weight)
    assert torch.equal(ours[2].weight, theirs[2].weight)
    assert report.drawn == (("2.weight",) if init == "sparse" else ("0.weight", "2.weight"))
    assert torch.equal(ours[1].weight, torch.ones(8))
    for layer in ours:
        assert not layer.bias.any()


# (setting, what else, a measure of a [300, 200] weight, its expectation by the formula in torch's documentation)
STATISTICS = [
    ("xavier_normal", {}, lambda w: w.std(), math.sqrt(2 / 500)),
    ("xavier_uniform", {"init_gain": 2.0}, lambda w: w.abs().max(), 2 * math.sqrt(6 / 500)),
    ("kaiming_normal", {}, lambda w: w.std(), math.sqrt(2 / 200)),
    ("kaiming_normal", {"init_mode": "fan_out"}, lambda w: w.std(), math.sqrt(2 / 300)),
    ("kaiming_normal", {"init_nonlinearity": "tanh"}, lambda w: w.std(), 5 / 3 / math.sqrt(200)),
    ("kaiming_uniform", {"init_nonlinearity": "linear"}, lambda w: w.abs().max(), math.sqrt(3 / 200)),
    ("normal", {"init_mean": 1.0, "init_std": 0.2}, lambda w: w.mean(), 1.0),
    ("normal", {}, lambda w: w.std(), 0.01),
    ("uniform", {}, lambda w: w.max(), 0.05),
    ("uniform", {"init_low": 0.0, "init_high": 1.0}, lambda w: w.mean(), 0.5),
    ("orthogonal", {}, lambda w: torch.linalg.matrix_norm(w.T @ w - torch.eye(200)) + 1, 1.0),
    ("sparse", {"init_sparsity": 0.25}, lambda w: (w == 0).float().mean(), 0.25),
    ("sparse", {"init_std": 3.0}, lambda w: w[w != 0].std(), 3.0),
]


@pytest.mark.parametrize(("init", "changes", "measure", "expected"), STATISTICS)
def test_statistics_are_those_of_the_formulas(init, changes, measure, expected):
    torch.manual_seed(1)
    layer = nn.Linear(200, 300)
    initialise(layer, TrialSettings(init=init, **changes))
    assert float(measure(layer.weight.detach())) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("mode", "nonlinearity"), list(itertools.product(get_args(InitMode), get_args(InitNonlinearity)))
)
def test_every_mode_and_nonlinearity_is_known_to_torch(mode, nonlinearity):
    layer = nn.Conv2d(4, 64, 3)
    settings = TrialSettings(init="kaiming_normal", init_mode=mode, init_nonlinearity=nonlinearity, init_slope=0.2)
    initialise(layer, settings)
    fan = {"fan_in": 36, "fan_out": 576}[mode]
    gain = nn.init.calculate_gain(nonlinearity, 0.2)
    assert float(layer.weight.detach().std()) == pytest.approx(gain / math.sqrt(fan), rel=0.1)


def test_the_default_changes_nothing():
    ours, theirs = build(), build(init_gain=3.0)
    assert ours.init_report == InitReport()
    for mine, other in zip(ours.network.parameters(), theirs.network.parameters(), strict=True):
        assert torch.equal(mine, other)


# ---- told, not skipped -------------------------------------------------------------------------------------------


def test_what_a_shape_does_not_allow_is_named_and_keeps_the_default():
    default, sparse = build(init="default"), build(init="sparse", init_sparsity=0.5)
    why = "sparse needs 2 dimensions, it has 4"
    assert sparse.init_report.kept == (("conv1.0.weight", why), ("conv2.0.weight", why))
    assert sparse.init_report.drawn == ("fc1.0.weight", "fc2.0.weight", "head.weight")
    assert sparse.init_report.summary() == (
        f"init sparse: 3 weights drawn; 2 weights not, as by default: conv1.0.weight ({why}), conv2.0.weight ({why})"
    )
    assert torch.equal(sparse.network.conv1[0].weight, default.network.conv1[0].weight)
    assert float((sparse.network.fc1[0].weight == 0).float().mean()) == 0.5


def test_parameters_that_are_no_layers_weight_are_named():
    report = foreseen(TrialSettings(model="vit_b_16", init="xavier_normal"), classes=2, weights=NONE)
    assert report.kept == (
        ("class_token", "no layer's weight"),
        ("encoder.pos_embedding", "no layer's weight"),
    )
    assert "encoder.layers.encoder_layer_0.self_attention.in_proj_weight" in report.drawn


FIRST = {facts.family: name for name, facts in reversed(zoo.MODELS.items())}.values()  # of each family


@pytest.mark.parametrize("name", FIRST)
def test_every_parameter_is_drawn_or_set_or_named(name):
    """On the meta device: a parameter that none of the three reaches would start as the architecture has it, unsaid."""
    facts = zoo.facts(name)
    settings = TrialSettings(model=name, image_size=facts.image_size, init="orthogonal")
    report = foreseen(settings, classes=3, weights=NONE)
    reached = {*report.drawn, *(name for name, _ in report.kept)}
    network = skeleton(facts)
    weights = {
        f"{path}.weight" for path, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))
    }
    assert weights <= set(report.drawn)
    for name, parameter in network.named_parameters():
        assert name in reached or parameter.ndim == 1, name


def test_what_is_foreseen_is_what_happens(tmp_path):
    torch.save(build("residual34", seed=5).network.state_dict(), tmp_path / "w.pth")
    state = {k: v for k, v in build("residual34", seed=5).network.state_dict().items() if "layer4.1" not in k}
    torch.save(state, tmp_path / "part.pth")
    for spec in ("none", "w.pth", "part.pth"):
        weights = resolve_weights(spec, "residual34", base=tmp_path)
        settings = TrialSettings(model="residual34", weights=spec, init="kaiming_normal", image_size=32)
        model = build_model(settings, classes=4, channels=3, weights=weights)
        assert model.init_report == foreseen(settings, classes=4, weights=weights)
        assert len(model.init_report.drawn) == {"none": 37, "w.pth": 1, "part.pth": 3}[spec]


# ---- only where nothing is loaded --------------------------------------------------------------------------------


def test_loaded_weights_stay_and_what_is_new_is_drawn(tmp_path):
    state = build("resnet18", seed=3).network.state_dict()
    part = {name: tensor for name, tensor in state.items() if not name.startswith("layer4.1.conv2")}
    torch.save(part, tmp_path / "w.pth")
    weights = resolve_weights("w.pth", "resnet18", base=tmp_path)
    assert weights.random == ("layer4.1.conv2.weight",)
    model = build("resnet18", weights=weights, init="constant", init_value=0.5)
    own = model.network.state_dict()
    assert model.init_report.drawn == ("layer4.1.conv2.weight", "fc.weight")
    assert float(own["layer4.1.conv2.weight"].min()) == float(own["fc.weight"].max()) == 0.5
    assert not own["fc.bias"].any()
    kept = [name for name in part if not name.startswith("fc.")]
    assert [name for name in kept if not torch.equal(own[name], part[name])] == []


def test_a_drawn_head_does_not_depend_on_the_backbones_start(tmp_path):
    torch.save(build("resnet18", seed=3).network.state_dict(), tmp_path / "w.pth")
    weights = resolve_weights("w.pth", "resnet18", base=tmp_path)
    loaded, random = (build("resnet18", weights=start, init="normal") for start in (weights, NONE))
    assert torch.equal(loaded.network.fc.weight, random.network.fc.weight)
    assert not torch.equal(loaded.network.conv1.weight, random.network.conv1.weight)


@pytest.mark.parametrize("init", ["default", *INITS])
def test_the_seed_alone_decides_and_torchs_generator_is_left_alone(init):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = build(init=init, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    again, other = build(init=init, seed=1), build(init=init, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), again.network.parameters(), strict=True))
    same = torch.equal(one.network.fc1[0].weight, other.network.fc1[0].weight)
    assert same == (init == "constant")


def test_grey_pictures_get_weights_drawn_for_one_channel():
    """The fan of a first convolution fitted to one channel is that of one channel."""
    conv = build("resnet18", channels=1, init="kaiming_normal").network.conv1
    assert float(conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / 49), rel=0.1)


def test_uniform_bounds_that_are_none_are_refused():
    with pytest.raises(UserError, match="not below init_high") as caught:
        build(init="uniform", init_low=0.5, init_high=0.5)
    assert caught.value.where == "init_low"


def dark_and_bright():
    """Pictures that a network can tell apart, float [20, 3, 32, 32], and their labels."""
    torch.manual_seed(0)
    images = torch.rand(20, 3, 32, 32) * 0.2 + torch.arange(2.0).repeat(10).view(20, 1, 1, 1) * 0.5
    return images, torch.arange(2).repeat(10)


@pytest.mark.parametrize("init", [name for name in INITS if name != "constant"])  # that one: the next test
def test_every_initialisation_can_be_learnt_from(init):
    """Three steps lower the loss."""
    network = build("small_cnn", init=init, init_std=0.1, seed=1).network
    images, labels = dark_and_bright()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(network(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_from_constant_weights_the_head_learns_and_hidden_channels_stay_alike():
    """Channels that start the same get the same gradient; only the head's outputs have targets of their own."""
    network = build("small_cnn", init="constant", init_value=0.01, seed=1).network
    images, labels = dark_and_bright()
    nn.functional.cross_entropy(network(images), labels).backward()
    hidden, head = network.conv2[0].weight.grad, network.head.weight.grad
    assert torch.allclose(hidden, hidden[:1].expand_as(hidden))
    assert not torch.allclose(head[0], head[1])
    optimizer = torch.optim.Adam(network.head.parameters(), lr=0.001)
    for _ in range(100):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.8 * math.log(2)  # below what any head reaches that does not look at the pictures
