"""Who may work on a run: one driver at a time, in a folder that is what it seems."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.drivers import driver_of
from runs import make_run
from trainables.errors import UserError
from tuning.driving import driving, saving

HOLDER = """
import sys, time
from pathlib import Path
from tuning.driving import driving
with driving(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_another_driver_is_refused_and_told_who_holds_it(tmp_path: Path, holder: subprocess.Popen) -> None:
    assert driver_of(tmp_path)["pid"] == holder.pid
    with pytest.raises(UserError, match=f"being run already: got 'process {holder.pid} on "), driving(tmp_path):
        pass


def test_a_dead_drivers_place_is_free_at_once(tmp_path: Path, holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    assert driver_of(tmp_path) is None
    with driving(tmp_path):
        assert json.loads((tmp_path / "driver.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "driver.json").exists()


def test_what_a_killed_driver_left_unfinished_is_removed(tmp_path: Path) -> None:
    trial = tmp_path / "trials" / "3"
    trial.mkdir(parents=True)
    remains = [
        tmp_path / ".sweep.json.77.tmp",
        trial / ".epoch-00002.safetensors.77.tmp",
        tmp_path / ".journal.log.wider",
    ]
    kept = [tmp_path / "sweep.json", trial / "epoch-00001.safetensors", tmp_path / "my notes.tmp"]
    for path in [*remains, *kept]:
        path.write_text("x")
    with driving(tmp_path):
        assert not any(path.exists() for path in remains)
        assert all(path.exists() for path in kept)


@pytest.mark.parametrize(
    "name",
    [
        "trials",
        "logs",
        "report",
        "best",
        "journal.log",
        "driver.json",
        ".driver.lock",
        "logs/ray.log",
        "logs/trial-3.txt",
        "logs/mlflow.db",
        "logs/tensorboard/trial-00001",
    ],
)
def test_a_link_in_a_run_is_refused(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (run / name).symlink_to(outside)
    with pytest.raises(UserError, match="a link in a run's folder"), driving(run):
        pass
    assert outside.read_text() == "precious"


def test_an_error_of_the_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught, saving(str(tmp_path)):
        (tmp_path / "not there" / "file").write_text("x")
    assert "the sweep cannot be saved" in str(caught.value)
    assert f"tune resume {tmp_path}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_whose_place_no_record_could_hold(tmp_path: Path) -> None:
    run = make_run(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(UserError, match=r"RUN: the name .* not valid UTF-8: .*/caf\\xe9/"), driving(run):
        pass
