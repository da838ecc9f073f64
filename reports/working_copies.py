"""Working copies of runs that are at home on object storage: one for each URL, in the cache's folder `runs`.

    folder = fetched("s3://bucket/sweeps/my")                  # the copy, as the home is
    folder = settled("s3://bucket/sweeps/new", make)           # a new run
    for folder in runs_at("s3://bucket/sweeps"): …

What is in a copy is at home too, or was about to get there when a driver was killed: removing one costs at most that.
"""

import hashlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from reports.drivers import LOCK, LOOK_S, driver_of
from reports.home import NOTE, PULLING, Home, home_of
from reports.ledger import JOURNAL
from reports.modelfile import BEST, DESCRIPTION
from reports.record import RECORD
from reports.remote_journal import JournalParts
from trainables.bucket import Bucket, joined
from trainables.data.cache import COPIES, cache_folder
from trainables.errors import UserError
from trainables.files import write_json


def fetched(url: str) -> Path:
    """The working copy of the run at a URL, as the home is; as it is itself while a driver works in it.

    Raises:
        UserError: there is no such sweep, or the storage cannot be used.
    """
    home = _home(url)
    with _told(url):
        if not home.exists():
            raise UserError("no such sweep", where=url)
        _made(home)
        with FileLock(home.folder / PULLING):
            try:
                with FileLock(home.folder / LOCK).acquire(timeout=LOOK_S):
                    pass  # a driver that begins from here on pulls after us
            except Timeout:
                return home.folder
            home.pull()
    return home.folder


def pulled(home: Home) -> None:
    """`Home.pull` for a driver, which holds the copy: after readers that pull at this moment."""
    with FileLock(home.folder / PULLING):
        home.pull()


def settled(url: str, make: Callable[[Path], Path]) -> Path:
    """The working copy of a new run, which is at home at this URL from now on.

    Args:
        make: makes the run's folder within a folder, and returns it.

    Raises:
        UserError: there is a sweep of this URL, or the storage cannot be used.
    """
    home = _home(url)
    with _told(url):
        if home.exists():
            raise UserError(
                "this sweep exists", where=url, hint=f"`tune resume {url}` goes on with it; --name starts another"
            )
        if driver_of(home.folder) is not None:
            raise UserError("this sweep is being run already", where=url, got="a driver on this machine")
        shutil.rmtree(home.folder, ignore_errors=True)  # of a sweep that is not there any more
        folder = make(home.folder.parent)
        _made(home)
        if (folder / JOURNAL).exists():
            JournalParts(home.bucket, life=home.copy).bring(folder / JOURNAL)
        home.push_all()
    return folder


def model_at(url: str) -> Path:
    """An exported model, fetched: the best one of the run at a URL, or the one in its folder there.

    Raises:
        UserError: there is none, or the storage cannot be used.
    """
    home, name = _home(url), BEST
    with _told(url):
        if home.bucket.has(DESCRIPTION):
            run, name = _cut(url)
            home = _home(run)
        return _made(home).get_folder(name)


def runs_at(url: str) -> list[Path]:
    """The working copies of all sweeps directly under a URL, fetched, by name."""
    above = Bucket(url)
    above.check()
    with _told(url):
        return [fetched(joined(url, name)) for name in sorted(above.folders("")) if above.has(f"{name}/{RECORD}")]


def _home(url: str) -> Home:
    """The home at a URL, with the copy that there is or would be. UserError where the storage cannot be used."""
    above, name = _cut(url)
    folder = cache_folder() / COPIES / hashlib.sha256(above.encode()).hexdigest()[:12] / name
    home = home_of(folder) or Home(folder, joined(above, name), copy=secrets.token_hex(8))
    home.bucket.check()
    return home


def _made(home: Home) -> Home:
    """Makes the copy's folder, where there is none."""
    home.folder.mkdir(parents=True, exist_ok=True)
    if not (home.folder / NOTE).exists():
        write_json(home.folder / NOTE, {"url": home.url, "copy": home.copy})
    return home


def _cut(url: str) -> tuple[str, str]:
    """A run's URL as that of all runs there, and its name."""
    found = re.fullmatch(r"(\w+://[^?]*?)/([^/?]+)/*(\?.*)?", url)
    if found is None or found[2] in (".", ".."):
        raise UserError("no run is named", where=url, expected="such as s3://bucket/sweeps/my")
    return f"{found[1]}{found[3] or ''}", found[2]


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turns a failure of the storage, or of this machine's disk, into one line."""
    try:
        yield
    except OSError as error:
        raise UserError("the sweep cannot be fetched, or put there", where=url, got=str(error)) from error
