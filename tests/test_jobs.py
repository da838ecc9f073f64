"""Sweeps handed to a Ray cluster as jobs: submitted, followed, stopped, resumed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ray_cluster import RayCluster
from reports.sweep import Sweep, describe
from trainables.errors import UserError
from tuning.jobs import Jobs, check_paths

FILE = """\
data: {source: digits}
trial: {model: shufflenet_v2_x0_5, weights: none, image_size: 32, center_crop: 1.0, augment: none,
        epochs: 12, batch_size: 128, precision: fp32}
space:
  lr: {low: 1e-2, high: 3e-1, log: true}
search: {trials: 3, seed: 1, pruner: none, keep: 2}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed (the extra `cluster`)")
    # One node, since several of one machine would unpack a job's code into one folder, over each other.
    environment = {"TUNEYARD_CACHE": os.environ["TUNEYARD_CACHE"]}
    folder = tmp_path_factory.mktemp("cluster")
    with RayCluster(folder, dashboard=True, head_cpus=2, environment=environment) as cluster:
        yield cluster


class Tune:
    """`tune` on a machine that knows the cluster by its dashboard alone."""

    def __init__(self, folder: Path, cluster: RayCluster) -> None:
        self.folder = folder
        self._environment = {
            **cluster.environment,
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{cluster.dashboard_port}",
        }

    def __call__(self, *words: str, code: int = 0, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tuning", *words],
            cwd=self.folder,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def state(self, job: str) -> str:
        return next(j["state"] for j in json.loads(self("jobs", "--json"))["jobs"] if j["id"] == job)


def wait(until: Callable[[], bool], *, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, f"not after {timeout_s} s"
        time.sleep(0.3)


@pytest.mark.cluster
def test_submitted_followed_stopped_resumed(tmp_path: Path, cluster: RayCluster) -> None:
    tune = Tune(tmp_path, cluster)
    (tmp_path / "my.yaml").write_text(FILE)
    runs = tmp_path / "runs"
    run = runs / "my own"
    words = ("--name", "my own", "--runs", str(runs), "--workers", "1", "--set", "batch_size=96")
    said = tune("submit", "--space", "my.yaml", *words)
    assert len(said.splitlines()) == 4, "Ray's own words are not among ours"
    job = said.split()[1]
    assert f"tune submit --resume '{run}'" in said

    def epochs() -> int:
        return sum(len(trial["epochs"]) for trial in describe(Sweep.open(run))["trials"])

    wait(lambda: (run / "sweep.json").exists() and epochs() >= 2)
    assert "asked to stop" in tune("stop", job)
    wait(lambda: tune.state(job) == "stopped")
    wait(lambda: describe(Sweep.open(run))["state"] == "interrupted")
    before = describe(Sweep.open(run))
    assert before["trials"][0]["epochs"]

    resumed = tune("submit", "--resume", str(run)).split()[1]
    log = tune("logs", resumed, "-f")
    assert "my own finished: 3 complete, 0 pruned, 0 failed" in log
    assert log == tune("logs", resumed)
    assert tune.state(resumed) == "succeeded"
    assert f"{resumed} had ended already: succeeded" in tune("stop", resumed)
    after = describe(Sweep.open(run))
    for trial in before["trials"]:
        assert after["trials"][trial["number"]]["epochs"][: len(trial["epochs"])] == trial["epochs"]
    assert [len(trial["epochs"]) for trial in after["trials"]] == [12] * 3
    assert {trial["params"]["lr"] for trial in after["trials"]} >= {trial["params"]["lr"] for trial in before["trials"]}
    assert (run / "report" / "index.html").exists()
    table = tune("jobs")
    assert job in table
    assert resumed in table


@pytest.mark.cluster
def test_what_is_not_there_is_told(tmp_path: Path, cluster: RayCluster) -> None:
    tune = Tune(tmp_path, cluster)
    for command in ("logs", "stop"):
        assert "no such job: got 'nobody'" in tune(command, "nobody", code=2)


@pytest.mark.cluster
def test_a_wrong_token_is_told(tmp_path: Path, cluster: RayCluster) -> None:
    (said,) = Tune(tmp_path, cluster)("jobs", code=2, RAY_AUTH_TOKEN="another").splitlines()
    assert "the cluster does not take this token, or wants one" in said


def test_nobody_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuning", "jobs", "--address", "http://127.0.0.1:9"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "the cluster's jobs cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("data", "weights", "runs", "where"),
    [
        ({"path": "pictures"}, [], "/shared/runs", "data.path"),
        ({"root": "pictures", "path": "/a.csv"}, [], "/shared/runs", "data.root"),
        ({}, ["auto", "mine.pth"], "/shared/runs", "trial.weights"),
        ({}, [], "runs", "--runs"),
    ],
)
def test_paths_are_the_clusters(data: dict, weights: list[str], runs: str, where: str) -> None:
    with pytest.raises(UserError, match=f"{where}: a job looks for this on the cluster"):
        check_paths(data, weights, runs)


def test_paths_that_all_see_are_taken() -> None:
    check_paths({"path": "/shared/pictures"}, ["auto", "imagenet", "none", "/shared/mine.pth"], "/shared/runs")


def test_mistakes_cost_no_job(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(FILE.replace("epochs: 12", "epochs: twelve"))

    def said(*words: str) -> str:
        command = [sys.executable, "-m", "tuning", "submit", "--address", "http://127.0.0.1:9", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        return done.stderr

    assert "trial.epochs" in said("--space", "my.yaml", "--runs", "/shared/runs")
    assert "--space, --resume: one of them is needed" in said()
    assert "--runs: missing" in said("--space", "resnet18.yaml")
    assert "keeps these" in said("--resume", "/shared/runs/my", "--epochs", "3")
    assert "not a name for a folder" in said("--space", "resnet18.yaml", "--runs", "/shared/runs", "--name", "a/b")


def test_without_rays_part_for_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(UserError, match=r"aiohttp is not installed; pip install 'tuneyard\[cluster\]'"):
        Jobs(None)
