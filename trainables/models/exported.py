"""An exported model's folder as starting weights for another sweep.

    exported = find_exported(Path("runs/bees"), model="resnet18")        # or runs/bees/best
    exported.path, exported.classes                                     # …/best/model.safetensors, ("ants", "bees")
    exported.scores, exported.activation                                # "softmax", "auto"

What is read of `model.json` is checked as a stranger's.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.errors import UserError
from trainables.files import file_digest
from trainables.models.download import reason

_DESCRIPTION, _WEIGHTS = "model.json", "model.safetensors"
_BEST = "best"  # where a sweep's folder has its exported model
_LARGEST_DESCRIPTION = 64 * 2**20
# What models exported before there was a choice do not say.
_FORMER = {"task": "classification", "scores": "softmax", "activation": "auto"}


@dataclass(frozen=True)
class Exported:
    """The file of weights, its SHA-256, the classes that its head tells apart, in their order, and what is as in a
    `model.json`: the task, what turns outputs into `scores`, and the network's activation."""

    path: Path
    digest: str
    classes: tuple[str, ...]
    task: str
    scores: str
    activation: str


def find_exported(folder: Path, *, model: str) -> Exported:
    """The exported model in `folder`, or in `best/` below it.

    Raises:
        UserError: there is none, it is of another architecture than `model`, or it is damaged.
    """
    place = exported_in(folder)
    document = _read(place / _DESCRIPTION)
    texts = [{**_FORMER, **document}.get(name) for name in ("architecture", "sha256", *_FORMER)]
    classes = document.get("classes")
    if not isinstance(classes, list) or not all(isinstance(text, str) for text in texts):
        raise _unfit(place / _DESCRIPTION, "no description of an exported model")
    architecture, digest, *outputs = map(str, texts)
    if architecture != model:
        raise UserError(
            f"the exported model is of another architecture than {model}",
            where="weights",
            got=f"{place}: {architecture}",
            expected=model,
            hint=f"write `model: {architecture}`, or name weights of {model}",
        )
    path = place / _WEIGHTS
    try:
        found = file_digest(path)
    except OSError as error:
        raise _unfit(path, f"the weights of the exported model cannot be read ({reason(error)})") from error
    if found != digest:
        raise _unfit(path, "not the weights that the exported model's description names")
    return Exported(path, found, tuple(str(name) for name in classes), *outputs)


def exported_in(folder: Path) -> Path:
    """The folder itself or its `best/`, whichever has an exported model. UserError if neither has."""
    for place in (folder, folder / _BEST):
        if (place / _DESCRIPTION).is_file():
            return place
    raise UserError(
        "this is a folder without an exported model",
        where="weights",
        got=str(folder),
        expected=f"{_DESCRIPTION} in it, or in {_BEST}/ below it",
        hint="`tune export RUN` writes one; or name a file of weights",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_DESCRIPTION:
            raise _unfit(path, "too large to be a model's description")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unfit(path, f"cannot be read ({reason(error)})") from error
    if not isinstance(document, dict):
        raise _unfit(path, "no description of an exported model")
    return document


def _unfit(path: Path, what: str) -> UserError:
    return UserError(what, where="weights", got=str(path), hint="export the model again")
