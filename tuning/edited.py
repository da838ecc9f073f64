"""A run's sweep file after somebody edited it: what the sweep is then.

    spec = edited(spec, before=parse(record["file"], name="sweep.yaml")[0], after=read_yaml(run / "sweep.yaml"),
                  record="runs/my/sweep.json")

What counts is what was changed in the file. All else stays as the sweep has it, with what the command line said when it
began, and the whole is checked as any sweep file is.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainables.data.sources import DataSettings
from tuning.overrides import OTHER_PLACE, SECTIONS
from tuning.space_file import entry_of
from tuning.spec import ResourceSettings, SearchSettings, Spec
from tuning.spec_file import read_spec
from tuning.yaml_file import KeyPath, YamlFile


def edited(spec: Spec, *, before: Mapping[str, Any], after: YamlFile, record: str) -> Spec:
    """The sweep with what differs between the file as it was and as it is. `record` is what errors name where a value
    is not from the file. UserError, one line for each mistake, for what is no sweep then."""
    edits = {section: _edits(_settings(before, section), _settings(after.data, section)) for section in SECTIONS}
    # What is no section with settings is told by whoever reads it.
    odd = {
        name: value
        for name, value in after.data.items()
        if name not in SECTIONS or (value is not None and not isinstance(value, dict))
    }
    if not any(edits.values()) and not odd:
        return spec
    data = as_written(spec)
    if "first" not in edits["search"]:
        data["search"].pop("first", None)  # these trials are in the record
    for section, changes in edits.items():
        for name, value in changes.items():
            data[section].pop(name, None)
            if value is _GONE:
                continue
            data[section][name] = value
            other = OTHER_PLACE.get(section)
            if other and name not in _settings(after.data, other):
                data[other].pop(name, None)
    changed: dict[KeyPath, str] = {
        (section, name): record
        for section in SECTIONS
        for name in data[section]
        if (section, name) not in after.lines or _overruled(data, after, section, name)
    }
    lines = {key: line for key, line in after.lines.items() if key[:2] not in changed}
    read = read_spec(YamlFile(after.path, {**data, **odd}, lines, changed), base=spec.base)
    search = read.search if "first" in edits["search"] else dataclasses.replace(read.search, first=spec.search.first)
    return dataclasses.replace(read, search=search, defaults=spec.defaults)


def as_written(spec: Spec) -> dict[str, dict[str, Any]]:
    """The sections of a sweep file that says all this, but for what is the default anyway."""
    plain = spec.to_json()
    defaults = {"data": DataSettings(), "search": SearchSettings(), "resources": ResourceSettings()}
    return {
        "trial": plain["trial"],
        "space": {name: entry_of(dimension) for name, dimension in spec.space.items()},
        **{
            section: {name: value for name, value in plain[section].items() if value != getattr(default, name)}
            for section, default in defaults.items()
        },
    }


_GONE = object()


def _settings(data: Mapping[str, Any], section: str) -> dict[str, Any]:
    settings = data.get(section)
    return settings if isinstance(settings, dict) else {}


def _edits(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a section's settings were changed to; `_GONE` for those taken out."""
    changes = {name: value for name, value in after.items() if repr(before.get(name, _GONE)) != repr(value)}
    return {**changes, **{name: _GONE for name in before if name not in after}}


def _overruled(data: Mapping[str, Any], after: YamlFile, section: str, name: str) -> bool:
    """Whether the sweep has another value than the file: the command line said so."""
    return section != "space" and data[section][name] != after.data[section][name]
