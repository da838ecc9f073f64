"""The best model of a sweep as a folder that needs nothing else.

    folder = export_model(sweep, sweep.folder / "best", formats=("pt2", "onnx"))
    Predictor.load(folder)

The model is made again from the record (`reports.winner`), written in each format, loaded again as anybody would, and
must say the same of the sweep's held-out pictures before the folder takes its place.
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from reports.agreement import Original
from reports.card import card
from reports.describing import describe_model
from reports.folders import refuse_link, replaced_folder
from reports.formats import FORMATS, Portable, check_formats, write_format
from reports.held_out import held_out, noise_views, open_pictures, sampled_views
from reports.measure import Measured, Progress, disagreement, measure
from reports.modelfile import (
    CARD,
    DESCRIPTION,
    FILES,
    PREDICTIONS,
    WEIGHTS,
    Description,
    is_model_folder,
    read_description,
)
from reports.predict import Predictor
from reports.recipe import plain_recipe
from reports.sweep import Sweep
from reports.winner import pick_trial, rebuilt, settings_of
from trainables.data.store import PixelStore
from trainables.errors import UserError
from trainables.files import file_digest, write_json
from trainables.hardware import all_threads

# Pictures at most that every format is run on, and the weights alone, which all held-out pictures go through later on.
CHECKED, CHECKED_WEIGHTS = 64, 8
_NOISE = 8  # random ones instead, where the sweep's are gone


def export_model(
    sweep: Sweep,
    folder: Path,
    *,
    number: int | None = None,
    formats: tuple[str, ...] = (),
    store: PixelStore | None = None,
    measured: bool = True,
    device: torch.device | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Writes weights, description, predictions and model card, replacing a former export whole or not at all.

    Where the sweep's pictures are not to be had any more, nothing is measured, the formats are compared on random
    pictures, and description and card say so.

    Args:
        sweep: the sweep, finished or not.
        folder: where to; must not exist, be empty, or hold a former export and nothing else.
        number: of the trial; the best complete one by default.
        formats: of `reports.formats.FORMATS`, beside `model.safetensors`. A network that torchvision cannot build
            gets `pt2` in any case.
        store: the sweep's pictures, where they are open already.
        measured: predict all pictures of `val` and `test`, for `predictions.csv` and the metrics in fp32.
        device: where these pictures are predicted; the GPU when there is one.
        progress: told of the pictures done and of all, while they are predicted.

    Returns:
        The folder.

    Raises:
        UserError: there is no such trial, its checkpoint was not kept, the starting weights are gone or changed, a
            format cannot be made, or the folder holds something else, is a link in the sweep's, or cannot be written.
    """
    refuse_link(folder, run=sweep.folder)
    with all_threads():
        return _exported(
            sweep,
            folder.resolve(),
            number=number,
            formats=formats,
            store=store,
            measured=measured,
            device=device,
            progress=progress,
        )


def _exported(
    sweep: Sweep,
    folder: Path,
    *,
    number: int | None,
    formats: tuple[str, ...],
    store: PixelStore | None,
    measured: bool,
    device: torch.device | None,
    progress: Progress,
) -> Path:
    _check_target(folder)
    check_formats(formats)
    trial = pick_trial(sweep, number=number)
    settings = settings_of(trial)
    model = rebuilt(sweep, trial, settings)
    description = describe_model(sweep, trial, settings, model.facts, chosen=number is not None)
    if plain_recipe(description) is None:
        formats = tuple(dict.fromkeys(("pt2", *formats)))
    missing = None
    if store is None:
        store, missing = _pictures(sweep)
    try:
        with replaced_folder(folder) as unfinished:
            description = _write_weights(unfinished, model.network, description)
            pictures, on = _pictures_to_check(store, description, at_most=CHECKED if formats else CHECKED_WEIGHTS)
            original = Original(description, model.network, pictures)
            differences = _write_formats(unfinished, original, formats=formats)
            found = {}
            if store is not None and measured:
                path = unfinished / PREDICTIONS
                predictor = Predictor.load(unfinished, device=device)
                found = measure(predictor, store, path, settings=settings, progress=progress)
                _check_reproduced(description, found, original)
            checked = {
                "files": list(differences),
                "pictures": len(pictures),
                "on": on,
                "tolerance": original.tolerance,
                "largest_difference": max(differences.values()),
            }
            description = _completed(description, found, checked, missing=missing or "not asked for")
            write_json(unfinished / DESCRIPTION, description.to_json())
            (unfinished / CARD).write_text(card(description), encoding="utf-8", errors="backslashreplace")
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"the model cannot be written ({reason})", where=str(folder)) from error
    return folder


def _write_weights(folder: Path, network: nn.Module, description: Description) -> Description:
    """Writes weights and description, which must read back as they are. Returns the description with the digest."""
    state = {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes files for their owner alone; this one is to be given away
    description = dataclasses.replace(description, sha256=file_digest(folder / WEIGHTS))
    write_json(folder / DESCRIPTION, description.to_json())
    if read_description(folder) != description:
        raise RuntimeError("the exported model's description does not read back as it was written")
    return description


def _pictures_to_check(store: PixelStore | None, description: Description, *, at_most: int) -> tuple[Tensor, str]:
    """What every file is run on, uint8 [N, C, S, S], and its name: held-out pictures or, without them, noise."""
    if store is not None and len(held_out(store)) > 0:
        return sampled_views(store, description, at_most=at_most), "held-out pictures"
    return noise_views(description, count=_NOISE), "random pictures"


def _write_formats(folder: Path, original: Original, *, formats: tuple[str, ...]) -> dict[str, float]:
    """Writes each format, and compares it and the weights that are there already with the network.

    Returns the largest difference of each file's scores.
    """
    description = original.description
    differences = {WEIGHTS: original.check(WEIGHTS, Predictor.load(folder, device=torch.device("cpu")).scores)}
    portable = Portable(original.network, description) if formats else None
    for name in formats:
        assert portable is not None
        size = description.channels, description.image_size, description.image_size
        file = FORMATS[name].files[0]
        differences[file] = original.check(file, write_format(name, portable, folder, size=size))
    return differences


def _pictures(sweep: Sweep) -> tuple[PixelStore | None, str | None]:
    """The sweep's pictures, or why they are not to be had: a model can be exported without them."""
    try:
        return open_pictures(sweep), None
    except UserError as error:
        return None, str(error.what)


def _check_reproduced(description: Description, measured: dict[str, Measured], original: Original) -> None:
    """A trial in fp32 on a CPU must have had this very accuracy."""
    recorded = description.facts["metrics"]
    if recorded["precision"] != "fp32" or "val" not in measured or not disagreement(recorded, measured["val"]):
        return
    if pictures := disagreement(recorded, measured["val"], noise=original.noise):
        raise RuntimeError(
            f"the exported model is not the trial's: of {measured['val'].pictures} pictures, {pictures} are labelled"
            f" otherwise than val_accuracy {recorded['val_accuracy']} says"
        )


def _completed(
    description: Description, measured: dict[str, Measured], checked: dict[str, Any], *, missing: str
) -> Description:
    """The description with what was measured, or why nothing was, and what was checked."""
    facts = dict(description.facts)
    facts["measured"] = {
        "precision": "fp32",
        **({} if measured else {"missing": missing}),
        **{split: found.to_json() for split, found in measured.items()},
    }
    facts["checked"] = checked
    return dataclasses.replace(description, facts=facts)


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
