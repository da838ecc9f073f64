"""A run's record, `sweep.json`: read, and checked for all that its readers rely on.

    record = read_record(Path("runs/resnet18/sweep.json"))
    record["spec"]["search"]["metric"]

More keys than are named here may be there, and stay as they are.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, get_type_hints

from annotated_types import Ge, Gt, Le, Len
from pydantic import AllowInfNan, Discriminator, TypeAdapter
from typing_extensions import TypedDict

from reports.checked import check
from trainables.data.catalog import Task
from trainables.data.sources import DataSettings, Source
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
_Count = Annotated[int, Ge(0), Le(2**53)]
_Number = Annotated[float, AllowInfNan(False)]
_Value = bool | int | _Number | str | None
_When = dict[str, list[_Value]] | None

_settings = {**get_type_hints(DataSettings, include_extras=True), "source": Required[Source]}
_DataSettings = TypedDict("_DataSettings", _settings, total=False)  # type: ignore[misc]


class _Range(TypedDict):
    kind: Literal["float", "int"]
    low: _Number
    high: _Number
    when: _When


class _Choice(TypedDict):
    kind: Literal["choice"]
    values: list[_Value]
    when: _When


class _Search(TypedDict):
    metric: Metric
    trials: _Count
    hours: Annotated[_Number, Gt(0)] | None
    storage: NotRequired[str | None]


class _Spec(TypedDict):
    """As `tuning.spec.Spec.to_json` writes it; what only the driver reads is left to it."""

    data: _DataSettings
    trial: _Json
    space: dict[str, Annotated[_Range | _Choice, Discriminator("kind")]]
    search: _Search
    resources: _Json
    defaults: _Json


class _Normalization(TypedDict):
    """Of the training pictures, by channel, for values 0 to 1."""

    mean: list[_Number]
    std: list[_Number]


class _Data(TypedDict):
    fingerprint: str
    short_side: _Count
    counts: dict[str, dict[str, _Count]]
    skipped: list[Annotated[list[str], Len(2, 2)]]
    pictures: NotRequired[dict[str, _Count]]
    normalization: NotRequired[_Normalization]
    reading_s: NotRequired[_Number]  # finding and decoding the pictures, before the sweep's clock


class _Weights(TypedDict):
    kind: Literal["imagenet", "none", "file"]
    path: str | None
    digest: str | None
    note: str


class _Hardware(TypedDict):
    cpus: NotRequired[_Count]
    gpus: NotRequired[list[str]]


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
    sharing_bytes: NotRequired[_Count | None]
    versions: dict[str, str | None]
    hardware: NotRequired[_Hardware | None]
    git: NotRequired[str | None]
    study: NotRequired[str]
    notes: NotRequired[list[str]]
    initialisation: NotRequired[list[str]]
    changes: NotRequired[list[str]]


class _InDatabase(TypedDict):
    study: str


class _FixedEpochs(TypedDict):
    epochs: Annotated[_Count, Ge(1)]


_RECORD, _IN_DATABASE, _FIXED_EPOCHS = TypeAdapter(_Record), TypeAdapter(_InDatabase), TypeAdapter(_FixedEpochs)


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
    check(record, _RECORD, where=where)
    spec = record["spec"]
    if spec["search"].get("storage") is not None:
        check(record, _IN_DATABASE, where=where)
    if "epochs" not in spec["space"]:
        check({**spec["defaults"], **spec["trial"]}, _FIXED_EPOCHS, where=where, of="spec.defaults.")
