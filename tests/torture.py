"""Kills sweeps with SIGKILL at random moments and compares what comes out: `make torture`, and in short in the tests.

    python tests/torture.py --kills 100 --seed 1 --workers 1

One worker: an interrupted sweep must end as an uninterrupted one, number for number, down to the bytes of the best
model's weights. Two workers, whose order of finishing varies: no trial is lost, doubled, run again or over budget.
"""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import psutil

from tuning.cluster import sessions_folder

SPACE_FILE = """
data: {source: digits}
trial: {model: shufflenet_v2_x0_5, weights: none, image_size: 32, center_crop: 1.0, augment: standard,
        epochs: 4, step_size: 2, precision: fp32}
space:
  lr: {low: 1e-3, high: 3e-1, log: true}
  batch_size: [64, 128]
  momentum: {low: 0.5, high: 0.95}
  nesterov: [false, true]
  freeze: [none, stem]
search: {trials: 8, seed: 3, grace_epochs: 2, keep: 2, startup_trials: 4}
"""


@dataclass
class Result:
    """What a torture came to. `problems` is empty when every promise was kept."""

    sweeps: int = 0
    kills: int = 0
    problems: list[str] = field(default_factory=list)


class Torture:
    """Runs sweeps in a folder of its own.

    Args:
        folder: for the runs; its sweep file is written there.
        seed: of the moments of the kills.
        workers: trials at once.
        shortest_s, longest_s: a driver lives between these many seconds.
    """

    def __init__(
        self, folder: Path, *, seed: int, workers: int, shortest_s: float = 1.0, longest_s: float = 25.0
    ) -> None:
        self.folder, self.workers = folder, workers
        self.shortest_s, self.longest_s = shortest_s, longest_s
        self.random = random.Random(seed)
        self.space = folder / "small.yaml"
        self.space.write_text(SPACE_FILE)
        self._sessions_before = self._sessions()
        self._tune_log = (folder / "tune.log").open("ab")

    def whole(self) -> dict[str, Any]:
        """The uninterrupted sweep."""
        assert self._start("whole").wait() == 0, "the uninterrupted sweep failed; see tune.log"
        return self.outcome("whole")

    def interrupted(self, name: str, result: Result, *, kills: int) -> None:
        """One sweep, killed again and again until it ends or the kills are used up."""
        result.sweeps += 1
        while True:
            before = self._progress(name)
            driver = self._start(name)
            if kills > 0:
                try:
                    code = driver.wait(timeout=self.random.uniform(self.shortest_s, self.longest_s))
                except subprocess.TimeoutExpired:
                    driver.send_signal(signal.SIGKILL)
                    driver.wait()
                    kills -= 1
                    result.kills += 1
                    self._check_history(name, before, result)
                    continue
            else:
                code = driver.wait()
            if code != 0:
                result.problems.append(f"{name}: the driver ended with {code}; see tune.log")
            return

    def check_left_behind(self, name: str, result: Result) -> None:
        """No process, lock or unfinished file of the sweep is there."""
        run = self.folder / "runs" / name
        for leftover in [*run.rglob("*.tmp"), run / "driver.json", *run.parent.glob(".*.new")]:
            if leftover.exists():
                result.problems.append(f"{name}: {leftover} is left")
        if self._sessions() - self._sessions_before:
            result.problems.append(f"{name}: Ray sessions are left: {self._sessions() - self._sessions_before}")
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in words or ("ray::" in words and self._holds_ours(process)):
                result.problems.append(f"{name}: process {process.pid} is left: {words[:80]}")

    def _holds_ours(self, process: psutil.Process) -> bool:
        """Whether one of Ray's retitled processes writes to a session that started since we did."""
        with contextlib.suppress(psutil.Error):
            files = [file.path for file in process.open_files() if str(sessions_folder()) in file.path]
            return any(not any(old in path for old in self._sessions_before) for path in files)
        return False

    def outcome(self, name: str) -> dict[str, Any]:
        """What a sweep came to, times apart."""
        document = self._show(name)
        for trial in document["trials"]:
            for epoch in trial["epochs"]:
                for spent in [key for key in epoch if key.startswith("seconds")]:
                    del epoch[spent]
        weights = self.folder / "runs" / name / "best" / "model.safetensors"
        return {**document, "name": "", "weights": hashlib.sha256(weights.read_bytes()).hexdigest()}

    def _sessions(self) -> set[str]:
        """Ray session folders of ours; run one torture at a time, or they take each other's for leftovers."""
        folder = sessions_folder()
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def _start(self, name: str) -> subprocess.Popen:
        run = self.folder / "runs" / name
        command = ["resume", str(run)] if run.exists() else ["search", "--space", str(self.space), "--name", name]
        return subprocess.Popen(
            [sys.executable, "-m", "tuning", *command, "--runs", str(run.parent), "--workers", str(self.workers)],
            stdout=self._tune_log,
            stderr=self._tune_log,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env={**os.environ, "TUNEYARD_CACHE": str(self.folder / "cache")},
        )

    def _show(self, name: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "tuning", "show", str(self.folder / "runs" / name), "--json"]
        return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

    def _progress(self, name: str) -> dict[str, Any] | None:
        return self._show(name) if (self.folder / "runs" / name).exists() else None

    def _check_history(self, name: str, before: dict[str, Any] | None, result: Result) -> None:
        """What was recorded before a driver's life is there after it, unchanged, times included."""
        if before is None:
            return
        after = {trial["number"]: trial for trial in self._show(name)["trials"]}
        for trial in before["trials"]:
            now = after.get(trial["number"])
            if now is None:
                result.problems.append(f"{name}: trial {trial['number']} is lost")
            elif trial["state"] != "running" and now != trial:
                result.problems.append(f"{name}: finished trial {trial['number']} changed")
            elif now["epochs"][: len(trial["epochs"])] != trial["epochs"]:
                result.problems.append(f"{name}: recorded epochs of trial {trial['number']} changed")


def check_invariants(name: str, outcome: dict[str, Any], result: Result) -> None:
    """What holds whatever the order of finishing."""
    trials = outcome["trials"]
    if [trial["number"] for trial in trials] != list(range(outcome["budget"]["trials"])):
        result.problems.append(f"{name}: trials {[trial['number'] for trial in trials]}")
    for trial in trials:
        if trial["state"] not in ("complete", "pruned"):
            result.problems.append(f"{name}: trial {trial['number']} is {trial['state']}: {trial['error']}")
        epochs = [epoch["epoch"] for epoch in trial["epochs"]]
        if epochs != list(range(1, len(epochs) + 1)):
            result.problems.append(f"{name}: trial {trial['number']} has epochs {epochs}")


def compare(name: str, outcome: dict[str, Any], whole: dict[str, Any], result: Result) -> None:
    """With one worker an interrupted sweep is the uninterrupted one."""
    for key in whole:
        if outcome[key] != whole[key]:
            result.problems.append(f"{name}: {key} differs from the uninterrupted sweep's")


@click.command()
@click.option("--kills", default=100, show_default=True, help="Kills in all, over as many sweeps as it takes.")
@click.option("--seed", type=int, help="Of the moments of the kills; drawn and printed when left out.")
@click.option("--workers", default=1, show_default=True, help="Trials at once.")
@click.option("--longest", default=25.0, show_default=True, help="Longest life of a driver, in seconds.")
def main(kills: int, seed: int | None, workers: int, longest: float) -> None:
    """Kill sweeps and compare."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}, {workers} worker(s), {kills} kills")
    started = time.monotonic()
    result = Result()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        torture = Torture(Path(folder), seed=seed, workers=workers, longest_s=longest)
        whole = torture.whole()
        while result.kills < kills:
            name = f"killed-{result.sweeps}"
            torture.interrupted(name, result, kills=kills - result.kills)
            outcome = torture.outcome(name)
            check_invariants(name, outcome, result)
            if workers == 1:
                compare(name, outcome, whole, result)
            torture.check_left_behind(name, result)
            click.echo(f"{name}: {result.kills} kills so far, {len(result.problems)} problems")
    minutes = (time.monotonic() - started) / 60
    for problem in result.problems:
        click.echo(problem)
    click.echo(f"{result.sweeps} sweeps, {result.kills} kills, {len(result.problems)} problems, {minutes:.0f} min")
    sys.exit(1 if result.problems else 0)


if __name__ == "__main__":
    main()
