"""What a sweep file names on disk: whether it is there, as far as a glance tells.

    check_files(file, spec, problems)        # no such file or folder; no such column in labels.csv

No picture and no weights are read; of a CSV file its header is.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data.csv_table import column_mistakes
from trainables.data.sources import PUBLISHED, csv_columns
from trainables.errors import UserError
from trainables.models.exported import exported_in
from trainables.settings import NAMED_WEIGHTS
from trainables.urls import is_url
from tuning.checking import Problems
from tuning.space import Choice
from tuning.yaml_file import KeyPath, YamlFile

if TYPE_CHECKING:
    from tuning.spec import Spec


def check_files(file: YamlFile, spec: "Spec", problems: Problems) -> None:
    """Puts into `problems` what is not there of what the file names."""
    if not problems.at(("data", "source")):
        _check_data(file, spec, problems)
    explored = spec.space.get("weights")
    key: KeyPath = ("trial" if explored is None else "space", "weights")
    for value in explored.values if isinstance(explored, Choice) else (spec.trial.get("weights", "auto"),):
        if value in NAMED_WEIGHTS:
            continue
        place = _found(file, key, str(value), spec.base, problems)
        if place is not None and place.is_dir():
            try:
                exported_in(place)
            except UserError as error:
                _tell(file, key, error, problems)


def _check_data(file: YamlFile, spec: "Spec", problems: Problems) -> None:
    data = spec.data
    if data.root is not None and not problems.at(("data", "root")):
        _found(file, ("data", "root"), data.root, spec.base, problems)
    if data.path is None or problems.at(("data", "path")) or (data.source in PUBLISHED and data.download):
        return
    path = _found(file, ("data", "path"), data.path, spec.base, problems)
    if path is not None and data.source == "csv":
        for error in column_mistakes(path, csv_columns(data)):
            key: KeyPath = ("data", (error.where or "").removeprefix("data."))
            if not problems.at(key):
                _tell(file, key, error, problems)


def _found(file: YamlFile, key: KeyPath, value: str, base: Path, problems: Problems) -> Path | None:
    """Where that is; None, and told, where it is not."""
    if is_url(value):
        hint = (
            "`tune export URL -o FOLDER` copies a model" if key[-1] == "weights" else "copy them, or mount the storage"
        )
        problems.tell(file, key, "must be on this machine", got=value, hint=hint)
        return None
    try:
        place = base / Path(value).expanduser()
    except RuntimeError:  # ~name, and nobody of that name
        problems.tell(file, key, "no such home folder", got=value)
        return None
    try:
        if place.exists():
            return place
        what = "no such file or folder"
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
    problems.tell(file, key, what, got=str(place.absolute()), hint="mend the path")
    return None


def _tell(file: YamlFile, key: KeyPath, error: UserError, problems: Problems) -> None:
    problems.tell(file, key, error.what, got=error.got, expected=error.expected, hint=error.hint)
