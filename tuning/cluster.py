"""The Ray session of one sweep: started, kept apart from everybody else's, and cleared away.

    with ray_session(run, address=None) as session:
        session.room({"CPU": 1.0})        # how many such trials fit at once

A session of our own lives under a folder of our own, so the user's `ray status` and other sweeps do not see it, and
what a killed driver leaves behind can be told from other people's processes by the session's path alone.
"""

import json
import logging
import math
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray

from trainables.errors import UserError
from trainables.files import write_json

_RECORD = "ray.json"


@dataclass(frozen=True)
class RaySession:
    """The cluster this process is connected to; `folder` is that of a session of our own."""

    folder: Path | None
    resources: Mapping[str, float]

    @property
    def has_gpu(self) -> bool:
        return self.resources.get("GPU", 0) > 0

    def room(self, resources: Mapping[str, float]) -> int:
        """How many trials of these resources fit at once.

        Raises:
            UserError: not even one does.
        """
        fits = [self.resources.get(name, 0) / need for name, need in resources.items() if need > 0]
        room = math.floor(min(fits, default=1) + 1e-9)
        if room < 1:
            have = ", ".join(f"{self.resources.get(name, 0):g} {name}" for name in resources)
            raise UserError(
                "no trial fits on this machine",
                where="resources",
                got=", ".join(f"{need:g} {name}" for name, need in resources.items()) + " a trial",
                expected=f"at most {have}",
            )
        return room


@contextmanager
def ray_session(run: Path, *, address: str | None) -> Iterator[RaySession]:
    """Connects to Ray: a session of our own on this machine, or the cluster at `address`.

    Whatever an earlier, killed driver of this run left is cleared away first, and our own session at the end.

    Raises:
        UserError: no cluster answers at `address`.
    """
    clear_leftovers(run)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address is None:
            context = ray.init(
                address="local",
                num_cpus=cpu_count(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(_ray_folder()),
            )
            folder = Path(context.address_info["session_dir"])  # type: ignore[attr-defined]
            write_json(run / _RECORD, {"session": str(folder)})
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            folder = None
    except (ConnectionError, ValueError) as error:
        raise UserError("no Ray cluster answers", where="--address", got=address, hint=str(error)) from error
    try:
        yield RaySession(folder=folder, resources=ray.cluster_resources())
    finally:
        ray.shutdown()
        if folder is not None:
            clear_leftovers(run)


def cpu_count() -> int:
    """CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def clear_leftovers(run: Path) -> None:
    """Ends the processes and removes the folder of the Ray session that this run's last driver started.

    Only processes that carry that very session's path on their command line are touched.
    """
    record = run / _RECORD
    try:
        session = Path(json.loads(record.read_text(encoding="utf-8"))["session"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    if session.parent == _ray_folder() and not _driver_lives(session):
        _end_processes(session)
        shutil.rmtree(session, ignore_errors=True)
    record.unlink(missing_ok=True)


def _driver_lives(session: Path) -> bool:
    """Whether a session, named `session_<date>_<time>_<pid>` by Ray, is another living process's own."""
    name, _, pid = session.name.rpartition("_")
    if not name.startswith("session_") or not pid.isdecimal():
        return True
    return int(pid) != os.getpid() and psutil.pid_exists(int(pid))


def _end_processes(session: Path) -> None:
    marks = (str(session) + os.sep, f"={session}")
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(mark in word or word == str(session) for word in words for mark in marks):
            found.append(process)
    for process in found:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.Error:  # it ended by itself, or is not ours to end
            continue
    psutil.wait_procs(found, timeout=5)


def _ray_folder() -> Path:
    """Where our Ray sessions live. Short, because Ray puts sockets there, whose paths are limited to 107 bytes."""
    folder = Path(tempfile.gettempdir()) / f"tuneyard-{os.getuid()}"
    if len(str(folder)) > 30:
        folder = Path("/tmp") / folder.name
    return folder
