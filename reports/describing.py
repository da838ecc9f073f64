"""What an exported model's `model.json` tells, from the sweep's record and the trial it is of.

    description = describe_model(sweep, trial, settings, facts, chosen=False)
    write_json(folder / "model.json", description.to_json())

What is measured on the exported model itself comes later, in `reports.export`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch
import torchvision

from reports.formats import INPUT, OUTPUT
from reports.ledger import TrialRecord
from reports.modelfile import Description
from reports.starting_weights import starting_words
from reports.sweep import Sweep
from trainables.data.catalog import Task
from trainables.models.table import ModelFacts
from trainables.normalizing import normalization
from trainables.settings import TrialSettings
from trainables.tasks import scores_for

# What the traced networks give.
_MEANINGS: dict[Task, str] = {
    "classification": "the probability of each class",
    "multilabel": "the probability of each label",
    "regression": "the value of each target, in its own unit",
}
_LICENCES = {"file": "the file's own, not known here", "none": "none needed"}


def describe_model(
    sweep: Sweep, trial: TrialRecord, settings: TrialSettings, facts: ModelFacts, *, chosen: bool
) -> Description:
    """The description of a trial's model, but for the digest of its weights.

    Args:
        sweep: the sweep that the trial is of.
        trial: with its best epoch, whose weights they are.
        settings: the trial's.
        facts: of its architecture.
        chosen: the user named the trial, so it need not be the best.
    """
    record = sweep.record
    channels = record["channels"]
    mean, std = normalization(settings.normalize, facts=facts, channels=channels, measured=sweep.measured_normalization)
    description = Description(
        architecture=settings.model,
        classes=tuple(record["classes"]),
        channels=channels,
        image_size=settings.image_size,
        center_crop=settings.center_crop,
        # One store serves all trials, so where the size is explored it is decoded for the largest.
        short_side=record["data"]["short_side"],
        mean=mean,
        std=std,
        sha256="",
        task=sweep.task,
        scores=scores_for(settings.loss, task=sweep.task),
        activation=settings.activation,
    )
    return dataclasses.replace(
        description,
        facts={
            "transforms": _transforms(description),
            "sweep": sweep.name,
            "trial": trial.number,
            "metrics": {"split": "val", **_metrics(trial)},
            "selected_by": {
                "metric": sweep.metric,
                "mode": sweep.mode,
                "value": trial.value,
                "trials": None if chosen else sum(t.state == "complete" for t in sweep.ledger().trials()),
            },
            "settings": _shared(sweep, trial, settings),
            "data": {name: record["data"].get(name) for name in ("fingerprint", "counts", "pictures")},
            "starting_weights": _starting_weights(sweep, trial, facts),
            "versions": {
                "tuneyard": record["versions"].get("tuneyard"),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
            },
        },
    )


def _transforms(description: Description) -> dict[str, Any]:
    """How a picture becomes what the network sees, for programs that do not use this one."""
    size = description.image_size
    return {
        "color": "RGB" if description.channels == 3 else "grey",
        "shrink_shorter_side_first": description.short_side,
        "resize_shorter_side": description.resize,
        "interpolation": "bilinear, antialiased",
        "center_crop_pixels": size,
        "normalize": {"scale": "0 to 255 becomes 0 to 1", "mean": description.mean, "std": description.std},
        "model.pt2 and model.onnx": {
            "input": INPUT,
            "shape": ["any number of pictures", description.channels, size, size],
            "type": "uint8, 0 to 255, resized and cropped; they are normalised inside",
            "output": f"{OUTPUT}: {_MEANINGS[description.task]}",
        },
    }


def _metrics(trial: TrialRecord) -> dict[str, Any]:
    """What the sweep recorded of the best epoch, as it was trained."""
    epoch = next(epoch for epoch in trial.epochs if epoch["epoch"] == trial.best_epoch)
    numbers = {name: epoch[name] for name in epoch if name.startswith(("train_", "val_"))}
    return {"epoch": trial.best_epoch, **numbers, "precision": epoch["precision"]}


def _starting_weights(sweep: Sweep, trial: TrialRecord, facts: ModelFacts) -> dict[str, Any]:
    start = sweep.starting_weights(trial.settings)
    return {
        "kind": start["kind"],
        "note": starting_words(start, model=facts.name),
        "sha256": start["digest"],
        "licence": {**_LICENCES, "imagenet": facts.licence}[start["kind"]],
    }


def _shared(sweep: Sweep, trial: TrialRecord, settings: TrialSettings) -> dict[str, Any]:
    """The trial's settings. The folder is made to be given away: no paths of this machine in it."""
    shared = dataclasses.asdict(settings)
    if sweep.starting_weights(trial.settings)["kind"] == "file":
        shared["weights"] = Path(settings.weights).name
    return shared
