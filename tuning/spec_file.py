"""Reads a sweep file into a `Spec`, checked.

    spec = load_spec("my.yaml", sets=("lr=0.01",), trials=5)

One rule: a trial's setting is fixed under `trial:` or explored under `space:`; what is in neither has its documented
default, and what is in both is a mistake. All mistakes of a file are found before anything runs.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainables.data.folders import check_names
from trainables.data.sources import ONLY_FOR, PUBLISHED, DataSettings, check_data_settings
from trainables.errors import UserError
from trainables.settings import TrialSettings
from trainables.tasks import METRICS_OF
from tuning.checking import Problems, Shown, UnfitError, checked, did_you_mean, hints_of, nearest
from tuning.crosschecks import check_together, space_size
from tuning.first_trials import checked_point, without
from tuning.named_files import check_files
from tuning.overrides import SECTIONS, apply_sets, put
from tuning.ready import base_of
from tuning.space import Float, Space
from tuning.space_file import read_space
from tuning.spec import ResourceSettings, SearchSettings, Spec
from tuning.yaml_file import KeyPath, YamlFile, read_yaml

_RECORDS = {"data": DataSettings, "trial": TrialSettings, "search": SearchSettings, "resources": ResourceSettings}
# Each suggestion of a grid goes through all trials.
MOST_IN_A_GRID = 10_000


def load_spec(
    path: Path | str,
    *,
    sets: tuple[str, ...] | list[str] = (),
    trials: int | None = None,
    epochs: int | None = None,
    hours: float | None = None,
    workers: int | None = None,
    files: bool = False,
) -> Spec:
    """Read and check a sweep file; the other arguments are the command line's options of the same names.

    Relative paths in the file are seen from its own folder (the current one for a ready file), those given by `--set`
    from the current one. files: whether to look for the files it names too. Raises UserError, one line for each
    mistake, in the file's order.
    """
    path = Path(path)
    base = base_of(path)
    check_names([str(base.resolve())], where=str(path))
    file = apply_sets(read_yaml(path), sets, base=base)
    options = {
        ("search", "trials"): trials,
        ("trial", "epochs"): epochs,
        ("search", "hours"): hours,
        ("resources", "workers"): workers,
    }
    for key, value in options.items():
        if value is not None:
            file = put(file, key, value, option=f"--{key[1]} {value}")
    return read_spec(file, base=base, files=files)


def read_spec(file: YamlFile, *, base: Path, files: bool = False) -> Spec:
    """What is read already, checked. `base` is what relative paths are seen from. Errors as `load_spec`."""
    return _Reader(file, base).spec(files=files)


class _Reader:
    """Checks one file section by section, gathering its mistakes."""

    def __init__(self, file: YamlFile, base: Path) -> None:
        self.base = base
        self.problems = Problems()
        self.file = dataclasses.replace(file, data=self._sections(file))

    def spec(self, *, files: bool) -> Spec:
        fixed = {name: self._fixed(name, record) for name, record in _RECORDS.items()}
        self._names_of_space()
        trial = {**dataclasses.asdict(TrialSettings()), **fixed["trial"]}
        space = read_space(self.file, trial=trial, problems=self.problems)
        spec = Spec(  # what is wrong has its default, until it is told
            data=DataSettings(**fixed["data"]),
            trial=fixed["trial"],
            space=space,
            search=SearchSettings(**fixed["search"]),
            resources=ResourceSettings(**fixed["resources"]),
            base=self.base,
        )
        self._check(spec)
        if not self.problems.at(("search", "first"), ("space",)):
            spec = self._with_first_trials(spec)
        if not self.problems.at(("data", "task")):
            check_together(self.file, spec.trial, space, self.problems, task=spec.data.task)
        if files:
            check_files(self.file, spec, self.problems)
        self.problems.raise_any()
        return spec

    def _sections(self, file: YamlFile) -> dict[str, dict[str, Any]]:
        sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
        for name, values in file.data.items():
            if name not in SECTIONS:
                hint = _belongs(name) or did_you_mean(name, SECTIONS)
                expected = f"one of {', '.join(SECTIONS)}"
                self.problems.tell(file, (name,), "unknown section", expected=expected, hint=hint)
                self._suspect((), name, SECTIONS)
            elif isinstance(values, dict):
                sections[name] = values
            elif values is not None:
                expected = "settings, one `name: value` a line, indented"
                self.problems.tell(file, (name,), "wrong type", got=Shown(values), expected=expected)
        return sections

    def _fixed(self, section: str, record: type) -> dict[str, Any]:
        hints = hints_of(record)
        values: dict[str, Any] = {}
        for name, value in self.file.data[section].items():
            key: KeyPath = (section, name)
            if name not in hints:
                self._add(key, "unknown setting", hint=_belongs(name) or did_you_mean(name, hints))
                self._suspect((section,), name, hints)
                continue
            try:
                values[name] = checked(value, hints[name])
            except UnfitError as unfit:
                explored = unfit.hint and isinstance(value, (list, dict))
                hint = "the same for a whole sweep" if explored and section != "trial" else unfit.hint
                self._add(key, unfit.what, got=Shown(value), expected=unfit.expected, hint=hint)
        return values

    def _names_of_space(self) -> None:
        hints = hints_of(TrialSettings)
        for name in self.file.data["space"]:
            if name not in hints:
                self._add(("space", name), "unknown setting", hint=did_you_mean(name, hints) or _belongs(name))
                self._suspect(("space",), name, hints)
            elif name in self.file.data["trial"]:
                self._add(
                    ("space", name),
                    f"{name} is fixed as well, at {self.file.where(('trial', name))}",
                    hint="keep it under `trial:` or under `space:`",
                )

    def _suspect(self, place: KeyPath, name: str, names: Iterable[str]) -> None:
        """There is no such name there. What was meant by it is not given, then, and its default says nothing."""
        if meant := nearest(name, names):
            self.problems.suspect((*place, meant))
        for section in _places(name):
            self.problems.suspect((section, name))

    def _check(self, spec: Spec) -> None:
        wrong = self.problems.at
        if not wrong(("data", "source"), ("data", "task"), ("data", "path")):
            self._check_data(spec.data)
        fitting = METRICS_OF[spec.data.task]
        if spec.search.metric not in fitting and not wrong(("data", "task"), ("search", "metric")):
            self._add(
                ("search", "metric"),
                f"no metric of data.task {spec.data.task}",
                got=Shown(spec.search.metric),
                expected=f"one of auto, {', '.join(fitting)}",
            )
        if spec.search.storage is not None:
            self._check_storage(spec.search.storage)
        if spec.search.sampler == "grid":
            self._check_grid(spec.space)
        if not spec.space and spec.search.trials > 1 and not self.problems:  # else it may be what is misspelt
            self._add(
                ("space",),
                f"nothing to explore: {spec.search.trials} trials would all be the same",
                expected="a setting under `space:`",
                hint="or write `trials: 1` under `search:`",
            )

    def _check_grid(self, space: Space) -> None:
        for name, dimension in space.items():
            if isinstance(dimension, Float) and dimension.step is None:
                self._add(
                    ("space", name),
                    "a range without steps, of which search.sampler grid cannot take every number",
                    expected="choices, or a range with a `step`",
                )
        if (count := space_size(space)) is not None and count > MOST_IN_A_GRID:
            self._add(
                ("search", "sampler"),
                f"a grid of {count:,} combinations",
                expected=f"at most {MOST_IN_A_GRID:,}",
                hint="take random, or tpe",
            )

    def _check_storage(self, url: str) -> None:
        from reports.database import check_url, shown  # loads SQLAlchemy

        if wrong := check_url(url):
            self._add(("search", "storage"), f"no database of ours: {wrong}", got=Shown(shown(url)))

    def _check_data(self, data: DataSettings) -> None:
        given = self.file.data["data"]
        for name, sources in ONLY_FOR.items():
            if name in given and given[name] is not None and data.source not in sources:
                own = [f"`source: {source}`" for source in sources if source not in PUBLISHED]
                hint = f"it is for {' or '.join(own) or 'sets that torchvision can fetch'}"
                self._add(("data", name), f"no setting of {data.source}", got=Shown(given[name]), hint=hint)
        try:
            check_data_settings(data)
        except UserError as error:
            name = (error.where or "data.source").partition(".")[2]
            key: KeyPath = ("data", name if name in given else "source")
            if not (name == "path" and data.source == "digits"):  # told above
                self._add(key, error.what, got=error.got, expected=error.expected, hint=error.hint)
        parts_are_right = not self.problems.at(("data", "val"), ("data", "test"))
        if data.source not in PUBLISHED and data.val + data.test >= 1 and parts_are_right:
            key = ("data", "test") if "test" in given else ("data", "val")
            self._add(
                key, "no pictures are left to train on", got=Shown(data.val + data.test), expected="val + test < 1"
            )

    def _with_first_trials(self, spec: Spec) -> Spec:
        """The points of `search.first` in the types of the space, less what the command line left out of that."""
        key: KeyPath = ("search", "first")
        points = []
        for place, point in enumerate(
            without(spec.search.first or [], self.file.data["space"].keys() - spec.space.keys())
        ):
            here = (*key, place)
            try:
                points.append(checked_point(point, spec.space, number=place + 1, where=self.file.where(here)))
            except UserError as error:
                self.problems.add(error, self.file, here)
        return dataclasses.replace(spec, search=dataclasses.replace(spec.search, first=points or None))

    def _add(self, key: KeyPath, what: str, **facts: Any) -> None:
        self.problems.tell(self.file, key, what, **facts)


def _belongs(name: str) -> str | None:
    """Where a setting of that name stands, for one put in the wrong section."""
    places = _places(name)
    if not places:
        return None
    return f"it belongs under `{places[0]}:`" if len(places) == 1 else f"it belongs under one of {', '.join(places)}"


def _places(name: str) -> list[str]:
    """The sections that have a setting of that name."""
    return [section for section, record in _RECORDS.items() if name in hints_of(record)]
