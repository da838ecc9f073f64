"""Check values against the type hints of a settings record, and collect what is wrong.

    problems = Problems()
    value = checked(1e-3, hints_of(TrialSettings)["lr"])         # raises UnfitError where the value does not fit
    problems.tell(file, ("trial", "lr"), "out of range", got=-1)
    problems.at(("trial", "lr"))                                 # True: what depends on it need not be looked at
    problems.raise_any()

Pydantic does the checking, in strict mode; what it says is put into one line for the user.
"""

import dataclasses
import difflib
import functools
import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trainables.errors import UserError
from trainables.settings import in_words
from trainables.wording import counted
from tuning.yaml_file import KeyPath, YamlFile, dotted

MAX_SHOWN = 20
MAX_WHOLE = 2**53  # whole numbers up to here are exact in every file and library on the way
_LIMITS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}
# What others call a setting, where the two words are too unlike to be found by likeness.
_OTHER_NAMES = {"learning_rate": "lr", "arch": "model", "network": "model", "wd": "weight_decay", "bs": "batch_size"}
_NUMBER = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?")
_SPOKEN = {"yes": "true", "on": "true", "no": "false", "off": "false", "True": "true", "False": "false"}


class Problems:
    """All mistakes of one file; `raise_any` raises them as one `SweepFileError`, in the file's order.

    A mistake is told once: what depends on a setting that is wrong is looked at when that is mended.
    """

    def __init__(self) -> None:
        self._found: list[tuple[float, UserError]] = []
        self._keys: set[KeyPath] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def tell(self, file: YamlFile, key: KeyPath, what: str, **facts: Any) -> None:
        """A mistake at this place in the file; `facts` as of a `UserError`."""
        self.add(UserError(f"{dotted(key)}: {what}", where=file.where(key), **facts), file, key)

    def add(self, error: UserError, file: YamlFile, key: KeyPath) -> None:
        """A mistake at this place that says by itself where it is."""
        self._found.append((file.line(key), error))
        self.suspect(key)

    def suspect(self, key: KeyPath) -> None:
        """Has `at` say that something is wrong there, without a word to the user."""
        self._keys.add(key)

    def at(self, *keys: KeyPath) -> bool:
        """Whether something is wrong with one of these sections or settings, or with a part or the whole of it."""
        return any(found[: len(key)] == key[: len(found)] for key in keys for found in self._keys)

    def with_setting(self, *names: str) -> bool:
        """Whether something is wrong with one of these settings of a trial, fixed or explored."""
        return self.at(*((section, name) for section in ("trial", "space") for name in names))

    def raise_any(self) -> None:
        errors = [error for _, error in sorted(self._found, key=lambda entry: entry[0])]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise SweepFileError(errors)


class SweepFileError(UserError):
    """Several mistakes; `str(error)` has one line for each, at most 20, and counts the rest."""

    def __init__(self, errors: list[UserError]) -> None:
        super().__init__(errors[0].what, where=errors[0].where)
        self.errors = errors
        lines = [str(error) for error in errors[:MAX_SHOWN]]
        if len(errors) > MAX_SHOWN:
            lines.append(f"… and {counted(len(errors) - MAX_SHOWN, 'more mistake')}")
        self.args = ("\n".join(lines),)


class UnfitError(Exception):
    """A value does not fit its setting: what is wrong, what was expected, what to do."""

    def __init__(self, what: str, *, expected: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.expected, self.hint = what, expected, hint


class Shown:
    """A value as the user wrote it: `nothing` for an empty one, `true` for True."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if self.value is None:
            return "nothing"
        if isinstance(self.value, bool):
            return str(self.value).lower()
        if isinstance(self.value, (list, tuple)):
            return f"[{', '.join(repr(Shown(value)) for value in self.value[:20])}]"
        if isinstance(self.value, dict):
            return "{" + ", ".join(f"{key}: {Shown(value)!r}" for key, value in list(self.value.items())[:20]) + "}"
        return repr(self.value)

    __str__ = __repr__


@functools.cache
def hints_of(record: type) -> dict[str, Any]:
    """Field name → Annotated hint of a settings dataclass."""
    hints = get_type_hints(record, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


def checked(value: Any, hint: Any) -> Any:
    """`value` in the setting's own type (1e2 is whole, 1 is a number, "3" and true are neither). Raises UnfitError."""
    kinds = kinds_of(hint)
    if isinstance(value, int) and abs(value) > MAX_WHOLE:
        raise UnfitError("out of range", expected=f"at most {MAX_WHOLE:,} either way from 0")
    if isinstance(value, float) and int in kinds and float not in kinds and value.is_integer():
        return checked(int(value), hint)
    try:
        return _adapter(hint).validate_python(value)
    except ValidationError as error:
        found = {entry["type"] for entry in error.errors(include_url=False)}
        choices = _choices(hint)
        what = _what(value, found, choices)
        raise UnfitError(what, expected=in_words(hint), hint=_advice(value, hint, choices)) from None


def kinds_of(hint: Any) -> frozenset[type]:
    """The plain types a hint admits: int, float, bool, str, NoneType; Literal counts as `Literal`'s values' types."""
    origin = get_origin(hint)
    if origin is Annotated:
        return kinds_of(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return frozenset().union(*(kinds_of(part) for part in get_args(hint)))
    if origin is Literal:
        return frozenset(type(choice) for choice in get_args(hint))
    return frozenset({hint})


def is_number(hint: Any) -> bool:
    """Whether a range can fill the setting."""
    return bool(kinds_of(hint) & {int, float})


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The likeliest of `names`, or None where none is near."""
    known = {right.lower(): right for right in names}
    alias = _OTHER_NAMES.get(name.lower())
    if alias in known:
        return known[alias]
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return known[near[0]] if near else None


def did_you_mean(name: Any, names: Iterable[str]) -> str | None:
    """`did you mean 'adam'?`, or None where nothing is near."""
    near = nearest(name, list(names)) if isinstance(name, str) else None
    return f"did you mean {near!r}?" if near else None


@functools.cache
def _adapter(hint: Any) -> TypeAdapter:
    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def _what(value: Any, found: set[str], choices: list[str]) -> str:
    if "finite_number" in found:
        return "not a finite number"
    if isinstance(value, str) and choices:
        return "no such choice"
    if found & _LIMITS and not isinstance(value, (bool, str)):
        return "out of range"
    return "wrong type"


def _advice(value: Any, hint: Any, choices: list[str]) -> str | None:
    if isinstance(value, str):
        if bool in kinds_of(hint) and value in _SPOKEN:
            return f"write {_SPOKEN[value]}"
        if is_number(hint) and _NUMBER.fullmatch(value):
            return "write it without quotes"
        return did_you_mean(value, choices)
    if isinstance(value, (bool, int, float)) and kinds_of(hint) <= {str, types.NoneType} and not choices:
        return "put it in quotes"
    if isinstance(value, (list, dict)):
        return "what a sweep explores stands under `space:`" if is_number(hint) or choices else None
    return None


def _choices(hint: Any) -> list[str]:
    origin = get_origin(hint)
    if origin is Annotated:
        return _choices(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return [choice for part in get_args(hint) for choice in _choices(part)]
    return [choice for choice in get_args(hint) if isinstance(choice, str)] if origin is Literal else []
