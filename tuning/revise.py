"""Takes up a sweep with changes: those that keep its history valid are made, others are refused.

    for line in revise(run, Revision(trials=50)):
        print(line)                     # what is different from when the sweep was last at work

The user may also edit the `sweep.yaml` in the run's folder. What counts there is what was changed in it: the record
has the file as it was, and the command line's options of the time stay in force.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.home import address_of
from reports.ledger import Ledger
from reports.record import RECORD
from reports.sweep import Sweep
from trainables.errors import UserError
from trainables.files import write_json
from tuning.crosschecks import advice
from tuning.space import Choice, Dimension, contains, distribution
from tuning.spec import Spec
from tuning.spec_file import load_spec
from tuning.versions import current_versions

# What may change without making the trials there are any less comparable. The pictures' content is checked by itself.
FREE: dict[str, set[str]] = {
    "search": {"trials", "hours", "retries", "keep", "max_same_errors", "logging"},
    "resources": {"cpus_per_trial", "gpus_per_trial", "workers", "shared_gb"},
    "data": {"path", "root", "download", "on_bad_image"},
    "trial": set(),
}


@dataclass(frozen=True)
class Revision:
    """What the command line asks for; None leaves it as it is."""

    trials: int | None = None
    hours: float | None = None
    workers: int | None = None


def revise(run: Path, revision: Revision) -> list[str]:
    """Brings a run's record up to date; the caller holds the run.

    Returns:
        What differs from when the sweep was last at work, a line each.

    Raises:
        UserError: a change that would make the history worthless, or fewer trials than there are.
    """
    sweep = Sweep.open(run)
    record = sweep.record
    spec = Spec.from_json(record["spec"], base=Path(record["base"]))
    text = (run / "sweep.yaml").read_text(encoding="utf-8")
    revised = spec if text == record["file"] else _edited(spec, record["file"], run / "sweep.yaml")
    revised = _asked(revised, revision)
    changes = _changes(spec, revised)
    ledger = sweep.ledger(writable=True)
    _check(changes, revised, ledger, record, run)
    if spec.space != revised.space:
        ledger = ledger.with_distributions({name: distribution(d) for name, d in revised.space.items()})
    if ledger.outcome() == "errors":
        ledger.forgive_errors()
    versions = current_versions()
    lines = [f"{change.where} was {change.old}, is {change.new}" for change in changes]
    lines += [
        f"{name} was {record['versions'].get(name)}, is {now}: later epochs may differ in their last digits"
        for name, now in versions.items()
        if record["versions"].get(name) != now
    ]
    if lines or text != record["file"]:
        outdated = advice(spec)
        notes = [*(note for note in record["notes"] if note not in outdated), *advice(revised)]
        history = [*record.get("changes", []), *lines]
        changed = {"spec": revised.to_json(), "file": text, "versions": versions, "changes": history, "notes": notes}
        write_json(run / RECORD, {**record, **changed})
    return lines


@dataclass(frozen=True)
class _Change:
    where: str
    old: Any
    new: Any
    allowed: bool


def _edited(spec: Spec, before: str, file: Path) -> Spec:
    """The sweep with what was changed in its file; the command line's options of the time stay where nothing was."""
    original = file.with_name(".sweep.yaml.before")
    original.write_text(before, encoding="utf-8")
    try:
        old, new = load_spec(original, base=spec.base), load_spec(file, base=spec.base)
    finally:
        original.unlink()
    sections = {
        name: dataclasses.replace(getattr(spec, name), **_differences(getattr(old, name), getattr(new, name)))
        for name in ("data", "search", "resources")
    }
    return dataclasses.replace(
        spec,
        **sections,
        trial=_merged(spec.trial, old.trial, new.trial),
        space=_merged(spec.space, old.space, new.space),
    )


def _differences(old: Any, new: Any) -> dict[str, Any]:
    return {
        field.name: getattr(new, field.name)
        for field in dataclasses.fields(old)
        if getattr(old, field.name) != getattr(new, field.name)
    }


def _merged(now: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    gone = old.keys() - new.keys()
    changed = {name: value for name, value in new.items() if old.get(name) != value}
    return {**{name: value for name, value in now.items() if name not in gone}, **changed}


def _asked(spec: Spec, revision: Revision) -> Spec:
    search, resources = spec.search, spec.resources
    return dataclasses.replace(
        spec,
        search=dataclasses.replace(
            search, trials=revision.trials or search.trials, hours=revision.hours or search.hours
        ),
        resources=dataclasses.replace(resources, workers=revision.workers or resources.workers),
    )


def _changes(old: Spec, new: Spec) -> list[_Change]:
    before, after = old.to_json(), new.to_json()
    found = []
    for section, free in FREE.items():
        for name in sorted(before[section].keys() | after[section].keys()):
            was, now = before[section].get(name, "not set"), after[section].get(name, "not set")
            if was != now:
                found.append(_Change(f"{section}.{name}", was, now, allowed=name in free))
    for name in sorted(old.space.keys() | new.space.keys()):
        earlier, later = old.space.get(name), new.space.get(name)
        if earlier != later:
            allowed = earlier is not None and later is not None and is_wider(earlier, later)
            found.append(_Change(f"space.{name}", _shown(earlier), _shown(later), allowed=allowed))
    return found


def is_wider(old: Dimension, new: Dimension) -> bool:
    """Whether a dimension allows all that it did, on the same scale and under the same condition."""
    if old.when != new.when:
        return False
    if isinstance(old, Choice) and isinstance(new, Choice):
        return all(contains(new.values, value) for value in old.values)
    if isinstance(old, Choice) or isinstance(new, Choice) or type(old) is not type(new):
        return False
    same_scale = old.log == new.log and old.step == new.step
    on_grid = not old.step or float((old.low - new.low) / old.step).is_integer()
    return same_scale and on_grid and new.low <= old.low and new.high >= old.high


def _check(changes: list[_Change], revised: Spec, ledger: Ledger, record: dict[str, Any], run: Path) -> None:
    refused = [change for change in changes if not change.allowed]
    if refused:
        listed = "; ".join(f"{change.where} was {change.old}, is {change.new}" for change in refused)
        raise UserError(
            f"this would make the sweep's history worthless: {listed}",
            where=f"sweep.yaml of {address_of(run)}",
            hint="put it back, or start another sweep with --name",
        )
    count = ledger.count()
    if revised.search.trials < count:
        raise UserError(
            "the sweep has more trials than that", where="--trials", got=revised.search.trials, expected=f"≥ {count}"
        )


def _shown(dimension: Dimension | None) -> str:
    if dimension is None:
        return "not explored"
    if isinstance(dimension, Choice):
        return f"[{', '.join(str(value) for value in dimension.values)}]"
    return f"{dimension.low:g} to {dimension.high:g}"
