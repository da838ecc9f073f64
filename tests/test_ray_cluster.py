"""Sweeps on a Ray cluster of several nodes, which come and go: through the commands a user types."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ray_cluster import RayCluster, separate_file_systems
from reports.sweep import Sweep, describe
from torture import Result, check_invariants
from tuning.conductor import NODE_LOST

pytestmark = pytest.mark.cluster

FILE = """\
data: {source: digits}
trial: {model: shufflenet_v2_x0_5, weights: none, image_size: 32, center_crop: 1.0, augment: none,
        epochs: 12, batch_size: 128, precision: fp32}
space:
  lr: {low: 1e-2, high: 3e-1, log: true}
  freeze: [none, stem]
search: {trials: 6, seed: 1, pruner: none, keep: 2}
"""


class Tune:
    """`tune` on a cluster's node, in a folder of its own."""

    def __init__(self, folder: Path, cluster: RayCluster) -> None:
        self.folder, self.cluster = folder, cluster
        (folder / "small.yaml").write_text(FILE)
        self.run = folder / "runs" / "small"

    def start(self, *words: str, address: str | None = None) -> subprocess.Popen:
        command = [sys.executable, "-m", "tuning", *words, "--address", address or self.cluster.address]
        project = str(Path(__file__).parent.parent)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.cluster.environment, "PYTHONPATH": project, "TUNEYARD_CACHE": str(self.folder / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def show(self) -> dict:
        return describe(Sweep.open(self.run))

    def epochs(self) -> int:
        return sum(len(trial["epochs"]) for trial in self.show()["trials"])

    def wait(self, driver: subprocess.Popen, until: Callable[[], bool], *, timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while not ((self.run / "sweep.json").exists() and until()):
            assert driver.poll() is None, driver.communicate()[0]
            assert time.monotonic() < deadline, (
                f"not after {timeout_s} s: {self.run.exists() and self.show()['counts']}"
            )
            time.sleep(0.2)

    def ended(self, driver: subprocess.Popen, *, code: int = 0) -> str:
        output, _ = driver.communicate(timeout=240)
        assert driver.returncode == code, output
        return output


def test_a_node_is_lost_and_another_joins(tmp_path: Path) -> None:
    """Nothing is lost, doubled, or done again but the epoch at work; room that is there is used."""
    with RayCluster(tmp_path) as cluster:
        first, _ = cluster.add_node(cpus=1), cluster.add_node(cpus=1)
        tune = Tune(tmp_path, cluster)
        (tmp_path / "small.yaml").write_text(FILE.replace("epochs: 12", "epochs: 30"))
        driver = tune.start("search", "--space", "small.yaml")
        tune.wait(driver, lambda: tune.show()["counts"]["running"] == 2 and tune.epochs() >= 3)
        cluster.kill(first)
        tune.wait(driver, lambda: any(t.attempts for t in Sweep.open(tune.run).ledger().trials()))
        lost = next(t for t in Sweep.open(tune.run).ledger().trials() if t.attempts)
        there = tune.epochs()
        tune.wait(driver, lambda: tune.epochs() >= there + 2)
        cluster.add_node(cpus=1)
        # The only room for it, for the other place is never given up.
        tune.wait(driver, lambda: len(tune.show()["trials"][lost.number]["epochs"]) > len(lost.epochs))
        output = tune.ended(driver)
    assert "small finished: 6 complete, 0 pruned, 0 failed" in output
    result = Result()
    check_invariants("small", tune.show(), result)
    assert not result.problems
    assert [len(trial["epochs"]) for trial in tune.show()["trials"]] == [30] * 6
    attempts = [trial.attempts for trial in Sweep.open(tune.run).ledger().trials() if trial.attempts]
    assert attempts == [(NODE_LOST,)]


def test_the_head_is_lost_and_another_cluster_goes_on(tmp_path: Path) -> None:
    with RayCluster(tmp_path) as cluster:
        cluster.add_node(cpus=2)
        tune = Tune(tmp_path, cluster)
        driver = tune.start("search", "--space", "small.yaml", "--workers", "1")
        tune.wait(driver, lambda: tune.epochs() >= 2)
        cluster.kill(cluster.head)
        gone = time.monotonic()
        output = tune.ended(driver, code=130)
        assert time.monotonic() - gone < 45
        assert "tune resume runs/small" in output
        before = tune.show()
    other = tmp_path / "other"
    other.mkdir()
    with RayCluster(other) as cluster:
        cluster.add_node(cpus=2)
        tune.cluster = cluster
        assert "6 complete" in tune.ended(tune.start("resume", "small"))
    after = tune.show()
    for trial in before["trials"]:
        assert after["trials"][trial["number"]]["epochs"][: len(trial["epochs"])] == trial["epochs"]
    assert [len(trial["epochs"]) for trial in after["trials"]] == [12] * 6


@pytest.mark.skipif(bool(reason := separate_file_systems()), reason=f"no file systems of a process's own: {reason}")
def test_nodes_that_do_not_see_the_pictures_are_sent_them_once(tmp_path: Path) -> None:
    """Each node sees the runs' folder, and of the rest only its own."""
    (tmp_path / "cache").mkdir()
    with RayCluster(tmp_path) as cluster:
        caches = [tmp_path / "node-0", tmp_path / "node-1"]
        for cache in caches:
            others = tuple(other for other in [*caches, tmp_path / "cache"] if other != cache)
            for folder in caches:
                folder.mkdir(exist_ok=True)
            cluster.add_node(cpus=1, environment={"TUNEYARD_CACHE": str(cache)}, hidden=others)
        tune = Tune(tmp_path, cluster)
        few = FILE.replace("epochs: 12", "epochs: 2").replace("none, stem", "stem, backbone")  # all share
        (tmp_path / "small.yaml").write_text(few)
        output = tune.ended(tune.start("search", "--space", "small.yaml"))
        assert "6 complete" in output
        (store,) = [
            path for path in (tmp_path / "cache" / "pixels").iterdir() if not path.name.startswith((".", "CACHE"))
        ]
        files = {path.name: path.read_bytes() for path in store.iterdir()}
        whole = sum(len(content) for content in files.values())
        for cache in caches:
            copy = cache / "pixels" / store.name
            assert {path.name: path.read_bytes() for path in copy.iterdir()} == files
            assert (cache / "features").is_dir(), "what trials share is a node's own"
        assert f"sent {2 * whole:,} bytes of pictures and weights to 2 nodes" in output
        # A damaged copy is not used, and the other node is sent nothing.
        with (caches[0] / "pixels" / store.name / "pixels.bin").open("r+b") as pixels:
            pixels.truncate(1000)
        output = tune.ended(tune.start("resume", "small", "--trials", "10"))
        assert "10 complete" in output
        assert f"sent {whole:,} bytes of pictures and weights to 1 node" in output


@pytest.mark.skipif(bool(reason), reason=f"no file systems of a process's own: {reason}")
def test_a_node_that_does_not_see_the_runs_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with RayCluster(tmp_path) as cluster:
        cluster.add_node(cpus=1, hidden=(tmp_path / "runs",))
        output = Tune(tmp_path, cluster)
        said = output.ended(output.start("search", "--space", "small.yaml"), code=2)
    assert f"{os.uname().nodename}: a node does not see the sweep's folder" in said
    assert "put --runs on a file system that all nodes see" in said


def test_a_wrong_token_is_told(tmp_path: Path) -> None:
    with RayCluster(tmp_path) as cluster:
        cluster.add_node(cpus=1)
        tune = Tune(tmp_path, cluster)
        token = cluster.environment["RAY_AUTH_TOKEN"]
        cluster.environment = {**cluster.environment, "RAY_AUTH_TOKEN": "another"}
        (said,) = tune.ended(tune.start("search", "--space", "small.yaml"), code=2).splitlines()
        assert "the Ray cluster cannot be joined" in said
        assert "RAY_AUTH_TOKEN" in said
        assert not tune.run.exists()
        # A file with the token is enough.
        (tmp_path / "token").write_text(token)
        kept = {name: value for name, value in cluster.environment.items() if not name.startswith("RAY_AUTH")}
        cluster.environment = {**kept, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
        assert "1 complete" in tune.ended(tune.start("search", "--space", "small.yaml", "--trials", "1"))


def test_two_sweeps_share_a_cluster_by_their_workers(tmp_path: Path) -> None:
    with RayCluster(tmp_path) as cluster:
        cluster.add_node(cpus=2)
        tune = Tune(tmp_path, cluster)
        (tmp_path / "small.yaml").write_text(FILE.replace("epochs: 12", "epochs: 4"))
        drivers = [
            tune.start("search", "--space", "small.yaml", "--name", name, "--workers", "1") for name in ("small", "b")
        ]
        for driver in drivers:
            assert "6 complete" in tune.ended(driver)
