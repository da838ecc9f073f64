"""The starting weights of a sweep, found again on this machine.

    weights = Weights(**weights_here(sweep, trial.settings))       # the very bytes the sweep began with
    starting_words(sweep.starting_weights(trial.settings), model="resnet18")   # "ImageNet weights of torchvision (…)"

A run may have been moved, or come from another machine: what counts is a file's SHA-256, not where it lies.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torchvision import models

from reports.sweep import Sweep
from trainables.errors import UserError
from trainables.files import file_digest
from trainables.models import zoo
from trainables.models.weights import imagenet_path, resolve_weights


def weights_here(sweep: Sweep, settings: Mapping[str, Any]) -> dict[str, Any]:
    """`Sweep.starting_weights` with `path` on this machine: `{kind, path, digest, note}`, for `Weights(**…)`.

    Looks where the file lay when the sweep began, then for a file of its name in the run's folder and beside that;
    for ImageNet weights also where torch keeps them, where they are downloaded when they are nowhere else. ImageNet
    weights that lie elsewhere than where torch keeps them come with the kind `file`, to be read from there.

    Args:
        settings: `weights` and `model` of them are looked at.

    Raises:
        UserError: there is no such file, nor one to be downloaded, or only ones whose content is another.
    """
    known = sweep.starting_weights(settings)
    if known["kind"] == "none":
        return known
    recorded, run = Path(known["path"]), sweep.folder.resolve()
    kept = run / recorded.parent.name / recorded.name  # the run's own copy of an exported model
    places = [recorded, kept, run / recorded.name, run.parent / recorded.name]
    if known["kind"] == "file":
        return {**known, "path": str(_same(sweep, known, places))}
    torchs_own = imagenet_path(zoo.facts(settings["model"]))
    try:
        path = _same(sweep, known, [torchs_own, *places])
    except UserError:
        if torchs_own.exists():
            raise
        resolve_weights("imagenet", settings["model"], base=Path())
        path = _same(sweep, known, [torchs_own])
    return {**known, "kind": "imagenet" if path == torchs_own else "file", "path": str(path)}


def starting_words(known: Mapping[str, Any], *, model: str) -> str:
    """What a model started from, in words that name no folder of this machine.

    Args:
        known: of `Sweep.starting_weights`.
        model: the architecture.
    """
    if known["kind"] == "none":
        return "random weights"
    name, digest = Path(known["path"]).name, known["digest"]
    if known["kind"] == "file":
        return f"own file {name} (SHA-256 {digest})"
    published = (str(entry) for entry in models.get_model_weights(model) if entry.url.endswith(f"/{name}"))
    return f"ImageNet weights of torchvision ({next(published, name)}, SHA-256 {digest})"


def _same(sweep: Sweep, known: Mapping[str, Any], places: list[Path]) -> Path:
    """The first of the places where the file lies that the sweep began with."""
    others = {}
    for path in places:
        try:
            if not path.is_file():
                continue
            digest = file_digest(path)
        except OSError:  # not to be read, such as one in another user's folder: as good as not there
            continue
        if digest == known["digest"]:
            return path
        others[path] = digest
    hint = f"put {places[0].name} as it was into {sweep.folder}"
    if not others:
        raise UserError("the starting weights are not to be found", where=sweep.name, got=known["path"], hint=hint)
    path, digest = next(iter(others.items()))
    raise UserError(
        "the starting weights are not those the sweep began with",
        where=sweep.name,
        got=f"{path}, SHA-256 {digest[:12]}…",
        expected=f"SHA-256 {known['digest'][:12]}…",
        hint=hint,
    )
