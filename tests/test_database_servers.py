"""Sweeps whose ledger is in a real PostgreSQL or MariaDB, which others use too and which goes away at times."""

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

from database_servers import PASSWORD, Server, mariadb, postgresql, postgresql_programs
from reports.database import PASSWORD as VARIABLE
from reports.database import Database
from reports.sweep import Sweep, describe
from simulation import Simulation, small_spec
from trainables.errors import UserError

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
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra `postgresql`)")
    if postgresql_programs() is None:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    with postgresql() as server:
        yield server


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSWORD)


class Tune:
    """`tune` in a folder of its own, with one worker, on a machine whose only secret is the password."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        (folder / "journal.yaml").write_text(FILE)
        (folder / "database.yaml").write_text(FILE.replace("search: {", f"search: {{storage: '{server.url}', "))

    def __call__(self, *words: str, code: int = 0) -> str:
        return self.ended(self.start(*words), code=code)

    def start(self, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "tuning", *words]
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ)
        )

    def ended(self, process: subprocess.Popen, *, code: int = 0) -> str:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == code, output
        assert PASSWORD not in output
        return output

    def outcome(self, name: str) -> dict[str, Any]:
        """What a sweep came to, times apart."""
        document = describe(Sweep.open(self.folder / "runs" / name))
        for trial in document["trials"]:
            for epoch in trial["epochs"]:
                for spent in [key for key in epoch if key.startswith("seconds")]:
                    del epoch[spent]
        return {**document, "name": ""}

    def wait_for_epochs(self, name: str, count: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if (self.folder / "runs" / name).exists():
                trials = describe(Sweep.open(self.folder / "runs" / name))["trials"]
                if sum(len(trial["epochs"]) for trial in trials) >= count:
                    return
            time.sleep(0.1)
        raise AssertionError(f"no {count} epochs")


@pytest.fixture
def tune(tmp_path: Path, server: Server) -> Tune:
    return Tune(tmp_path, server)


def test_killed_and_resumed_it_ends_as_a_journal_would(tune: Tune, server: Server) -> None:
    tune("search", "--space", "journal.yaml", "--workers", "1")
    driver = tune.start("search", "--space", "database.yaml", "--workers", "1")
    tune.wait_for_epochs("database", 4)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert describe(Sweep.open(tune.folder / "runs" / "database"))["state"] == "interrupted"
    # The server is started anew while the sweep goes on: it waits.
    driver = tune.start("resume", "database")
    tune.wait_for_epochs("database", 8)
    server.restart(away_s=6)
    output = tune.ended(driver)
    assert "database finished: " in output
    assert tune.outcome("database") == tune.outcome("journal")
    run = tune.folder / "runs" / "database"
    assert not (run / "journal.log").exists()
    assert "index.html" in tune("report", "database")
    assert json.loads(tune("show", "database", "--json"))["best"] == tune.outcome("journal")["best"]
    for path in run.rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes(), f"{path} has the password"


def test_a_second_driver_is_refused_wherever_its_folder_is(tune: Tune) -> None:
    """Another machine with a copy of the run's folder sees no lock there."""
    (tune.folder / "database.yaml").write_text(
        (tune.folder / "database.yaml").read_text().replace("epochs: 5", "epochs: 60")
    )
    driver = tune.start("search", "--space", "database.yaml", "--workers", "1")
    tune.wait_for_epochs("database", 1)
    shutil.copytree(tune.folder / "runs" / "database", tune.folder / "elsewhere" / "database")
    said = tune("resume", "elsewhere/database", code=2)
    assert "this sweep is being run already" in said
    # Another sweep goes on beside it.
    (tune.folder / "other.yaml").write_text(
        (tune.folder / "database.yaml").read_text().replace("epochs: 60", "epochs: 1").replace("asha", "none")
    )
    assert "5 complete" in tune("search", "--space", "other.yaml", "--workers", "1")
    driver.send_signal(signal.SIGINT)
    tune.ended(driver, code=130)


def test_a_server_that_stays_away_stops_the_sweep_resumably(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.database.PATIENCE_S", 1.0)
    database = Database(server.url, study="away")
    sweep = Simulation(tmp_path, small_spec(trials=4, epochs=3), database=database)
    conductor = sweep.conductor()
    job = conductor.next_job()
    server.stop()
    with pytest.raises(OSError, match="the database fails: ") as told:
        conductor.epoch_done(job.number, {"epoch": 1, "val_accuracy": 0.5})  # type: ignore[union-attr]
    assert PASSWORD not in str(told.value)
    server.start()
    sweep.drive()
    assert len(sweep.table()) == 4


def test_mariadb_does_as_well(tmp_path: Path) -> None:
    pytest.importorskip("pymysql", reason="pymysql is not installed (the extra `mysql`)")
    if shutil.which("mariadbd") is None:
        pytest.skip("MariaDB is not installed (Debian's package mariadb-server)")
    (tmp_path / "journal").mkdir()
    whole = Simulation(tmp_path / "journal", small_spec())
    whole.drive()
    with mariadb() as server:
        database = Database(server.url, study="one")
        sweep = Simulation(tmp_path, small_spec(), database=database)
        sweep.drive(stop_after=20)
        with database.held():
            with pytest.raises(UserError, match="is being run already"), database.held():
                pass
            sweep.drive()
        with database.held():
            pass
        assert sweep.table() == whole.table()
