"""Change a sweep file from the command line, before it is checked.

    sets = ("lr=0.01", "space.gamma={low: 0.1, high: 0.5}", "search.trials=5")
    file = apply_sets(read_yaml("my.yaml"), sets, base=Path())

What the command line says wins: `lr=0.01` or `trial.lr=0.01` fixes a setting that the file explores, also in the trials
of `search.first`, and `space.lr=…` explores one that the file fixes. Values are read as in the file.
"""

import copy
import dataclasses
import os
from pathlib import Path
from typing import Any

from trainables.data.sources import DataSettings
from trainables.errors import UserError
from trainables.files import expanded
from trainables.settings import NAMED_WEIGHTS, TrialSettings
from trainables.urls import is_url
from tuning.checking import SweepFileError, did_you_mean, hints_of
from tuning.first_trials import without
from tuning.spec import ResourceSettings, SearchSettings
from tuning.yaml_file import YamlFile, dotted, parse

SECTIONS = ("data", "trial", "space", "search", "resources")
_TRIAL_NAMES = {setting.name for setting in dataclasses.fields(TrialSettings)}
_OTHERS = {"data": DataSettings, "search": SearchSettings, "resources": ResourceSettings}
_PATHS = (
    ("data", "path"),
    ("data", "root"),
    ("trial", "weights"),
    ("space", "weights"),
    ("space", "weights", "choices"),
)
_FIRST = ("search", "first")
OTHER_PLACE = {"trial": "space", "space": "trial"}


def apply_sets(file: YamlFile, sets: tuple[str, ...] | list[str], *, base: Path) -> YamlFile:
    """The file with each `section.setting=value` put in, in their order. UserError for those that are no such.

    base: what the file's relative paths are seen from. Those given here are seen from the current folder.
    """
    errors = []
    for text in sets:
        try:
            file = _applied(file, text, base)
        except UserError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else SweepFileError(errors)
    return file


def _applied(file: YamlFile, text: str, base: Path) -> YamlFile:
    option = f"--set {_shown(text)}"
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise UserError("not a setting", where=option, expected="SECTION.SETTING=VALUE, such as trial.lr=0.01")
    data, _ = parse(value, name=option)
    path = _path(name, option)
    if path in _PATHS:
        data = _seen_from(base, data)
    elif path == _FIRST and isinstance(data, list):
        data = [
            {**point, "weights": _seen_from(base, point["weights"])}
            if isinstance(point, dict) and "weights" in point
            else point
            for point in data
        ]
    return put(file, path, data, option=option)


def _seen_from(base: Path, value: Any) -> Any:
    """A relative path, or those among choices, as `base` sees them."""
    if isinstance(value, list):
        return [_seen_from(base, choice) for choice in value]
    if isinstance(value, dict) and "choices" in value:
        return {**value, "choices": _seen_from(base, value["choices"])}
    if not isinstance(value, str) or value in ("", *NAMED_WEIGHTS) or is_url(value):
        return value
    if expanded(value).is_absolute() or value.startswith("~") or base.resolve() == Path.cwd():
        return value
    return os.path.relpath(Path.cwd() / value, base.resolve())


def put(file: YamlFile, path: tuple[str, ...], value: Any, *, option: str) -> YamlFile:
    """The file with `value` at `path` (section first); `option` is what errors name in place of a line."""
    data = copy.deepcopy(file.data)
    lines, changed = file.lines, dict(file.changed)
    other = data.get(OTHER_PLACE.get(path[0], ""))
    if isinstance(other, dict) and other.pop(path[1], None) is not None and path[0] == "trial":
        _leave_out_of_first(data, path[1])
    holder = data
    for depth, part in enumerate(path[:-1], start=1):
        if holder.get(part) is None:
            holder[part] = {}
            changed.setdefault(path[:depth], option)
        holder = holder[part]
        if not isinstance(holder, dict):
            raise UserError(f"{dotted(path[:depth])} has no settings of its own in {file.path}", where=option)
    holder[path[-1]] = value
    lines = {key: line for key, line in lines.items() if key[: len(path)] != path}
    changed = {key: earlier for key, earlier in changed.items() if key[: len(path)] != path} | {path: option}
    return YamlFile(file.path, data, lines, changed)


def _leave_out_of_first(data: dict[str, Any], setting: str) -> None:
    """Takes a setting that is not explored any more out of the trials that the sweep begins with; each stays once."""
    search = data.get("search")
    if not isinstance(search, dict):
        return
    points = search.get("first")
    if isinstance(points, list) and all(isinstance(point, dict) for point in points):
        search["first"] = without(points, {setting})


def _shown(text: str, *, limit: int = 100) -> str:
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _path(name: str, option: str) -> tuple[str, ...]:
    first, *rest = name.split(".")
    if first in SECTIONS and rest and all(rest):
        return (first, *rest)
    if first in _TRIAL_NAMES and not rest:
        return ("trial", first)
    if first in SECTIONS:
        raise UserError("which setting of that section?", where=option, expected=f"{first}.SETTING=VALUE")
    raise UserError(
        "no such section or trial setting",
        where=option,
        got=name,
        expected=f"one of {', '.join(f'{section}.…' for section in SECTIONS)}, or a trial setting",
        hint=_meant(name) or did_you_mean(first, [*SECTIONS, *_TRIAL_NAMES]),
    )


def _meant(name: str) -> str | None:
    """A setting of another section has to be called by it."""
    places = [f"{section}.{name}" for section, record in _OTHERS.items() if name in hints_of(record)]
    return f"did you mean {' or '.join(places)}?" if places else None
