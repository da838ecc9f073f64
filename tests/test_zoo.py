"""The table of models against the networks it builds (on the meta device), and against torchvision's own metadata."""

import functools
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from meta_device import meta_device
from trainables.errors import UserError
from trainables.models import zoo
from trainables.models.nets import bare_network, submodule
from trainables.models.own_nets import OWN_NETS
from trainables.models.table import SWAG
from trainables.settings import TrialSettings

NAMES = sorted(zoo.MODELS)
TORCHVISIONS = [name for name in NAMES if not zoo.MODELS[name].own]


@functools.cache
def network(name: str) -> nn.Module:
    facts = zoo.facts(name)
    with meta_device():
        return bare_network(facts, image_size=facts.image_size).eval()


def forward(network: nn.Module, size: int) -> torch.Tensor:
    with torch.no_grad():
        return network(torch.empty(2, 3, size, size, device="meta"))


def settings(**changes) -> TrialSettings:
    return TrialSettings(**{"model": "resnet18", **changes})


def test_every_classifier_of_torchvision_is_there_and_no_other():
    assert sorted(models.list_models(module=models)) == TORCHVISIONS
    assert all(zoo.MODELS[name].name == name for name in NAMES)


def test_our_own_networks_are_there_and_no_others():
    assert {name for name in NAMES if zoo.MODELS[name].own} == set(OWN_NETS)
    assert len(TORCHVISIONS) == len(NAMES) - len(OWN_NETS)


@pytest.mark.parametrize("name", TORCHVISIONS)
def test_facts_are_those_of_the_default_weights(name):
    facts, weights = zoo.facts(name), models.get_model_weights(name)["DEFAULT"]
    preset = weights.transforms()
    assert [facts.image_size] == preset.crop_size
    assert (list(facts.mean), list(facts.std)) == (preset.mean, preset.std)
    assert (facts.licence == SWAG) == ("SWAG" in weights.meta.get("license", ""))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_buffer_is_in_one_stage_or_the_head(name):
    facts, state = zoo.facts(name), network(name).state_dict()
    paths = [*(path for stage in facts.stages for path in stage.modules), facts.head]
    for path in paths:
        submodule(network(name), path)  # AttributeError where there is nothing
    assert len(set(paths)) == len(paths)
    for key in state:
        parts = key.split(".")
        around = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}  # "a.b.c": a, a.b and a.b.c
        assert len(around.intersection(paths)) == 1, key
    assert len(set(facts.stage_names)) == len(facts.stages)
    assert not {"none", "backbone", "head"} & set(facts.stage_names)


@pytest.mark.parametrize("name", NAMES)
def test_stages_run_one_after_the_other_from_the_first_convolution_to_the_head(name):
    facts, net = zoo.facts(name), network(name)
    ends = [*(stage.modules for stage in facts.stages), (facts.head,)]
    running: list[int] = []  # the stage of each module that begins or ends
    weighted: list[nn.Module] = []  # the layers that have weights, as they begin
    handles = []
    for number, path in ((number, path) for number, paths in enumerate(ends) for path in paths):
        part = submodule(net, path)
        for module in part.modules() if isinstance(part, nn.Module) else ():
            handles.append(module.register_forward_pre_hook(lambda *_, n=number: running.append(n)))
            handles.append(module.register_forward_hook(lambda *_, n=number: running.append(n)))
            if isinstance(module, nn.Conv2d | nn.Linear):
                handles.append(module.register_forward_pre_hook(lambda module, _: weighted.append(module)))
    try:
        logits = forward(net, facts.image_size)
    finally:
        for handle in handles:
            handle.remove()
    assert logits.shape == (2, 1000)
    assert running == sorted(running)
    assert set(running) == set(range(len(ends)))
    assert weighted[0] is net.get_submodule(facts.first_conv)
    assert isinstance(weighted[0], nn.Conv2d)
    assert weighted[0].in_channels == 3
    assert weighted[-1] is net.get_submodule(facts.head)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_known_which_models_have_dropout(name):
    kinds = {type(module) for module in network(name).modules() if isinstance(module, nn.modules.dropout._DropoutNd)}
    assert kinds == ({nn.Dropout} if zoo.facts(name).has_dropout else set())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_known_what_clips_the_heads_outputs(name):
    facts, net = zoo.facts(name), network(name)
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: ran.append(path))
        for path, module in net.named_modules()
        if not any(module.children())
    ]
    try:
        forward(net, facts.image_size)
    finally:
        for handle in handles:
            handle.remove()
    after = ran[ran.index(facts.head) + 1 :]
    pooling = (nn.AdaptiveAvgPool2d, nn.Flatten)  # these leave the sign as it is
    assert [path for path in after if not isinstance(net.get_submodule(path), pooling)] == (
        [facts.clipped] if facts.clipped else []
    )


@pytest.mark.parametrize("name", NAMES)
def test_fx_can_follow_every_network(name):
    """No way through a forward pass depends on what is in the pictures: it is one graph, from them to the logits."""
    facts = zoo.facts(name)
    followed = create_feature_extractor(network(name), {facts.head: "logits"})
    assert forward(followed, facts.image_size)["logits"].shape[:2] == (2, 1000)


# The first, smallest, of each family and each smallest size in it.
KINDS = {(facts.family, facts.min_size): name for name, facts in reversed(zoo.MODELS.items())}.values()


@pytest.mark.parametrize("name", KINDS)
def test_the_smallest_size_works_and_one_less_does_not(name):
    facts = zoo.facts(name)
    if facts.size_multiple > 1:
        assert facts.min_size == facts.size_multiple
        for size in (facts.min_size, 2 * facts.size_multiple):
            with meta_device():
                net = bare_network(facts, image_size=size).eval()
            assert forward(net, size).shape == (2, 1000)
        return
    assert forward(network(name), facts.min_size).shape == (2, 1000)
    assert facts.min_size >= 8
    if facts.min_size > 8:  # the smallest that settings allow
        with pytest.raises((RuntimeError, ValueError)):
            forward(network(name), facts.min_size - 1)


def test_sizes_between_are_refused_by_the_networks_too():
    facts = zoo.facts("vit_b_16")
    with meta_device(), pytest.raises((AssertionError, ValueError, RuntimeError)):
        bare_network(facts, image_size=230)
    with meta_device(), pytest.raises((AssertionError, ValueError, RuntimeError)):
        forward(bare_network(zoo.facts("maxvit_t"), image_size=256), 256)


# ---- freeze ------------------------------------------------------------------------------------------------------


@given(name=st.sampled_from(NAMES), data=st.data())
def test_freeze_by_name_and_by_number_agree(name, data):
    facts = zoo.facts(name)
    count = data.draw(st.integers(0, len(facts.stages)))
    assert zoo.frozen_stages(facts, count) == count
    if count:
        assert zoo.frozen_stages(facts, facts.stage_names[count - 1]) == count
    assert zoo.frozen_stages(facts, "none") == 0
    assert zoo.frozen_stages(facts, "backbone") == len(facts.stages)


@pytest.mark.parametrize("wrong", [True, False, -1, 6, "layer5", "head", "", "Layer2", 2.0, None])
def test_what_is_no_stage_is_told_with_the_models_stages(wrong):
    with pytest.raises(UserError, match="stem, layer1, layer2, layer3, layer4") as caught:
        zoo.frozen_stages(zoo.facts("resnet18"), wrong)
    assert "\n" not in str(caught.value)


def test_a_near_miss_of_a_stage_gets_its_name():
    with pytest.raises(UserError, match="did you mean layer2"):
        zoo.frozen_stages(zoo.facts("resnet18"), "layer_2")


# ---- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "near"), [("resnet19", "resnet1"), ("ResNet-18", "resnet18"), ("squeezenet", "squeezenet1_"), ("vit", "")]
)
def test_an_unknown_model_gets_the_nearest_names(wrong, near):
    with pytest.raises(UserError, match="no such model") as caught:
        zoo.facts(wrong)
    assert near in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 18, ["resnet18"]])
def test_a_model_that_is_no_text_is_no_model(wrong):
    with pytest.raises(UserError, match="no such model"):
        zoo.facts(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_size_of_every_model_is_allowed(name):
    zoo.check_model_settings(settings(model=name, image_size=zoo.facts(name).image_size, freeze="backbone"))


@pytest.mark.parametrize(
    ("model", "size", "told"),
    [
        ("inception_v3", 64, "at least 75"),
        ("alexnet", 32, "at least 63"),
        ("vit_b_16", 100, "a multiple of 16"),
        ("vit_b_16", 100, "the nearest is 96"),
        ("vit_b_16", 8, "the nearest is 16"),
        ("vit_h_14", 256, "a multiple of 14"),
        ("maxvit_t", 256, "the nearest is 224"),
    ],
)
def test_a_size_the_model_cannot_take_is_refused(model, size, told):
    with pytest.raises(UserError, match=told) as caught:
        zoo.check_model_settings(settings(model=model, image_size=size))
    assert caught.value.where == "image_size"


def test_settings_with_a_wrong_stage_are_refused():
    with pytest.raises(UserError, match="fire2"):
        zoo.check_model_settings(settings(model="squeezenet1_1", freeze="layer1"))


def test_normalisation_follows_the_channels():
    assert zoo.normalization(zoo.facts("resnet18"), channels=3) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert zoo.normalization(zoo.facts("resnet18"), channels=1) == ((0.449,), (0.226,))
    assert zoo.normalization(zoo.facts("efficientnet_v2_l"), channels=3)[0] == (0.5, 0.5, 0.5)
    assert zoo.normalization(zoo.facts("googlenet"), channels=1) == ((0.5,), (0.5,))


def test_the_zoo_is_read_without_torch():
    script = "import sys, trainables.models.zoo; print('torch' in sys.modules, 'torchvision' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]
