"""Sweeps at home on object storage, driven from machines that have its URL alone, and a storage that goes away."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from object_storage import SECRET, Storage, google, s3

from ray_cluster import RayCluster
from reports.sweep import Sweep
from trainables.bucket import Bucket

pytestmark = pytest.mark.cluster

FILE = """\
data: {source: digits}
trial: {model: shufflenet_v2_x0_5, weights: none, image_size: 32, center_crop: 1.0, augment: none,
        epochs: 5, batch_size: 128, precision: fp32}
space:
  lr: {low: 1e-2, high: 3e-1, log: true}
  freeze: [none, stem]
search: {trials: 5, seed: 1, pruner: asha, keep: 2}
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    pytest.importorskip("moto", reason="moto is not installed (the extra `dev`)")
    pytest.importorskip("flask_cors", reason="what moto serves with is not installed (the extra `dev`)")
    with s3(tmp_path_factory.mktemp("moto") / "moto.log") as storage:
        yield storage


@pytest.fixture(scope="module")
def googles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    pytest.importorskip("gcp_storage_emulator", reason="gcp-storage-emulator is not installed (the extra `dev`)")
    with google(tmp_path_factory.mktemp("google") / "google.log") as storage:
        yield storage


class Machine:
    """`tune` with a disk of its own; pictures are decoded once for all machines."""

    def __init__(self, folder: Path, storage: Storage, *, pixels: Path) -> None:
        self.folder, self._storage = folder, storage
        (folder / "cache").mkdir(parents=True)
        (folder / "cache" / "pixels").symlink_to(pixels)
        (folder / "my.yaml").write_text(FILE)
        (folder / "longer.yaml").write_text(FILE.replace("epochs: 5", "epochs: 80").replace("asha", "none"))

    def __call__(self, *words: str, code: int = 0, **environment: str) -> str:
        return self.ended(self.start(*words, **environment), code=code)

    def start(self, *words: str, **environment: str) -> subprocess.Popen:
        own = {**os.environ, **self._storage.environment, "TUNEYARD_CACHE": str(self.folder / "cache"), **environment}
        command = [sys.executable, "-m", "tuning", *words]
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=own
        )

    def ended(self, process: subprocess.Popen, *, code: int = 0) -> str:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == code, output
        assert SECRET not in output
        return output

    def outcome(self, run: str) -> dict[str, Any]:
        """What a sweep came to, times apart."""
        document = json.loads(self("show", run, "--json"))
        for trial in document["trials"]:
            for epoch in trial["epochs"]:
                for spent in [key for key in epoch if key.startswith("seconds")]:
                    del epoch[spent]
        return {**document, "name": ""}

    def wait_for_epochs(self, name: str, count: int) -> None:
        """Until the driver that works here has recorded so many."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for copy in (self.folder / "cache" / "runs").glob(f"*/{name}"):
                ready = (copy / "journal.log").exists() and (copy / "sweep.json").exists()
                if ready and sum(len(trial.epochs) for trial in Sweep.open(copy).ledger().trials()) >= count:
                    return
            time.sleep(0.1)
        raise AssertionError(f"no {count} epochs")


@pytest.fixture
def machines(tmp_path: Path, storage: Storage, own_cache: Path) -> tuple[Machine, Machine]:
    pixels = own_cache / "pixels"
    pixels.mkdir(exist_ok=True)
    return Machine(tmp_path / "ants", storage, pixels=pixels), Machine(tmp_path / "bees", storage, pixels=pixels)


def test_gone_on_with_elsewhere_it_ends_as_in_a_folder(machines: tuple[Machine, Machine], storage: Storage) -> None:
    """A driver is killed, and its machine's disk is lost; on the next one the storage is away for 20 s."""
    ants, bees = machines
    ants("search", "--space", "my.yaml", "--workers", "1")
    expected = ants.outcome("my")
    run = f"{storage.url}/my"
    driver = ants.start("search", "--space", "my.yaml", "--workers", "1", "--runs", storage.url)
    ants.wait_for_epochs("my", 4)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    shutil.rmtree(ants.folder / "cache" / "runs")
    driver = bees.start("resume", run)
    bees.wait_for_epochs("my", 7)
    with storage.away():
        time.sleep(20)
    output = bees.ended(driver)
    assert "may be at work on this sweep" in output
    assert "my finished: " in output
    assert bees.outcome(run) == expected
    # All of it is there for anyone who has the URL.
    assert ants.outcome(run) == expected
    assert "finished" in ants("list", "--runs", storage.url)
    assert "index.html" in ants("report", "my", "--runs", storage.url)
    assert "try it: tune predict" in ants("export", run, "--formats", "safetensors")
    picture = next(ants.folder.rglob("report/index.html")).parent / "no-picture.png"
    assert "no-picture.png" in ants("predict", run, str(picture), code=2)
    again = bees("resume", run, "--trials", "6")
    assert "may be at work" not in again, "the driver before took its note away"
    assert "my finished: " in again
    kept = [path for path in _names(storage, "my/trials") if path.endswith(".safetensors")]
    complete = [trial for trial in bees.outcome(run)["trials"] if trial["state"] == "complete"]
    assert len(kept) == min(2, len(complete))


def test_one_driver_at_a_time_on_all_machines(machines: tuple[Machine, Machine], storage: Storage) -> None:
    ants, bees = machines
    driver = ants.start("search", "--space", "longer.yaml", "--workers", "1", "--runs", storage.url)
    ants.wait_for_epochs("longer", 1)
    assert "this sweep exists" in bees("search", "--space", "longer.yaml", "--runs", storage.url, code=2)
    assert "this sweep is being run already" in bees("resume", f"{storage.url}/longer", code=2)
    assert json.loads(bees("show", f"{storage.url}/longer", "--json"))["state"] == "running"
    driver.send_signal(signal.SIGINT)
    output = ants.ended(driver, code=130)
    assert f"tune resume {storage.url}/longer" in output
    document = json.loads(bees("show", f"{storage.url}/longer", "--json"))
    assert document["state"] == "interrupted"
    assert document["trials"][0]["epochs"], "what was recorded here is at home"


def test_nodes_that_see_no_folder_of_the_drivers(
    machines: tuple[Machine, Machine], storage: Storage, tmp_path: Path
) -> None:
    """On a cluster, checkpoints go from its nodes to the storage."""
    ants, _ = machines
    with RayCluster(tmp_path, environment=storage.environment) as cluster:
        cluster.add_node(cpus=1, environment={"TUNEYARD_CACHE": str(tmp_path / "node-cache")})
        words = ["search", "--space", "my.yaml", "--name", "clustered", "--address", cluster.address]
        token = {name: value for name, value in cluster.environment.items() if name.startswith("RAY_AUTH")}
        output = ants(*words, "--runs", storage.url, **token)
    assert "clustered finished: " in output
    assert any(name.endswith(".safetensors") for name in _names(storage, "clustered/trials"))
    assert not list((ants.folder / "cache" / "runs").rglob("trials/*/*")), "none came by the driver's disk"


def test_ctrl_c_while_the_storage_is_away(machines: tuple[Machine, Machine], storage: Storage) -> None:
    """It is acted on, and what had not got home goes on from this machine."""
    ants, _ = machines
    name = "away"
    driver = ants.start("search", "--space", "longer.yaml", "--name", name, "--workers", "1", "--runs", storage.url)
    ants.wait_for_epochs(name, 2)
    with storage.away():
        time.sleep(10)
        driver.send_signal(signal.SIGINT)
        time.sleep(1)
        driver.send_signal(signal.SIGINT)
        began = time.monotonic()
        output = ants.ended(driver, code=2)  # not all of it is at home
        assert time.monotonic() - began < 25
    assert "does not answer" in output
    assert f"tune resume {storage.url}/{name}" in output
    assert json.loads(ants("show", f"{storage.url}/{name}", "--json"))["state"] == "interrupted"
    said = ants("resume", f"{storage.url}/{name}", "--workers", "1", "--hours", "0.0001", code=3)
    assert "its hours are used up" in said
    assert f"at home {storage.url}/{name}" in said


def test_googles_storage(tmp_path: Path, googles: Storage, own_cache: Path) -> None:
    """As on S3: a driver killed with its disk, gone on with from another machine."""
    pixels = own_cache / "pixels"
    pixels.mkdir(exist_ok=True)
    ants, bees = (Machine(tmp_path / name, googles, pixels=pixels) for name in ("ants", "bees"))
    ants("search", "--space", "my.yaml", "--workers", "1")
    expected = ants.outcome("my")
    driver = ants.start("search", "--space", "my.yaml", "--workers", "1", "--runs", googles.url)
    ants.wait_for_epochs("my", 4)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    shutil.rmtree(ants.folder / "cache" / "runs")
    run = googles.url_of("my")
    assert "my finished: " in bees("resume", run)
    assert bees.outcome(run) == expected
    assert "finished" in ants("list", "--runs", googles.url)
    assert f"at home {googles.url_of('my/report')}" in ants("report", run)
    assert "there is: my" in ants("show", googles.url, code=2)
    bucket = Bucket(run)
    kept = {folder for folder in bucket.folders("trials") if bucket.files(f"trials/{folder}")}
    assert kept == set(bucket.folders("trials")), "no folder without a file"
    complete = [trial for trial in expected["trials"] if trial["state"] == "complete"]
    assert len(kept) == min(2, len(complete))


def test_places_on_googles_storage(googles: Storage) -> None:
    bucket = Bucket(googles.url_of("place"))
    bucket.check()
    assert (bucket.read("a"), bucket.has("a"), bucket.age_s("a"), bucket.folders("")) == (None, False, None, [])
    bucket.write("trials/3/a", b"one")
    bucket.write("trials/3/a", b"two")
    bucket.write("trials/12/b", b"")
    assert bucket.read("trials/3/a") == b"two"
    assert 0 <= bucket.age_s("trials/3/a") < 60
    assert (bucket.files("trials/3"), bucket.files("trials"), bucket.folders("trials")) == (["a"], [], ["12", "3"])
    for _ in range(2):  # what is not there is removed already
        bucket.remove("trials/3/a")
        bucket.remove_folder("trials/12")
    assert bucket.read("trials/12/b") is None
    assert bucket.folders("trials") == []


def test_mistakes_are_told_in_a_line(
    machines: tuple[Machine, Machine], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ants, _ = machines

    def said(*words: str, **environment: str) -> str:
        (line,) = ants(*words, code=2, **environment).strip().splitlines()
        return line

    assert "there is no such bucket, or not for you" in said("show", "s3://nowhere/sweeps/my")
    assert "no such sweep" in said("show", f"{storage.url}/nowhere")
    nobody = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    assert "the object storage cannot be used" in said("list", "--runs", storage.url, **nobody)
    assert "no such object storage" in said("search", "--space", "my.yaml", "--runs", "ftp://host/sweeps")
    assert "expected such as s3://sweeps/my" in said("search", "--space", "my.yaml", "--runs", "s3:/sweeps/my")
    assert "expected such as s3://sweeps/my" in said("show", "s3//sweeps/my")
    assert "must be a path on this machine" in said("export", "my", "-o", f"{storage.url}/model")
    assert "must be a path on this machine" in said("predict", "my", "s3://bucket/pictures")
    assert "no such object storage" in said("submit", "--space", "my.yaml", "--runs", "http://host/sweeps")
    for name, value in storage.environment.items():
        monkeypatch.setenv(name, value)
    Bucket(storage.url).write("around/sweep.json", b"{}")
    assert "a sweep itself" in said("search", "--space", "my.yaml", "--runs", f"{storage.url}/around")
    assert "there is: around" in said("show", f"{storage.url}/nowhere")
    # Looked for before a cluster is.
    assert "this sweep exists" in said("submit", "--space", "my.yaml", "--name", "around", "--runs", storage.url)
    assert "no such sweep" in said("submit", "--resume", f"{storage.url}/nowhere")


def _names(storage: Storage, under: str) -> list[str]:
    from pyarrow.fs import FileSelector, S3FileSystem

    options = storage.environment
    system = S3FileSystem(
        access_key=options["AWS_ACCESS_KEY_ID"],
        secret_key=options["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
        endpoint_override=options["AWS_ENDPOINT_URL"],
    )
    found = system.get_file_info(FileSelector(f"{storage.url.removeprefix('s3://')}/{under}", recursive=True))
    return [info.path for info in found if info.is_file]
