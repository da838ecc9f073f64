"""A run whose home is object storage, and its working copy on this machine's disk.

    home = home_of(folder)       # None for a run that is at home in its folder
    home.pull()                  # the record, as it is there
    home.push_made("report")     # a folder of the copy, as it is here

The copy is a run's folder like any other, made by `working_copies`; a driver works in it, and `tuning.mirror` keeps
the home up to date. At home:

  sweep.yaml  sweep.json  start-…/     as in a run's folder
  journal.json  journal/3fa9c2d1/00000 …   which driver's journal counts, and that journal in parts (`remote_journal`)
  driver.json                          who drives it, written anew every few seconds (`tuning.lease`)
  trials/  report/  best/  logs/ …     as in a run's folder; checkpoints are written and read here alone
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reports.drivers import DRIVER, LOCK
from reports.folders import replaced_folder
from reports.ledger import JOURNAL
from reports.record import RECORD
from reports.remote_journal import read_journal
from trainables.bucket import Bucket
from trainables.data.cache import COPIES, cache_folder
from trainables.errors import UserError
from trainables.files import replaced

FILE = "sweep.yaml"
# In a working copy: where its home is, and a name for this copy among others of the same home.
NOTE = "home.json"
PULLING = ".pull.lock"
# A driver that has said nothing for so long is not shown as at work.
SILENT_S = 60.0


class Home:
    """The home of the run whose working copy is `folder`; `copy` names that among other copies of the run."""

    def __init__(self, folder: Path, url: str, *, copy: str) -> None:
        self.folder, self.url, self.copy = folder, url, copy
        self.bucket = Bucket(url)

    def exists(self) -> bool:
        """Whether a sweep is there."""
        return self.bucket.has(RECORD)

    def pull(self) -> None:
        """Brings the copy's record up to date. The caller sees to it that nobody else works in the copy.

        Of the journal what is longer counts, where one goes on from the other: a driver here may have been killed
        before its last lines were at home. Else the home's does: somebody went on from there, and did those epochs
        again.

        Raises:
            UserError: there is no sweep, or the storage fails.
        """
        record = self.bucket.read(RECORD)
        if record is None:
            raise UserError("no such sweep", where=self.url)
        if _study(record) != _study(_read(self.folder / RECORD)):
            self._forget()
        for name in (FILE, *self._starts()):
            if name == FILE or not (self.folder / name).exists():
                self.bucket.get(name, self.folder / name)
        journal, here = read_journal(self.bucket), _read(self.folder / JOURNAL) or b""
        if journal is not None and not here.startswith(journal):
            with replaced(self.folder / JOURNAL) as file:
                file.write_bytes(journal)
        with replaced(self.folder / RECORD) as file:
            file.write_bytes(record)

    def pull_folder(self, name: str) -> None:
        """Brings a folder of files, such as `best`, as it is at home; nothing where there is none."""
        if names := self.bucket.files(name):
            with replaced_folder(self.folder / name) as unfinished:
                for file in names:
                    self.bucket.get(f"{name}/{file}", unfinished / file)

    def push_record(self, *, new: bool = False) -> None:
        """Copies home what a driver changes beside the journal: models to start from, and last `sweep.json`, as that
        says that a sweep is there. `new`: the sweep file too, which from then on is the user's, and edited there."""
        for folder in self.folder.glob("start-*"):
            self.push(folder.name)
        self.push(*([FILE] if new else []), RECORD)

    def push(self, *names: str) -> None:
        """Copies files home, and the files directly in folders."""
        for name in names:
            path = self.folder / name
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                if file.is_file() and not file.is_symlink() and not file.name.startswith("."):
                    self.bucket.put(file.relative_to(self.folder).as_posix(), file)

    def push_made(self, name: str) -> None:
        """Copies home a folder that was just made, such as `report`: what it no longer has goes there too."""
        self.push(name)
        here = {path.name for path in (self.folder / name).iterdir()}
        for gone in set(self.bucket.files(name)) - here:
            self.bucket.remove(f"{name}/{gone}")

    def driver(self) -> dict[str, Any] | None:
        """Who drives the run from another copy, as `{pid, host, since, …}`; None where nobody said so lately."""
        age_s = self.bucket.age_s(DRIVER)
        held = self.bucket.read_json(DRIVER) if age_s is not None and age_s < SILENT_S else None
        return None if held is None or held.get("copy") == self.copy else held

    def _starts(self) -> Iterator[str]:
        """Copies of models that trials start from, file by file."""
        for folder in self.bucket.folders(""):
            if folder.startswith("start-"):
                yield from (f"{folder}/{name}" for name in self.bucket.files(folder))

    def _forget(self) -> None:
        """The copy is of another sweep, which once had this URL."""
        for path in self.folder.iterdir():
            if path.name not in (LOCK, DRIVER, NOTE, PULLING):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def home_of(folder: Path) -> Home | None:
    """The home of a working copy; None for any other run's folder.

    A note elsewhere than where the copy of its URL belongs counts for nothing: a stranger's run would decide where is
    written to.
    """
    note = _read(folder / NOTE)
    if note is None:
        return None
    try:
        known = json.loads(note)
        url, copy = str(known["url"]), str(known["copy"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("damaged", where=str(folder / NOTE), hint="remove this working copy's folder") from error
    return Home(folder, url, copy=copy) if copy_folder(url).resolve() == folder.resolve() else None


def address_of(folder: Path) -> str:
    """What the user calls a run by: its home's URL, else its folder."""
    home = home_of(folder)
    return home.url if home else str(folder)


def copy_folder(url: str) -> Path:
    """Where on this machine the working copy of a run at a URL belongs."""
    above, name = cut(url)
    where, _, options = above.partition("?")
    # Another endpoint is another storage; of the other options none says where a run is.
    key = "?".join([where, *[option for option in options.split("&") if option.startswith("endpoint_override=")]])
    return cache_folder() / COPIES / hashlib.sha256(key.encode()).hexdigest()[:12] / name


def cut(url: str) -> tuple[str, str]:
    """A run's URL as that of all runs there, and its name. UserError where it has none that a URL can have."""
    found = re.fullmatch(r"(\w+://[^?#]*?)/([\w.-]+)/*(\?.*)?", url, re.ASCII)
    if found is None or found[2] in (".", ".."):
        raise UserError(
            "no run is named",
            where=url,
            expected="such as s3://bucket/sweeps/my: letters, digits, '-', '_' and '.' in its name",
        )
    return f"{found[1]}{found[3] or ''}", found[2]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _study(record: bytes | None) -> Any:
    """What tells one sweep from another that has its name."""
    try:
        return None if record is None else json.loads(record).get("study")
    except (ValueError, AttributeError):
        return None
