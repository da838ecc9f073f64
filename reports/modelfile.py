"""An exported model's folder: what is in it, and its description, checked as a stranger's.

    description = read_description(Path("runs/resnet18/best"))
    description.classes, description.image_size

The folder holds `model.safetensors` (every tensor of the network's state dict), `model.json` (this description) and
`README.md`; these are all that predicting needs. `predictions.csv` has what the model says of the held-out pictures,
and `model.pt2` and `model.onnx` are the same network for those who do not have this package. Importing this module
imports no torch.
"""

import json
import math
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard, cast, get_args

from trainables.data.catalog import Task
from trainables.errors import UserError
from trainables.models import zoo
from trainables.settings import Activation, TrialSettings
from trainables.tasks import Scores

SCHEMA = 1
WEIGHTS, DESCRIPTION, CARD = "model.safetensors", "model.json", "README.md"
PREDICTIONS = "predictions.csv"
BEST = "best"  # the folder in a sweep's that has its best model
PT2, ONNX, ONNX_DATA = "model.pt2", "model.onnx", "model.onnx.data"  # the last beside networks of over 2 GB
FILES = frozenset({WEIGHTS, DESCRIPTION, CARD, PREDICTIONS, PT2, ONNX, ONNX_DATA})

_LARGEST_PICTURE = 2048  # the same limit as `image_size` has
_MOST_CLASSES = 100_000
_LARGEST_DESCRIPTION = 64 * 2**20


@dataclass(frozen=True)
class Description:
    """What must be known to rebuild a network and to feed it.

    `image_size` and `short_side` are in pixels; `mean` and `std` per channel, of values 0 to 1. `short_side` is the
    length that a picture's shorter side was shrunk to when it was decoded. `classes` are names of classes, labels or
    targets, as the `task` has it; `scores` is what turns the network's outputs into probabilities, or into values in
    the targets' own units. `facts` is the rest of `model.json`.
    """

    architecture: str
    classes: tuple[str, ...]
    channels: int
    image_size: int
    center_crop: float
    short_side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    task: Task = "classification"
    scores: Scores = "softmax"
    activation: str = "auto"
    facts: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def resize(self) -> int:
        """What validation resizes a picture's shorter side to before it crops the centre, in pixels."""
        return round(self.image_size / self.center_crop)

    @property
    def shrinks_first(self) -> bool:
        """Whether pictures were decoded larger than validation wants them: for a larger `image_size` or `keep_px`."""
        return self.short_side > self.resize

    def to_json(self) -> dict[str, Any]:
        """The document of `model.json`."""
        return {
            "schema": SCHEMA,
            "task": self.task,
            "architecture": self.architecture,
            "activation": self.activation,
            "classes": list(self.classes),
            "scores": self.scores,
            "channels": self.channels,
            "image_size": self.image_size,
            "center_crop": self.center_crop,
            "short_side": self.short_side,
            "mean": list(self.mean),
            "std": list(self.std),
            "sha256": self.sha256,
            **self.facts,
        }


def is_model_folder(folder: Path) -> bool:
    """Whether the folder says that it is an exported model of any version."""
    try:
        return isinstance(_read_json(folder / DESCRIPTION).get("architecture"), str)
    except UserError:
        return False


def read_description(folder: Path) -> Description:
    """Reads and checks `model.json`; nothing in it is trusted.

    Raises:
        UserError: the folder is no exported model, is of another version, or says what cannot be.
    """
    path = folder / DESCRIPTION
    document = _read_json(path)
    if document.get("schema") != SCHEMA:
        raise UserError(
            "written by another version of tuneyard",
            where=str(path),
            got=document.get("schema"),
            expected=f"schema {SCHEMA}",
        )
    reader = _Fields(document, where=str(path))
    channels = int(reader.number("channels", whole=True, low=1, high=3))
    description = Description(
        architecture=reader.text("architecture"),
        classes=reader.classes(),
        channels=channels,
        image_size=int(reader.number("image_size", whole=True, low=1, high=_LARGEST_PICTURE)),
        center_crop=reader.number("center_crop", low=0.01, high=1),
        short_side=int(reader.number("short_side", whole=True, low=1, high=100 * _LARGEST_PICTURE)),
        mean=reader.numbers("mean", count=channels, low=-1000),
        std=reader.numbers("std", count=channels, low=1e-6),
        sha256=reader.text("sha256"),
        # Absent in models exported before there was a choice.
        task=reader.choice("task", get_args(Task), default="classification"),
        scores=reader.choice("scores", get_args(Scores), default="softmax"),
        activation=reader.choice("activation", get_args(Activation), default="auto"),
    )
    try:
        zoo.check_model_settings(model_settings(description))
    except UserError as error:
        raise UserError(error.what, where=f"{path}: {error.where}", got=error.got, hint=error.hint) from error
    known = description.to_json()
    return Description(
        **{name: getattr(description, name) for name in Description.__dataclass_fields__ if name != "facts"},
        facts={name: value for name, value in document.items() if name not in known},
    )


def model_settings(description: Description) -> TrialSettings:
    """The settings that give a network of this description its shape."""
    return TrialSettings(
        model=description.architecture,
        image_size=description.image_size,
        activation=cast("Activation", description.activation),
        weights="none",
    )


def model_folder(path: Path) -> Path:
    """The exported model that a path means: the folder itself, or the best model of a sweep's folder.

    Raises:
        UserError: the folder is a sweep's that has no exported model yet.
    """
    if (path / DESCRIPTION).is_file() or not (path / "sweep.json").is_file():
        return path
    best = path / BEST
    if not (best / DESCRIPTION).is_file():
        raise UserError(
            "this sweep has no exported model yet", where=str(path), hint=f"tune export {shlex.quote(str(path))}"
        )
    return best


def _read_json(path: Path) -> dict[str, Any]:
    hint = "tune export RUN writes one"
    try:
        if path.stat().st_size > _LARGEST_DESCRIPTION:
            raise UserError("too large to be a model's description", where=str(path))
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            "no exported model here", where=str(path.parent), expected=f"a folder with {DESCRIPTION}", hint=hint
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path), hint=hint) from error
    if not isinstance(document, dict):
        raise UserError("no description of a model", where=str(path), got=type(document).__name__, hint=hint)
    return document


class _Fields:
    """Reads a document's fields, each checked for type and range."""

    def __init__(self, document: dict[str, Any], *, where: str) -> None:
        self._document, self._where = document, where

    def text(self, name: str) -> str:
        value = self._document.get(name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "text")
        return value

    def choice(self, name: str, choices: tuple[Any, ...], *, default: str) -> Any:
        value = self._document.get(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}")
        return value

    def classes(self) -> tuple[str, ...]:
        value = self._document.get("classes")
        texts = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
        if not texts or not 1 <= len(value) <= _MOST_CLASSES or len(set(value)) != len(value):  # type: ignore[arg-type]
            raise self._wrong("classes", f"a list of 1 to {_MOST_CLASSES} different names")
        return tuple(value)  # type: ignore[arg-type]

    def number(self, name: str, *, low: float, high: float, whole: bool = False) -> float:
        value = self._document.get(name)
        if not _is_number(value) or (whole and not isinstance(value, int)) or not low <= value <= high:
            raise self._wrong(name, f"a {'whole ' if whole else ''}number from {low:g} to {high:g}")
        return value

    def numbers(self, name: str, *, count: int, low: float) -> tuple[float, ...]:
        value = self._document.get(name)
        good = isinstance(value, list) and all(_is_number(number) and low <= number <= 1000 for number in value)
        if not good or len(value) != count:  # type: ignore[arg-type]
            raise self._wrong(name, f"{count} numbers, one a channel, from {low:g} to 1000")
        return tuple(float(number) for number in value)  # type: ignore[union-attr]

    def _wrong(self, name: str, expected: str) -> UserError:
        got = self._document.get(name, "nothing")
        return UserError("cannot be right", where=f"{self._where}: {name}", got=got, expected=expected)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
