"""The cut of a network behind its frozen stages: the two parts are the whole, for every model of the table."""

import pytest
import torch
from torch import nn

from trainables.models import zoo
from trainables.models.build import Model, build_model
from trainables.models.freezing import freeze, training_mode
from trainables.models.split import Anatomy
from trainables.models.table import Stage
from trainables.models.weights import Weights
from trainables.seeding import seeded
from trainables.settings import TrialSettings

NO_WEIGHTS = Weights("none", None, None, "")
# One of each family, the smallest; the whole table takes minutes (`slow`).
SMALLEST = (
    "resnet18",
    "squeezenet1_1",
    "alexnet",
    "vgg11_bn",
    "densenet121",
    "googlenet",
    "inception_v3",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "convnext_tiny",
    "regnet_x_400mf",
    "swin_t",
    "swin_v2_t",
    "small_cnn",
    "alexnet_2012",
    "residual34",
)
LARGE = tuple(name for name in zoo.MODELS if name not in SMALLEST)


def small_size(name: str) -> int:
    facts = zoo.facts(name)
    return max(facts.min_size, facts.size_multiple * -(-64 // facts.size_multiple))


def built(name: str, **settings: object) -> Model:
    chosen = TrialSettings(model=name, image_size=small_size(name), **settings)  # type: ignore[arg-type]
    return build_model(chosen, classes=3, channels=3, weights=NO_WEIGHTS)


def check_every_cut(model: Model) -> None:
    size = small_size(model.facts.name)
    pictures = torch.randn(2, 3, size, size)
    anatomy = Anatomy(model.network, model.facts)
    with torch.no_grad():
        whole = model.network.eval()(pictures)
        features = pictures
        for stages in range(1, len(model.facts.stages) + 1):
            assert anatomy.cut(stages) is not None, f"no cut behind stage {stages}"
            features = anatomy.part(model.network, stages - 1, stages)(features)
            assert len(features) == 2
            model.network.eval()
            assert torch.equal(anatomy.rest(model.network, stages, training=False)(features), whole), stages


@pytest.mark.parametrize("name", SMALLEST)
def test_the_parts_are_the_whole(name: str) -> None:
    check_every_cut(built(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_parts_of_larger_models_are_the_whole(name: str) -> None:
    check_every_cut(built(name))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "alexnet_2012", "squeezenet1_1"])
def test_a_training_step_through_the_rest_is_one_through_the_whole(name: str) -> None:
    """Dropout before the head stays on, frozen stages stay still, gradients and statistics are the same."""
    results = []
    for cut in (False, True):
        model = built(name)
        freeze(model, len(model.facts.stages) - 1)
        anatomy = Anatomy(model.network, model.facts)
        training_mode(model)
        size = max(model.facts.min_size, 64)
        pictures = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
        with seeded(3, "step"):
            if cut:
                with torch.no_grad():
                    model.network.eval()
                    features = anatomy.part(model.network, 0, model.frozen)(pictures)
                    training_mode(model)
                outputs = anatomy.rest(model.network, model.frozen, training=True)(features)
            else:
                outputs = model.network(pictures)
        nn.functional.cross_entropy(outputs, torch.tensor([0, 1, 2, 0])).backward()
        gradients = {n: p.grad for n, p in model.network.named_parameters() if p.grad is not None}
        results.append((gradients, model.network.state_dict()))
    (whole_gradients, whole_state), (gradients, state) = results
    assert gradients.keys() == whole_gradients.keys()
    assert all(torch.equal(gradients[name], whole_gradients[name]) for name in gradients)
    assert all(torch.equal(state[name], whole_state[name]) for name in state)


def test_pooling_and_flattening_come_before_the_cut() -> None:
    model = built("resnet18")
    features = Anatomy(model.network, model.facts).part(model.network.eval(), 0, 5)(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 512)


def test_dropout_before_the_head_comes_after_the_cut() -> None:
    model = built("squeezenet1_1")
    anatomy = Anatomy(model.network, model.facts)
    rest = anatomy.rest(model.network, len(model.facts.stages), training=True)
    features = anatomy.part(model.network.eval(), 0, len(model.facts.stages))(torch.randn(2, 3, 64, 64))
    model.network.train()
    assert not torch.equal(rest(features), rest(features))


def test_what_cannot_be_cut_is_said() -> None:
    class Crossed(nn.Module):
        """The head looks at the pictures themselves too."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(pictures) + self.head(pictures))

    facts = zoo.facts("resnet18")
    stages = (Stage("first", ("first",)),)
    crossed = type(facts)(**{**vars(facts), "name": "crossed", "stages": stages, "head": "head"})
    anatomy = Anatomy(Crossed(), crossed)
    assert anatomy.cut(1) is None
    with pytest.raises(ValueError, match="crossed cannot be cut behind its first 1 stages"):
        anatomy.part(Crossed(), 0, 1)
