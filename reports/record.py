"""A run's record, `sweep.json`: read, and checked for all that its readers rely on.

    record = read_record(Path("runs/resnet18/sweep.json"))
    record["spec"]["search"]["metric"]

More keys than are named here may be there, and stay as they are.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from trainables.errors import UserError

SCHEMA = 1
METRICS: dict[str, Literal["max", "min"]] = {"val_accuracy": "max", "val_loss": "min"}

_Json = dict[str, Any]


class _Search(TypedDict):
    metric: Literal["val_accuracy", "val_loss"]
    trials: int
    hours: float | None


class _Spec(TypedDict):
    """As `tuning.spec.Spec.to_json` writes it; what only the driver reads is left to it."""

    data: _Json
    trial: _Json
    space: dict[str, _Json]
    search: _Search
    resources: _Json
    defaults: _Json


class _Data(TypedDict):
    fingerprint: str
    short_side: int
    counts: dict[str, dict[str, int]]
    skipped: list[list[str]]


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
    classes: list[str]
    channels: Literal[1, 3]
    data: _Data
    weights: dict[str, dict[str, _Weights]]
    versions: dict[str, str | None]


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
    epochs = {**spec["defaults"], **spec["trial"]}.get("epochs")
    if "epochs" not in spec["space"] and not isinstance(epochs, int):
        raise UserError("damaged: it lacks spec.defaults.epochs", where=where, got=epochs, hint=hint)
