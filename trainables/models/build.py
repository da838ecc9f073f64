"""A model ready to be fine-tuned: built, loaded, fitted to the data at both ends, and frozen.

    weights = resolve_weights(settings.weights, settings.model, base=Path.cwd())
    model = build_model(settings, classes=2, channels=3, weights=weights)
    logits = model.network(images)          # float32 [N, channels, image_size, image_size] → float32 [N, classes]

What is random comes from `settings.seed` alone; torch's global generator is left as it was. The head's initial
weights depend on the seed and the head's shape, not on which weights the backbone starts from.
"""

from dataclasses import dataclass

from torch import nn

from trainables.models import zoo
from trainables.models.freezing import freeze
from trainables.models.heads import adapt_first_conv, replace_head
from trainables.models.nets import bare_network
from trainables.models.weights import LoadReport, Weights, load_weights
from trainables.models.zoo import ModelFacts
from trainables.seeding import seeded
from trainables.settings import TrialSettings


@dataclass
class Model:
    """A network with what is known about it. `frozen` is the number of leading stages that are not trained."""

    network: nn.Module
    facts: ModelFacts
    frozen: int
    freeze_batchnorm: bool
    load_report: LoadReport


def build_model(settings: TrialSettings, *, classes: int, channels: int, weights: Weights) -> Model:
    """The model of a trial, on the CPU, in train mode. UserError as `check_model_settings` and `load_weights`."""
    zoo.check_model_settings(settings)
    facts = zoo.facts(settings.model)
    with seeded(settings.seed, "network"):
        network = bare_network(facts, image_size=settings.image_size)
    adapt_first_conv(network, facts, channels=channels)
    report = load_weights(network, facts, weights)
    with seeded(settings.seed, "head"):
        replace_head(network, facts, classes=classes)
    model = Model(network, facts, 0, settings.freeze_batchnorm, report)
    freeze(model, zoo.frozen_stages(facts, settings.freeze))
    return model
