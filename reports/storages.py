"""Databases that this user has named: a run from somebody else must not say where a password is sent.

    note_storage("postgresql://me@host/sweeps")       # a sweep file of the user's names it
    check_storage(url, where="runs/my/sweep.json")    # UserError where none did, nor the environment

Notes are in the cache's folder, a file for each URL.
"""

import hashlib
import os
import shlex
from pathlib import Path

from trainables.data.cache import cache_folder, writing
from trainables.errors import UserError
from trainables.files import write_json

VARIABLE = "TUNEYARD_STORAGE"
_NOTES = "storages"  # unmarked, so neither listed nor cleared


def note_storage(url: str) -> None:
    """Remembers a database that a sweep file names."""
    with writing(cache_folder()):
        note = _note(url)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, {"url": url})


def check_storage(url: str, *, where: str) -> None:
    """UserError where a run's record names no database of ours, or one that the user has not named on this machine."""
    from reports.database import check_url, shown  # loads SQLAlchemy

    if wrong := check_url(url):
        raise UserError(f"no database of ours: {wrong}", where=where, got=shown(url))
    if url != os.environ.get(VARIABLE) and not _note(url).exists():
        raise UserError(
            "its record is in a database that no sweep file of yours is known to have named on this machine",
            where=where,
            got=url,
            hint=f"where you trust it: export {VARIABLE}={shlex.quote(url)}",
        )


def _note(url: str) -> Path:
    return cache_folder() / _NOTES / f"{hashlib.sha256(url.encode()).hexdigest()}.json"
