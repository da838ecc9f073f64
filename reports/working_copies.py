"""Working copies of runs that are at home on object storage: one for each URL, in the cache's folder `runs`.

    folder = fetched("s3://bucket/sweeps/my")                  # the copy, as the home is
    home = unsettled("s3://bucket/sweeps/new")                 # where a new run is to be
    for folder in runs_at("s3://bucket/sweeps", tell=print): …

What is in a copy is at home too, or was about to get there when a driver was killed: removing one costs at most that.
"""

import secrets
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from reports.drivers import LOCK, LOOK_S, driver_of
from reports.home import NOTE, PULLING, Home, copy_folder, cut, home_of
from reports.ledger import JOURNAL
from reports.modelfile import BEST, DESCRIPTION
from reports.record import RECORD
from reports.remote_journal import JournalParts
from trainables.bucket import Bucket
from trainables.errors import UserError
from trainables.files import write_json
from trainables.urls import check_url, joined

_MOST_LOOKED_AT = 50  # folders, for a hint


def fetched(url: str, *, folders: Sequence[str] = ()) -> Path:
    """The working copy of the run at a URL, as the home is; as it is itself while a driver works in it.

    Args:
        folders: what is to be fetched beside the record, such as `best`.

    Raises:
        UserError: there is no such sweep, or the storage cannot be used.
    """
    home = existing(url)
    with _told(url):
        _made(home)
        with FileLock(home.folder / PULLING):
            try:
                with FileLock(home.folder / LOCK).acquire(timeout=LOOK_S):
                    pass  # a driver that begins from here on pulls after us
            except Timeout:
                return home.folder
            home.pull()
            for name in folders:
                home.pull_folder(name)
    return home.folder


def existing(url: str) -> Home:
    """The home of a run that is at a URL; nothing is fetched. UserError as `fetched`."""
    home = _home(url)
    if not home.exists():
        raise UserError("no such sweep", where=url, hint=_hint(home))
    return home


def pulled(home: Home) -> None:
    """`Home.pull` for a driver, which holds the copy: after readers that pull at this moment."""
    with FileLock(home.folder / PULLING):
        home.pull()


def unsettled(url: str) -> Home:
    """The home of a run that is to be there. What this machine has of a sweep that once was there is removed.

    Raises:
        UserError: there is a sweep of this URL, or the storage cannot be used.
    """
    home = _home(url)
    refuse_taken(home)
    if driver_of(home.folder) is not None:
        raise UserError("this sweep is being run already", where=url, got="a driver on this machine")
    shutil.rmtree(home.folder, ignore_errors=True)
    return home


def settle(home: Home) -> None:
    """Puts a new run, whose folder has been made where the working copy belongs, to its home.

    The caller holds the home (`tuning.lease`), as another may have made a sweep of this URL meanwhile.

    Raises:
        UserError: somebody has; or the storage fails.
    """
    with _told(home.url):
        refuse_taken(home)
        _made(home)
        if (home.folder / JOURNAL).exists():
            JournalParts(home.bucket, life=secrets.token_hex(8)).bring(home.folder / JOURNAL)
        home.push_record(new=True)


def refuse_taken(home: Home) -> None:
    """UserError where there is a sweep."""
    if home.exists():
        hint = f"`tune resume {shlex.quote(home.url)}` goes on with it; --name starts another"
        raise UserError("this sweep exists", where=home.url, hint=hint)


def model_at(url: str) -> Path:
    """An exported model, fetched: the best one of the run at a URL, or the one in its folder there.

    Raises:
        UserError: there is no such sweep, or the storage cannot be used.
    """
    run, name = cut(url) if _home(url).bucket.has(DESCRIPTION) else (url, BEST)
    return fetched(run, folders=[name]) / name


def runs_at(url: str, *, tell: Callable[[UserError], object]) -> Iterator[Path]:
    """The working copies of all sweeps directly under a URL, fetched, by name; of one that cannot be, `tell` hears.

    Raises:
        UserError: that is a sweep itself, or the storage cannot be used.
    """
    above = Bucket(url)
    above.check()
    _refuse_sweep(above)
    for name in sorted(above.folders("")):
        try:
            if above.has(f"{name}/{RECORD}"):
                yield fetched(joined(url, name))
        except UserError as error:
            tell(error)


def check_free(url: str) -> None:
    """UserError where there is a sweep, or one around it, or the storage cannot be used."""
    refuse_taken(_home(url))
    above, _ = cut(url)
    _refuse_sweep(Bucket(above))


def _refuse_sweep(above: Bucket) -> None:
    if above.has(RECORD):
        raise UserError("a sweep itself", where=above.url, expected="what holds the sweeps", hint="leave out its name")


def _hint(home: Home) -> str | None:
    """What there is where somebody looked for a run: within, for one who left out the run's name, or beside it."""
    beside = [] if home.url.startswith("gs:") else [cut(home.url)[0]]  # Google's lists every file there is
    with suppress(UserError):  # there is no such sweep in any case
        for place in (home.url, *beside):
            bucket = Bucket(place)
            names = [name for name in sorted(bucket.folders(""))[:_MOST_LOOKED_AT] if bucket.has(f"{name}/{RECORD}")]
            if names:
                return f"under {place} there is: {', '.join(names[:8])}"
    return None


def _home(url: str) -> Home:
    """The home at a URL, with the copy that there is or would be. UserError where the storage cannot be used."""
    check_url(url)
    folder, (above, name) = copy_folder(url), cut(url)
    there = home_of(folder)
    home = Home(folder, joined(above, name), copy=there.copy if there else secrets.token_hex(8))
    home.bucket.check()
    return home


def _made(home: Home) -> None:
    """Makes the copy's folder, where there is none, and the note that says whose copy it is, as it was asked for."""
    home.folder.mkdir(parents=True, exist_ok=True)
    there = home_of(home.folder)
    if there is None or there.url != home.url:
        write_json(home.folder / NOTE, {"url": home.url, "copy": home.copy})


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turns a failure of this machine's disk into one line."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError("this machine's copy of the sweep cannot be kept", where=url, got=str(error)) from error
