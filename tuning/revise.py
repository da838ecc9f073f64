"""Takes up a sweep with changes: those that keep its history valid are made, others are refused.

    revised = revise(run, Revision(trials=50))
    print(revised.lines)                # what is different from when the sweep was last at work
    revised.keep()                      # once all that can be wrong with it was looked at

The user may also edit the `sweep.yaml` in the run's folder. What counts there is what was changed in it: the record
has the file as it was, and the command line's options of the time stay in force.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from reports.home import address_of
from reports.ledger import Ledger
from reports.record import RECORD
from reports.sweep import Sweep
from trainables.errors import UserError
from trainables.files import write_json
from tuning.crosschecks import advice
from tuning.edited import edited
from tuning.space import Choice, Dimension, contains, distribution, leads_to
from tuning.space_file import condition_in_words, value_in_words, words_for
from tuning.spec import Spec
from tuning.versions import current_versions
from tuning.yaml_file import of_text, parse, read_text

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


@dataclass(frozen=True)
class Revised:
    """A sweep with its changes: what it is then, and what differs from when it was last at work, a line each.

    Nothing of it is in the run's folder before `keep`.
    """

    spec: Spec
    lines: list[str]
    _run: Path
    _text: str

    def keep(self) -> None:
        """Brings the run's record up to date; from then on the sweep is this one. The caller holds the run."""
        sweep = Sweep.open(self._run)
        record, before = sweep.record, Spec.of_record(sweep.record)
        ledger = sweep.ledger(writable=True)
        if before.space != self.spec.space:
            ledger = ledger.with_distributions({name: distribution(d) for name, d in self.spec.space.items()})
        if ledger.outcome() == "errors":
            ledger.forgive_errors()
        if self.lines or self._text != record["file"]:
            outdated = advice(before)
            changed = {
                "spec": self.spec.to_json(),
                "file": self._text,
                "versions": current_versions(),
                "changes": [*record.get("changes", []), *self.lines],
                "notes": [*(note for note in record.get("notes", []) if note not in outdated), *advice(self.spec)],
            }
            write_json(self._run / RECORD, {**record, **changed})


def revise(run: Path, revision: Revision) -> Revised:
    """The sweep as it is to go on: with what was edited in its file, and what the command line asks for.

    Raises:
        UserError: a change that would make the history worthless, or fewer trials than there are.
    """
    sweep = Sweep.open(run)
    record, spec = sweep.record, Spec.of_record(sweep.record)
    file = run / "sweep.yaml"
    text = read_text(file)
    revised = spec
    if text != record["file"]:
        before, _ = parse(record["file"], name=str(file))
        revised = edited(spec, before=before, after=of_text(text, path=file), record=str(run / RECORD))
    revised = _asked(revised, revision)
    changes = _changes(spec, revised)
    _check(changes, revised, sweep.ledger(), run)
    lines = [f"{change.where} was {change.old}, is {change.new}" for change in changes]
    lines += [
        f"{name} was {record['versions'].get(name)}, is {now}: later epochs may differ in their last digits"
        for name, now in current_versions().items()
        if record["versions"].get(name) != now
    ]
    return Revised(revised, lines, run, text)


@dataclass(frozen=True)
class _Change:
    where: str
    old: str
    new: str
    allowed: bool


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
                found.append(
                    _Change(f"{section}.{name}", value_in_words(was), value_in_words(now), allowed=name in free)
                )
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
    on_grid = not old.step or leads_to(new.low, old.low, old.step)
    return same_scale and on_grid and new.low <= old.low and new.high >= old.high


def _check(changes: list[_Change], revised: Spec, ledger: Ledger, run: Path) -> None:
    refused = [change for change in changes if not change.allowed]
    if refused:
        listed = "; ".join(f"{change.where} was {change.old}, is {change.new}" for change in refused)
        raise UserError(
            f"this would make the sweep's history worthless: {listed}",
            where=f"sweep.yaml of {address_of(run)}",
            hint="put it back, or start another sweep with --name",
        )
    if not revised.space and revised.search.trials > 1:
        raise UserError(
            "nothing is explored, so further trials would all be the same",
            where="--trials",
            got=revised.search.trials,
            hint="for other settings start another sweep",
        )
    count = ledger.count()
    if revised.search.trials < count:
        raise UserError(
            "the sweep has more trials than that", where="--trials", got=revised.search.trials, expected=f"≥ {count}"
        )


def _shown(dimension: Dimension | None) -> str:
    if dimension is None:
        return "not explored"
    words = f"[{words_for(dimension)}]" if isinstance(dimension, Choice) else words_for(dimension)
    return f"{words} when {condition_in_words(dimension)}" if dimension.when else words
