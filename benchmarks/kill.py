"""Starts a program, kills it with SIGKILL at a moment counted in epochs, and ends what it left behind.

    life = Life(command, environment=dict(os.environ), log=scratch / "log.txt", count=sweep.look)
    life.run(until=5.3, family=family)          # three tenths into the sixth epoch of this life; None: to its end

What it leaves behind is told by having been its child, or by carrying a folder of its own on the command line.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

POLL_S = 0.02


@dataclass(frozen=True)
class End:
    """How a life ended: whether it was killed (else it came to its end before), and its wall time."""

    killed: bool
    seconds: float


class Family:
    """The processes that a program's lives had as children, or that carry one of its own folders in their command."""

    def __init__(self, marks: Sequence[Path]) -> None:
        self._marks = [str(mark) for mark in marks]
        self._known: dict[int, psutil.Process] = {}

    def remember(self, pid: int) -> None:
        """Takes note of a process's present descendants: once it is dead, nothing tells whose they were."""
        try:
            children = psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        self._known.update({child.pid: child for child in children})

    def living(self, *, patience_s: float = 0.0) -> list[psutil.Process]:
        """Those that still run, after giving them time to end."""
        until = time.monotonic() + patience_s
        while (found := self._living()) and time.monotonic() < until:
            time.sleep(0.2)
        return found

    def _living(self) -> list[psutil.Process]:
        found = {pid: process for pid, process in self._known.items() if _lives(process)}
        for process in psutil.process_iter(["cmdline"]) if self._marks else ():
            words = process.info["cmdline"] or []
            if process.pid != os.getpid() and any(mark in word for mark in self._marks for word in words):
                found[process.pid] = process
        return list(found.values())


class Life:
    """One process of a contestant's driver, from its start to its end.

    Args:
        command: the program and its arguments, run from the current folder.
        environment: the whole environment.
        log: takes what the program prints.
        count: how many epochs have been executed so far, over all lives.
    """

    def __init__(
        self, command: Sequence[str], *, environment: dict[str, str], log: Path, count: Callable[[], int]
    ) -> None:
        self._command, self._environment, self._log, self._count = command, environment, log, count

    def run(self, *, until: float | None, family: Family) -> End:
        """Lives until `until` epochs of this life are done, a fraction being a share of the mean epoch, or to the end.

        Raises:
            RuntimeError: the program ended by itself with an error.
        """
        before, started = self._count(), time.perf_counter()
        with self._log.open("ab") as log:
            process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        try:
            killed = self._watch(process, before=before, until=until)
        finally:
            if process.poll() is None:
                family.remember(process.pid)
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        if not killed and process.returncode:
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(self._command)} ended with {process.returncode}:\n{tail}")
        return End(killed=killed, seconds=time.perf_counter() - started)

    def _watch(self, process: subprocess.Popen, *, before: int, until: float | None) -> bool:
        """Waits for the moment (True) or the end of the program (False)."""
        first = time.perf_counter()
        while process.poll() is None:
            done = self._count() - before
            if done == 0:
                first = time.perf_counter()
            if until is not None and done >= int(until):
                mean_s = (time.perf_counter() - first) / done if done > 1 else 0.5
                time.sleep(mean_s * (until % 1))
                return process.poll() is None
            time.sleep(POLL_S)
        return False


def end_all(processes: Sequence[psutil.Process]) -> None:
    """Ends these processes; psutil makes sure that a number used again for another process is left alone."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _, stubborn = psutil.wait_procs(processes, timeout=10)
    for process in stubborn:
        print(f"process {process.pid} does not end", file=sys.stderr)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
