"""The Ray session of one driver: started, kept apart from everybody else's, and cleared away.

    with ray_session() as session:
        session.room({"CPU": 1.0})        # how many such trials fit at once

A session lives under a folder of its own, so what a killed driver leaves behind can be told from other people's
processes by that folder's path alone. The folder says whose it is.
"""

import gc
import json
import logging
import math
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray

from trainables.data.parallel import available_cores
from trainables.errors import UserError
from trainables.files import write_json
from tuning.own_group import children_in_own_groups

# In a session's folder: which process started it.
_DRIVER = "driver.json"
# A folder without that is of a driver that was killed just then, or is about to write it.
_UNSAID_S = 60.0


@dataclass(frozen=True)
class RaySession:
    """What this process is connected to, and a folder of its own, which goes with the session.

    `nodes` gives the resources of each node that lives now, `alive` whether Ray itself does. `joined`: the cluster is
    somebody's, and its nodes other machines.
    """

    folder: Path
    nodes: Callable[[], Sequence[Mapping[str, float]]]
    alive: Callable[[], bool] = lambda: True
    joined: bool = False

    @property
    def scratch(self) -> Path:
        """Where Ray may write what nobody reads."""
        return self.folder / "scratch"

    @property
    def has_gpu(self) -> bool:
        return any(node.get("GPU", 0) > 0 for node in self.nodes())

    def room(self, resources: Mapping[str, float]) -> int:
        """How many trials of these resources fit at once.

        Raises:
            UserError: not even one does.
        """
        where = "any node of the cluster" if self.joined else "this machine"
        return check_room(self.nodes(), resources, where=where)

    def limit(self, resources: Mapping[str, float], *, workers: int | None) -> int:
        """Most trials at once: as many as fit at this moment, at most `workers`.

        On a joined cluster `workers` are asked for whether they fit or not, for one that grows must see that it should.
        """
        if self.joined:
            return workers or room_on(self.nodes(), resources)
        room = self.room(resources)
        return min(room, workers or room)


def check_room(nodes: Sequence[Mapping[str, float]], resources: Mapping[str, float], *, where: str) -> int:
    """How many trials of these resources fit on these nodes. UserError where not even one does."""
    room = room_on(nodes, resources)
    if room < 1:
        most = [max((node.get(name, 0) for node in nodes), default=0) for name in resources]
        have = ", ".join(f"{amount:g} {name}" for amount, name in zip(most, resources, strict=True))
        raise UserError(
            f"no trial fits on {where}",
            where="resources",
            got=", ".join(f"{need:g} {name}" for name, need in resources.items()) + " a trial",
            expected=f"at most {have}",
        )
    return room


def room_on(nodes: Sequence[Mapping[str, float]], resources: Mapping[str, float]) -> int:
    """How many trials of these resources fit on these nodes, none of them on two."""
    needs = {name: need for name, need in resources.items() if need > 0}
    return sum(
        math.floor(min((node.get(name, 0) / need for name, need in needs.items()), default=1) + 1e-9) for node in nodes
    )


@contextmanager
def ray_session() -> Iterator[RaySession]:
    """Starts a Ray session of our own on this machine, and ends it. To be entered and left by one thread, and that one
    must live as long: Ray's processes end with the thread that started them.

    What killed drivers left is cleared away first, and our own session at the end.
    """
    clear_leftovers()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    folder = _new_folder()
    try:
        with children_in_own_groups():
            _start(folder)
        daemons = [p for p in psutil.Process().children() if p.name() in ("gcs_server", "raylet")]
        resources = ray.cluster_resources()
        yield RaySession(folder, nodes=lambda: [resources], alive=lambda: all(_runs(daemon) for daemon in daemons))
    finally:
        shut_down()
        clear_session(folder)


def shut_down() -> None:
    """Leaves Ray.

    What of it is garbage by then, such as references to objects in Tune's cycles, goes first: one that the collector
    finds after the shutdown has Ray end the process, with exit code 1 and a line in `ray.log` alone.
    """
    gc.collect()
    ray.shutdown()


def _start(folder: Path) -> None:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("-")  # to CUDA -1 is none, and Ray counts it as one
    ray.init(
        address="local",
        num_cpus=available_cores(),
        num_gpus=0 if hidden else None,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(folder),
    )


def _new_folder() -> Path:
    """A folder for one session, with its driver's name in it before Ray starts anything there."""
    above = sessions_folder()
    above.mkdir(mode=0o700, exist_ok=True)
    if above.stat().st_uid != os.getuid():
        raise UserError("another user made this folder", where=str(above), hint="set TMPDIR to one of yours")
    folder = above / secrets.token_hex(4)
    folder.mkdir()
    driver = {"pid": os.getpid(), "begun": process_begun(os.getpid()), "host": socket.gethostname()}
    write_json(folder / _DRIVER, driver)
    return folder


def clear_leftovers() -> None:
    """Ends the processes and removes the folders of our Ray sessions whose drivers are no more."""
    with suppress(OSError):
        for folder in sessions_folder().iterdir():
            if folder.is_dir() and not folder.is_symlink() and _is_left(folder):
                clear_session(folder)


def clear_session(folder: Path) -> None:
    """Ends the processes that carry this session's folder on their command line, and their children; removes it."""
    _end_processes(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether a session's driver is gone for certain; one of another machine or container may live."""
    try:
        noted = json.loads((folder / _DRIVER).read_text(encoding="utf-8"))
        pid, begun, host = int(noted["pid"]), noted.get("begun"), noted["host"]
    except (OSError, ValueError, KeyError, TypeError):
        with suppress(OSError):
            return time.time() - folder.stat().st_mtime > _UNSAID_S
        return False
    if host != socket.gethostname():
        return False
    lives = process_begun(pid)
    return lives is None if begun is None else lives != begun  # a former version did not say when


def process_begun(pid: int) -> str | None:
    """When a process began, in the kernel's own count since which boot: setting the clock does not move it. None where
    there is no such process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        return None
    return f"{ticks} {boot}"


def _end_processes(folder: Path) -> None:
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended by itself, or is not ours to look at
            if process.pid != os.getpid() and _belongs(process, folder):
                found |= {process, *process.children(recursive=True)}
    for process in found:
        with suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + 5
    while any(_runs(process) for process in found) and time.monotonic() < deadline:
        time.sleep(0.02)


def _runs(process: psutil.Process) -> bool:
    """Whether a process is at work; one that nobody reaps, as in many containers, is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _belongs(process: psutil.Process, folder: Path) -> bool:
    """Whether a process is of the session in `folder`: the folder stands on its command line.

    Ray's agents and workers write a title over theirs, and over their environment; they show by their open logs.
    """
    words = process.cmdline()
    if any(_names(word, folder) for word in words):
        return True
    return bool(words) and words[0].startswith("ray::") and any(_names(f.path, folder) for f in process.open_files())


def _names(text: str, folder: Path) -> bool:
    """Whether a text is, or contains, the folder or a path in it."""
    _, found, rest = text.partition(str(folder))
    return bool(found) and not rest[:1].isalnum()


def sessions_folder() -> Path:
    """Where our Ray sessions live. Short, because Ray puts sockets there, whose paths are limited to 107 bytes."""
    folder = Path(tempfile.gettempdir()) / f"tuneyard-{os.getuid()}"
    return folder if len(str(folder)) <= 24 else Path("/tmp") / folder.name
