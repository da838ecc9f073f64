"""Frozen means still: no gradients, no moving statistics, nothing in the snapshot."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from meta_device import meta_device
from trainables.models import zoo
from trainables.models.build import Model, build_model
from trainables.models.freezing import freeze, parameter_groups, thaw, trainable_names, training_mode
from trainables.models.nets import submodule
from trainables.models.weights import Weights
from trainables.settings import TrialSettings

NONE = Weights("none", None, None, "")
SIZES = {
    "resnet18": 32,
    "squeezenet1_1": 32,
    "mobilenet_v3_small": 32,
    "densenet121": 32,
    "vit_b_32": 32,
    "small_cnn": 28,
    "residual34": 32,
}


def build(name: str = "resnet18", **changes) -> Model:
    settings = TrialSettings(model=name, image_size=SIZES[name], **changes)
    return build_model(settings, classes=2, channels=3, weights=NONE)


def copy(model: Model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def changed(model: Model, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in model.network.state_dict().items() if not torch.equal(tensor, before[name])}


def train(model: Model, *, steps: int = 2, optimizer=None):
    """A few steps of SGD on noise, with weight decay, which must not reach what is frozen either."""
    groups = parameter_groups(model, lr=0.01, head_lr_factor=2, weight_decay=0.1)
    optimizer = optimizer or torch.optim.SGD(groups, momentum=0.9)
    training_mode(model)
    torch.manual_seed(0)  # of dropout, which must not depend on the tests before
    generator = torch.Generator().manual_seed(0)
    size = SIZES[model.facts.name]
    for _ in range(steps):
        optimizer.zero_grad()
        images = torch.rand(4, 3, size, size, generator=generator)
        nn.functional.cross_entropy(model.network(images), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
    return optimizer


def frozen_names(model: Model) -> set[str]:
    paths = [path for stage in model.facts.stages[: model.frozen] for path in stage.modules]
    return {
        key for key in model.network.state_dict() if any(key == path or key.startswith(f"{path}.") for path in paths)
    }


def batchnorm_buffers(model: Model) -> set[str]:
    return {name for name, _ in model.network.named_buffers() if name.rpartition(".")[2] in _STATISTICS}


_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


CONVOLUTIONAL = [name for name in SIZES if name != "vit_b_32"]


@pytest.mark.parametrize(
    ("name", "which", "freeze_batchnorm"),
    [
        ("vit_b_32", "middle", True),  # has parameters of its own, outside its modules
        *itertools.product(CONVOLUTIONAL, ("none", "first", "middle", "backbone"), (True, False)),
    ],
)
def test_training_changes_what_trainable_names_says_and_nothing_else(name, which, freeze_batchnorm):
    stages = len(zoo.facts(name).stages)
    count = {"none": 0, "first": 1, "middle": stages // 2, "backbone": stages}[which]
    model = build(name, freeze=count, freeze_batchnorm=freeze_batchnorm)
    before = copy(model)
    train(model, steps=1)
    names = trainable_names(model)
    moved = changed(model, before)
    assert moved <= names
    # Nothing is named that cannot move; a bias or two may happen to get no gradient at all.
    assert len(names - moved) <= 0.1 * len(names)
    still = frozen_names(model) - (set() if freeze_batchnorm else batchnorm_buffers(model))
    assert not moved & still
    assert names == set(before) - still - _constants(model)
    assert all((parameter.grad is None) == (name in still) for name, parameter in model.network.named_parameters())


@pytest.mark.parametrize("name", zoo.MODELS)
def test_gradients_reach_just_what_is_not_frozen_in_every_model(name):
    """On the meta device, which knows what gets a gradient; the tests above have values, of small networks."""
    facts = zoo.facts(name)
    with meta_device():
        settings = TrialSettings(model=name, image_size=facts.image_size, freeze=len(facts.stages) // 2)
        model = build_model(settings, classes=3, channels=3, weights=NONE)
        training_mode(model)
        model.network(torch.empty(2, 3, facts.image_size, facts.image_size)).sum().backward()
    still = frozen_names(model)
    assert still
    assert {n for n, parameter in model.network.named_parameters() if parameter.grad is None} == {
        n for n, _ in model.network.named_parameters() if n in still
    }
    moving = {
        f"{path}.running_mean"
        for path, module in model.network.named_modules()
        if isinstance(module, nn.BatchNorm2d) and module.training
    }
    assert moving == {n for n in batchnorm_buffers(model) if n.endswith("running_mean")} - still
    assert trainable_names(model) == set(model.network.state_dict()) - still - _constants(model)


def _constants(model: Model) -> set[str]:
    """Buffers that no training changes."""
    return {name for name, _ in model.network.named_buffers()} - batchnorm_buffers(model)


def test_frozen_batchnorm_moves_only_when_asked_to():
    for freeze_batchnorm in (True, False):
        model = build(freeze="backbone", freeze_batchnorm=freeze_batchnorm)
        before = copy(model)
        train(model, steps=1)
        moved = changed(model, before) & batchnorm_buffers(model)
        assert moved == (set() if freeze_batchnorm else batchnorm_buffers(model))
        assert model.network.fc.training
        assert model.network.bn1.training is not freeze_batchnorm


def test_dropout_is_off_in_what_is_frozen_and_on_in_front_of_the_head():
    with torch.device("meta"):
        settings = TrialSettings(model="alexnet", freeze="classifier")
        model = build_model(settings, classes=2, channels=3, weights=NONE)
    training_mode(model)
    assert not model.network.classifier[0].training
    model_squeeze = build("squeezenet1_1", freeze="backbone")
    training_mode(model_squeeze)
    assert model_squeeze.network.classifier[0].training
    assert not model_squeeze.network.features.training or not model_squeeze.network.features[3].training


def test_the_frozen_prefix_gives_the_same_output_for_the_same_picture():
    """What makes it right to compute it once: it depends on no other picture of the batch, and on no chance."""
    model = build("densenet121", freeze="block3")
    training_mode(model)
    outputs = []
    model.network.features.transition3.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        model.network(images)
        model.network(images[:2])
    torch.testing.assert_close(outputs[0][:2], outputs[1])


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_a_thaw_trains_everything_with_the_same_optimiser(optimizer):
    model = build(freeze="backbone", freeze_epochs=1)
    groups = parameter_groups(model, lr=0.01, head_lr_factor=3, weight_decay=0.1)
    made = train(model, optimizer=optimizer(groups))
    assert trainable_names(model) == {"fc.weight", "fc.bias"}
    saved = made.state_dict()
    before = copy(model)
    thaw(model)
    assert model.frozen == 0
    train(model, optimizer=made)
    assert changed(model, before) == set(before)
    assert trainable_names(model) == set(before)
    # A resumed trial makes its optimiser anew; the state saved while frozen fits it, and one saved after too.
    again = optimizer(parameter_groups(model, lr=0.01, head_lr_factor=3, weight_decay=0.1))
    again.load_state_dict(saved)
    again.load_state_dict(made.state_dict())


def test_freezing_drops_gradients_that_are_already_there():
    model = build()
    train(model, steps=1)
    freeze(model, 2)
    assert model.network.conv1.weight.grad is None
    assert model.network.layer1[0].conv1.weight.grad is None
    assert model.network.layer2[0].conv1.weight.grad is not None


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_only_the_last_freeze_counts(counts):
    with torch.device("meta"):
        model = build_model(TrialSettings(), classes=2, channels=3, weights=NONE)
    for count in counts:
        freeze(model, count)
    wanted = {
        id(p) for stage in model.facts.stages[: counts[-1]] for path in stage.modules for p in _parameters(model, path)
    }
    assert {id(p) for p in model.network.parameters() if not p.requires_grad} == wanted


def _parameters(model: Model, path: str):
    part = submodule(model.network, path)
    return part.parameters() if isinstance(part, nn.Module) else [part]


def test_more_stages_than_there_are_cannot_be_frozen():
    with pytest.raises(ValueError, match="5 stages"):
        freeze(build(), 6)


def test_parameter_groups_are_the_backbone_and_the_head():
    model = build(freeze="layer2")
    backbone, head = parameter_groups(model, lr=0.1, head_lr_factor=10, weight_decay=0.01)
    assert (backbone["name"], backbone["lr"], backbone["weight_decay"]) == ("backbone", 0.1, 0.01)
    assert (head["name"], head["lr"], head["weight_decay"]) == ("head", 1.0, 0.01)
    assert {id(p) for p in head["params"]} == {id(p) for p in model.network.fc.parameters()}
    everything = [*backbone["params"], *head["params"]]
    assert sorted(map(id, everything)) == sorted(map(id, model.network.parameters()))
    thaw(model)
    again = parameter_groups(model, lr=0.1, head_lr_factor=10, weight_decay=0.01)
    assert [id(p) for group in again for p in group["params"]] == [id(p) for p in everything]


# ---- layer_decay -------------------------------------------------------------------------------------------------


def test_each_stage_learns_at_its_share_of_the_rate_of_the_one_behind_it():
    model = build(freeze="layer1")
    groups = parameter_groups(model, lr=0.1, head_lr_factor=10, layer_decay=0.5, weight_decay=0.01)
    assert [group["name"] for group in groups] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert [group["lr"] for group in groups] == [0.1 * 0.5**4, 0.1 * 0.5**3, 0.1 * 0.5**2, 0.1 * 0.5, 0.1, 1.0]
    assert {group["weight_decay"] for group in groups} == {0.01}
    everything = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(everything) == sorted(map(id, model.network.parameters()))
    thaw(model)
    again = parameter_groups(model, lr=0.1, head_lr_factor=10, layer_decay=0.5, weight_decay=0.01)
    assert [id(parameter) for group in again for parameter in group["params"]] == everything


@pytest.mark.parametrize("name", [*SIZES, "alexnet_2012"])
def test_a_group_has_the_parameters_of_its_stage_and_each_is_in_one(name):
    with meta_device():
        facts = zoo.facts(name)
        model = build_model(TrialSettings(model=name, image_size=facts.image_size), classes=2, channels=3, weights=NONE)
    groups = parameter_groups(model, lr=0.1, layer_decay=0.9)
    for group, stage in zip(groups[:-1], facts.stages, strict=True):
        wanted = {id(p) for path in stage.modules for p in _parameters(model, path) if isinstance(p, nn.Parameter)}
        assert {id(p) for p in group["params"]} == wanted
        assert group["params"]
    assert sum(len(group["params"]) for group in groups) == len(list(model.network.parameters()))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_groups_of_one_rate_train_as_the_backbone_in_one_group_does(optimizer):
    """What a decay that is next to none does, step for step, is what none does."""
    trained = []
    for decay in (1.0, 1.0 - 1e-16):
        model = build("squeezenet1_1")
        train(model, optimizer=optimizer(parameter_groups(model, lr=0.01, layer_decay=decay)))
        trained.append(copy(model))
    assert 1.0 - 1e-16 < 1.0
    assert [name for name in trained[0] if not torch.equal(trained[0][name], trained[1][name])] == []


def test_a_thaw_keeps_the_rates_apart():
    model = build(freeze="layer3")
    made = train(model, optimizer=torch.optim.SGD(parameter_groups(model, lr=0.01, layer_decay=0.1), momentum=0.9))
    saved = made.state_dict()
    thaw(model)
    again = torch.optim.SGD(parameter_groups(model, lr=0.01, layer_decay=0.1), momentum=0.9)
    again.load_state_dict(saved)
    before = copy(model)
    train(model, optimizer=again, steps=1)
    moved = changed(model, before)
    assert {"conv1.weight", "layer4.0.conv1.weight", "fc.weight"} <= moved
