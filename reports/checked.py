"""What is read from a run's folder, checked for all that its readers rely on: it may be damaged, or a stranger's.

    check(record, TypeAdapter(Record), where="runs/resnet18/sweep.json")
    check_trial(trial, epochs, where="runs/resnet18/journal.log")

Each raises UserError with the first thing that is wrong. More keys than are checked may be there.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError
from pydantic_core import SchemaValidator
from pydantic_core import core_schema as schema

from trainables.errors import UserError
from trainables.tasks import EPOCH_FIELDS

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_HINT = "restore the file from a copy"


class Checker(Protocol):
    """Pydantic's two kinds of validators."""

    def validate_python(self, value: Any, /, *, strict: bool) -> Any: ...


def check(value: Any, against: Checker, *, where: str, of: str = "") -> None:
    """UserError where a value is not what it should be. `of` is what its keys are led by in the message."""
    try:
        against.validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = of + ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise UserError(f"damaged: it lacks {key}", where=where, hint=_HINT) from None
        raise UserError(
            f"damaged: {key} cannot be right ({first['msg']})", where=where, got=first["input"], hint=_HINT
        ) from None


def check_trial(trial: "FrozenTrial", epochs: Sequence[Any], *, where: str) -> None:
    """UserError where a trial's parameters or attributes are damaged, or its epochs, which are some of the latter."""
    of = f"trial {trial.number}, "
    check(trial.user_attrs, _TRIAL, of=of, where=where)
    check(epochs, _EPOCHS, of=f"{of}epochs.", where=where)
    check(trial.params, _PARAMS, of=f"{of}parameters.", where=where)
    try:
        trial._validate()
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"damaged: trial {trial.number} cannot be right ({error})", where=where, hint=_HINT) from error


def check_study(attributes: Mapping[str, Any], *, where: str) -> None:
    """UserError where a study's attributes are damaged."""
    check(attributes, _STUDY, of="study.", where=where)


_COUNT, _TEXT = schema.int_schema(ge=0), schema.str_schema()
_SECONDS = schema.float_schema(ge=0, allow_inf_nan=False)
_NUMBER = schema.nullable_schema(schema.float_schema())  # of a trial that diverges it may be no finite one
_OF_EPOCHS = {
    "epoch": schema.int_schema(ge=1),
    "parameters": _COUNT,
    "trainable": _COUNT,
    "shared": _TEXT,
    "precision": _TEXT,
    **dict.fromkeys(("seconds", "seconds_sharing", "seconds_validating", "elapsed"), _SECONDS),
}


def _table(fields: Mapping[str, schema.CoreSchema], *, needed: Sequence[str] = ()) -> schema.TypedDictSchema:
    return schema.typed_dict_schema(
        {name: schema.typed_dict_field(kind, required=name in needed) for name, kind in fields.items()}
    )


_TRIAL = SchemaValidator(
    _table(
        {
            "settings": _table({"model": _TEXT, "weights": _TEXT, "epochs": schema.int_schema(ge=1)}, needed=["model"]),
            "error": schema.nullable_schema(_TEXT),
            "attempts": schema.list_schema(_TEXT),
            "order": _COUNT,
        }
    )
)
_PARAMS = SchemaValidator(schema.dict_schema(_TEXT))
_EPOCHS = SchemaValidator(
    schema.tuple_variable_schema(
        _table({**dict.fromkeys(EPOCH_FIELDS, _NUMBER), **_OF_EPOCHS}, needed=["epoch", "seconds"])
    )
)
_STUDY = SchemaValidator(
    _table(
        {
            "outcome": schema.nullable_schema(_TEXT),
            "elapsed": _SECONDS,
            "forgiven": _COUNT,
            "fits_a_gpu": schema.nullable_schema(_COUNT),
        }
    )
)
