"""What a node of somebody's Ray cluster has, and whether it sees a run.

    about_node(("torch", "ray"), "/shared/runs/my", "sweep.json")["versions"]["torch"]      # None: not installed

Loads nothing that a node may lack, torch least of all.
"""

import platform
import socket
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trainables.bucket import Bucket
from trainables.errors import UserError
from trainables.places import place_at
from trainables.urls import is_url


def about_node(packages: Sequence[str], run: str, name: str) -> dict[str, Any]:
    """This node's name, its versions of Python and of `packages` (None: not installed), and why it does not see the
    file `name` of a run (empty: it does)."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    try:
        place = place_at(run)
        if isinstance(place, Bucket):
            place.check()  # without patience
        blind = "" if place.has(name) else "it is not there"
    except (OSError, UserError) as error:
        blind = str(error)
    return {"node": socket.gethostname(), "versions": versions, "blind": blind}


def check_run_is_seen(run: str) -> None:
    """UserError where this node does not see the sweep's folder, into which trials write their checkpoints."""
    if not is_url(run) and not Path(run).is_dir():
        raise run_not_seen(socket.gethostname(), run)


def run_not_seen(node: str, run: str, why: str = "it is not there") -> UserError:
    """The mistake, in words for the user."""
    return UserError(
        f"a node does not see the sweep's folder, where trials keep their checkpoints ({why})",
        where=node,
        got=run,
        hint="put --runs on a file system that all nodes see at the same path, or on object storage that all of them"
        " have the credentials for",
    )
