"""A run's record, `sweep.json`: read, and checked for all that its readers rely on.

    record = read_record(Path("runs/resnet18/sweep.json"))
    record["spec"]["search"]["metric"]

More keys than are named here may be there, and stay as they are.
"""

import json
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from trainables.data.catalog import Task
from trainables.errors import UserError
from trainables.tasks import Metric

RECORD = "sweep.json"
SCHEMA = 1
# What a sweep may be judged by, and whether more or less of it is better.
METRICS: dict[str, Literal["max", "min"]] = {
    "val_accuracy": "max",
    "val_top5": "max",
    "val_balanced_accuracy": "max",
    "val_f1": "max",
    "val_auroc": "max",
    "val_map": "max",
    "val_mae": "min",
    "val_rmse": "min",
    "val_r2": "max",
    "val_loss": "min",
}

_Json = dict[str, Any]


class _Search(TypedDict):
    metric: Metric
    trials: int
    hours: float | None
    storage: NotRequired[str | None]


class _Spec(TypedDict):
    """As `tuning.spec.Spec.to_json` writes it; what only the driver reads is left to it."""

    data: _Json
    trial: _Json
    space: dict[str, _Json]
    search: _Search
    resources: _Json
    defaults: _Json


class _Normalization(TypedDict):
    """Of the training pictures, by channel, for values 0 to 1."""

    mean: list[float]
    std: list[float]


class _Data(TypedDict):
    fingerprint: str
    short_side: int
    counts: dict[str, dict[str, int]]
    skipped: list[list[str]]
    pictures: NotRequired[dict[str, int]]
    normalization: NotRequired[_Normalization]
    reading_s: NotRequired[float]  # finding and decoding the pictures, before the sweep's clock


class _Weights(TypedDict):
    kind: Literal["imagenet", "none", "file"]
    path: str | None
    digest: str | None
    note: str


class _Record(TypedDict):
    created: str
    file: str
    base: str
    spec: _Spec
    task: NotRequired[Task]
    classes: list[str]
    channels: Literal[1, 3]
    data: _Data
    weights: dict[str, dict[str, _Weights]]
    sharing_bytes: NotRequired[int]
    versions: dict[str, str | None]
    study: NotRequired[str]


_CHECK = TypeAdapter(_Record)


def read_record(path: Path) -> dict[str, Any]:
    """The document, whole.

    Raises:
        UserError: the file is not there, cannot be read, is of another version, or lacks something.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no sweep in this folder", where=str(path.parent), expected=f"a {path.name}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path)) from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise UserError(
            "written by another version of tuneyard",
            where=str(path),
            got=record.get("schema") if isinstance(record, dict) else type(record).__name__,
            expected=f"schema {SCHEMA}",
        )
    _check(record, where=str(path))
    record.setdefault("task", "classification")  # as were all sweeps before there was a choice
    return record


def _check(record: dict[str, Any], *, where: str) -> None:
    hint = "restore the file from a copy"
    try:
        _CHECK.validate_python(record, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise UserError(f"damaged: it lacks {key}", where=where, hint=hint) from None
        raise UserError(
            f"damaged: {key} cannot be right ({first['msg']})", where=where, got=first["input"], hint=hint
        ) from None
    spec = record["spec"]
    if spec["search"].get("storage") is not None and "study" not in record:
        raise UserError("damaged: it lacks study", where=where, hint=hint)
    epochs = {**spec["defaults"], **spec["trial"]}.get("epochs")
    if "epochs" not in spec["space"] and not isinstance(epochs, int):
        raise UserError("damaged: it lacks spec.defaults.epochs", where=where, got=epochs, hint=hint)
