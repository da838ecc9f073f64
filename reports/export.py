"""The best model of a sweep as a folder that needs nothing else.

    folder = export_model(sweep, sweep.folder / "best")
    Predictor.load(folder)

The trial's model is built again just as the trial built it (settings, seed, starting weights), and its best epoch's
checkpoint, which holds what training changed, is put over it. The folder is loaded again and must give the same
logits before it takes its place.
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import save_file

from reports.card import card
from reports.folders import replaced_folder
from reports.ledger import TrialRecord
from reports.modelfile import CARD, DESCRIPTION, FILES, WEIGHTS, Description, is_model_folder
from reports.predict import Predictor
from reports.starting_weights import starting_words, weights_here
from reports.sweep import Sweep
from trainables.checkpoint import Snapshot
from trainables.errors import TrialError, UserError
from trainables.files import file_digest, write_json
from trainables.models.build import Model, build_model
from trainables.models.freezing import trainable_names
from trainables.models.weights import Weights
from trainables.models.zoo import normalization
from trainables.settings import TrialSettings

TOLERANCE = 1e-4  # of the logits, in fp32, relative to the largest
_PROBES = 4


def export_model(sweep: Sweep, folder: Path, *, number: int | None = None) -> Path:
    """Writes `model.safetensors`, `model.json` and `README.md`, replacing a former export whole or not at all.

    Args:
        sweep: the sweep, finished or not.
        folder: where to; must not exist, be empty, or hold a former export and nothing else.
        number: of the trial; the best complete one by default.

    Returns:
        The folder.

    Raises:
        UserError: there is no such trial, its checkpoint was not kept, the starting weights are gone or changed, or
            the folder holds something else or cannot be written.
    """
    folder = folder.resolve()
    _check_target(folder)
    trial = _pick(sweep, number)
    settings = _settings(trial)
    weights = Weights(**weights_here(sweep, trial.settings))
    channels = sweep.record["channels"]
    model = build_model(settings, classes=len(sweep.record["classes"]), channels=channels, weights=weights)
    _load_best(model, _snapshot(sweep, trial, settings))

    try:
        with replaced_folder(folder) as unfinished:
            state = {name: tensor.contiguous().clone() for name, tensor in model.network.state_dict().items()}
            save_file(state, unfinished / WEIGHTS)
            digest = file_digest(unfinished / WEIGHTS)
            description = _describe(sweep, trial, settings, model, sha256=digest, chosen=number is not None)
            write_json(unfinished / DESCRIPTION, description.to_json())
            (unfinished / CARD).write_text(card(description), encoding="utf-8", errors="backslashreplace")
            _verify(unfinished, Predictor(description, model.network, device=torch.device("cpu")))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"the model cannot be written ({reason})", where=str(folder)) from error
    return folder


def _pick(sweep: Sweep, number: int | None) -> TrialRecord:
    ledger = sweep.ledger()
    if number is None:
        best = ledger.best()
        if best is None:
            raise UserError("no trial is complete yet", where=sweep.name, hint="--trial N takes any with epochs")
        return best
    trial = next((trial for trial in ledger.trials() if trial.number == number), None)
    if trial is None:
        raise UserError("no such trial", where=sweep.name, got=number, hint=f"tune show {sweep.name} lists them")
    if trial.best_epoch is None:
        raise UserError(f"trial {number} has no finished epoch", where=sweep.name, got=trial.state)
    return trial


def _settings(trial: TrialRecord) -> TrialSettings:
    try:
        return TrialSettings(**trial.settings)
    except TypeError as error:
        raise UserError(
            f"trial {trial.number} has settings that this version does not know ({error})",
            hint="export with the version of tuneyard that ran the sweep",
        ) from error


def _snapshot(sweep: Sweep, trial: TrialRecord, settings: TrialSettings) -> Snapshot:
    """The checkpoint of the trial's best epoch, checked against the record."""
    where = f"{sweep.name}, trial {trial.number}"
    checkpoint = trial.checkpoint(trial.best_epoch)
    path = sweep.folder / checkpoint if checkpoint else None
    if path is None or not path.is_file():
        raise UserError(
            f"the weights of its best epoch, {trial.best_epoch}, are not there any more",
            where=where,
            got=str(path) if path else None,
            hint="a sweep keeps those of its best trials (search.keep)",
        )
    try:
        snapshot = Snapshot.load(path)
    except TrialError as error:
        raise UserError(str(error), where=where) from error
    if snapshot.settings != settings or snapshot.epoch != trial.best_epoch:
        raise UserError("the checkpoint is of another trial or epoch", where=where, got=str(path))
    return snapshot


def _load_best(model: Model, snapshot: Snapshot) -> None:
    """Puts what training changed over the model as it was built; all that could change must be there."""
    state = model.network.state_dict()
    changed = snapshot.model
    misfits = [name for name, tensor in changed.items() if name not in state or state[name].shape != tensor.shape]
    missing = sorted(trainable_names(model) - changed.keys())
    if misfits or missing:
        raise UserError(f"the checkpoint does not fit this model ({', '.join((misfits + missing)[:3])})")
    model.network.load_state_dict(changed, strict=False)


def _describe(
    sweep: Sweep,
    trial: TrialRecord,
    settings: TrialSettings,
    model: Model,
    *,
    sha256: str,
    chosen: bool,
) -> Description:
    """`chosen`: the user named the trial, it need not be the best."""
    record = sweep.record
    channels = record["channels"]
    mean, std = normalization(model.facts, channels=channels)
    epoch = next(epoch for epoch in trial.epochs if epoch["epoch"] == trial.best_epoch)
    licence = {"imagenet": model.facts.licence, "file": "the file's own, not known here", "none": "none needed"}
    start = sweep.starting_weights(trial.settings)
    shared = dataclasses.asdict(settings)
    if start["kind"] == "file":  # the folder is made to be given away: no paths of this machine in it
        shared["weights"] = Path(settings.weights).name
    return Description(
        architecture=settings.model,
        classes=tuple(record["classes"]),
        channels=channels,
        image_size=settings.image_size,
        center_crop=settings.center_crop,
        # One store serves all trials, so where the size is explored it is decoded for the largest.
        short_side=record["data"]["short_side"],
        mean=mean,
        std=std,
        sha256=sha256,
        facts={
            "sweep": sweep.name,
            "trial": trial.number,
            "metrics": {"split": "val", **_metrics(epoch)},
            "selected_by": {
                "metric": sweep.metric,
                "mode": sweep.mode,
                "value": trial.value,
                "trials": None if chosen else sum(t.state == "complete" for t in sweep.ledger().trials()),
            },
            "settings": shared,
            "data": {"fingerprint": record["data"]["fingerprint"], "counts": record["data"]["counts"]},
            "starting_weights": {
                "kind": start["kind"],
                "note": starting_words(start, model=settings.model),
                "sha256": start["digest"],
                "licence": licence[start["kind"]],
            },
            "versions": {
                "tuneyard": record["versions"].get("tuneyard"),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
            },
        },
    )


def _metrics(epoch: dict[str, Any]) -> dict[str, Any]:
    return {name: epoch[name] for name in epoch if name not in ("checkpoint", "elapsed", "seconds", "lr")}


def _check_target(folder: Path) -> None:
    """A folder that holds anything but a former export is somebody's, and stays as it is."""
    if not folder.exists():
        return
    hint = "choose another folder with -o"
    if not folder.is_dir():
        raise UserError("there is a file of this name", where=str(folder), hint=hint)
    there = {path.name for path in folder.iterdir()}
    if there and not is_model_folder(folder):
        raise UserError("the folder holds something else than an exported model", where=str(folder), hint=hint)
    if others := sorted(there - FILES):
        raise UserError(
            "the exported model's folder also holds other files", where=str(folder), got=others[0], hint=hint
        )


def _verify(folder: Path, original: Predictor) -> None:
    """The folder as anybody would load it must give the original's logits on the same pictures."""
    description = original.description
    exported = Predictor.load(folder, device=torch.device("cpu"))
    size = (_PROBES, description.channels, description.image_size, description.image_size)
    pictures = torch.randint(0, 256, size, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected, got = original.logits(pictures), exported.logits(pictures)
    difference = float((got - expected).abs().max())
    if exported.description != description or not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise RuntimeError(f"the exported model does not agree with the original: logits differ by {difference}")
