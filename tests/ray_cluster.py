"""A real Ray cluster on this machine: a head, and nodes with raylets, resources and perhaps mounts of their own.

with RayCluster(folder) as cluster:
    ants = cluster.add_node(cpus=1)
    cluster.address                      # "192.168.…:6379"
    cluster.kill(ants)                   # at once, as a machine that loses its power
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

RAY = Path(sys.executable).with_name("ray")


_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and another each time."""
    while True:
        with socket.socket() as probe:
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


class RayCluster:
    """Its processes end with the block."""

    def __init__(
        self, folder: Path, *, dashboard: bool = False, head_cpus: int = 0, environment: Mapping[str, str] | None = None
    ) -> None:
        # Short, for the paths of sockets are limited, and its own, for a driver here finds a session by it.
        self._temporary = Path(tempfile.mkdtemp(prefix="rc-", dir="/tmp"))
        self._folder, self._dashboard, self._head_cpus = folder, dashboard, head_cpus
        self._port, self.dashboard_port = free_port(), free_port()
        self._started: list[psutil.Process] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")},
            "PATH": os.pathsep.join((str(RAY.parent), os.environ["PATH"])),  # a job's `python` is looked for there
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            # Sooner than a minute, which is kind to slow networks and not to a test.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            **(environment or {}),
        }

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> "RayCluster":
        words = ["--head", f"--port={self._port}", f"--num-cpus={self._head_cpus}", f"--temp-dir={self._temporary}"]
        words += [f"--include-dashboard={str(self._dashboard).lower()}", f"--dashboard-port={self.dashboard_port}"]
        words += ["--ray-client-server-port", str(free_port())]
        # The same on every machine, unless said: a second cluster here would take no jobs.
        words += ["--dashboard-agent-listen-port", str(free_port())]
        self.head = self._start(words, {})
        return self

    def add_node(
        self, *, cpus: int, environment: dict[str, str] | None = None, hidden: tuple[Path, ...] = ()
    ) -> psutil.Process:
        """A node; `hidden` folders are empty where it looks."""
        before = self._nodes()
        node = self._start(
            [f"--address={self.address}", f"--num-cpus={cpus}", "--object-store-memory=120000000"],
            environment or {},
            hidden=hidden,
        )
        deadline = time.monotonic() + 40
        while self._nodes() <= before and time.monotonic() < deadline:
            time.sleep(0.3)
        assert self._nodes() > before, "the node has not joined"
        return node

    def kill(self, node: psutil.Process) -> None:
        """Ends a node's processes at once, its workers last: they are gone with their machine."""
        family = [node, *node.children(recursive=True)]
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=10)

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):
            with suppress(psutil.Error):
                self.kill(process)
        for process in psutil.process_iter(["cmdline"]):
            with suppress(psutil.Error):
                if str(self._temporary) in " ".join(process.info["cmdline"] or []):
                    process.kill()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _start(self, words: list[str], environment: dict[str, str], *, hidden: tuple[Path, ...] = ()) -> psutil.Process:
        command = [str(RAY), "start", "--block", *words]
        if hidden:
            mounts = " && ".join(f"mount -t tmpfs none '{path}'" for path in hidden)
            command = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *command]
        log = (self._folder / f"node-{len(self._started)}.log").open("wb")
        started = subprocess.Popen(
            command, cwd=self._temporary, env={**self.environment, **environment}, stdout=log, stderr=log
        )
        log.close()
        self._started.append(psutil.Process(started.pid))
        deadline = time.monotonic() + 60
        path = self._folder / f"node-{len(self._started) - 1}.log"
        while "Ray runtime started" not in path.read_text(errors="replace"):
            ended = started.poll() is not None or time.monotonic() > deadline
            assert not ended, path.read_text(errors="replace")[-2000:]
            time.sleep(0.2)
        return self._started[-1]

    def _nodes(self) -> int:
        """Nodes that live, as the cluster's head has them."""
        done = subprocess.run(
            [sys.executable, "-c", _COUNT, self.address],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return int(done.stdout or 0)


_COUNT = """
import sys
from ray._raylet import GcsClient
print(sum(node.state == 0 for node in GcsClient(address=sys.argv[1]).get_all_node_info().values()))
"""


def separate_file_systems() -> str | None:
    """Why a process here cannot have mounts of its own; None where it can."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none '{folder}'"],
            capture_output=True,
            text=True,
            check=False,
        )
    return tried.stderr.strip() or None
