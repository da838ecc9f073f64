"""What a killed driver's Ray session leaves is cleared away, and nothing else is touched."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from trainables.errors import UserError
from tuning import cluster
from tuning.cluster import RaySession, clear_leftovers

DEAD = 2**22 + 1  # above any process id of Linux


@pytest.fixture
def ray_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ray"
    folder.mkdir()
    monkeypatch.setattr(cluster, "_ray_folder", lambda: folder)
    return folder


@pytest.fixture
def agent() -> Iterator:
    """Starts processes that look like Ray's agents: they carry a session's path on their command line."""
    started = []

    def start(argument: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", argument])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def session_of(ray_folder: Path, pid: int) -> Path:
    session = ray_folder / f"session_2026-01-02_03-04-05_{uuid.uuid4().int % 10**6}_{pid}"
    (session / "logs").mkdir(parents=True)
    return session


def record(run: Path, session: Path) -> None:
    (run / "ray.json").write_text(json.dumps({"session": str(session)}))


def test_a_dead_drivers_session_is_cleared(tmp_path: Path, ray_folder: Path, agent) -> None:
    session, other = session_of(ray_folder, DEAD), session_of(ray_folder, DEAD)
    left = [agent(f"--session-dir={session}"), agent(f"{session}/logs/agent.log"), agent(str(session))]
    others = [agent(f"--session-dir={other}"), agent(f"{session}0"), agent("--temp-dir=/tmp/ray")]
    record(tmp_path, session)
    clear_leftovers(tmp_path)
    assert not any(psutil.pid_exists(process.pid) for process in left)
    assert all(process.poll() is None for process in others)
    assert not session.exists()
    assert other.exists()
    assert not (tmp_path / "ray.json").exists()


def test_a_living_drivers_session_is_left_alone(tmp_path: Path, ray_folder: Path, agent) -> None:
    driver = agent("a driver")
    session = session_of(ray_folder, driver.pid)
    record(tmp_path, session)
    clear_leftovers(tmp_path)
    assert session.exists()
    assert driver.poll() is None


@pytest.mark.parametrize("where", ["outside", "parent", "home", "odd name"])
def test_a_strangers_record_leads_nowhere(tmp_path: Path, ray_folder: Path, where: str) -> None:
    outside = tmp_path / "precious" / f"session_x_{DEAD}"
    outside.mkdir(parents=True)
    paths = {
        "outside": outside,
        "parent": ray_folder / ".." / "precious" / outside.name,
        "home": Path.home(),
        "odd name": ray_folder,
    }
    record(tmp_path, paths[where])
    clear_leftovers(tmp_path)
    assert outside.exists()
    assert ray_folder.exists()
    assert Path.home().exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"session": 3}', "\0"])
def test_a_damaged_record_is_no_obstacle(tmp_path: Path, ray_folder: Path, text: str) -> None:
    (tmp_path / "ray.json").write_text(text)
    clear_leftovers(tmp_path)


def test_room_for_trials() -> None:
    session = RaySession(folder=None, resources={"CPU": 6.0, "GPU": 1.0})
    assert session.room({"CPU": 1.0}) == 6
    assert session.room({"CPU": 4.0}) == 1
    assert session.room({"CPU": 1.0, "GPU": 0.25}) == 4
    assert session.room({"CPU": 0.1, "GPU": 0.1}) == 10
    with pytest.raises(UserError, match="no trial fits on this machine: got '8 CPU a trial', expected at most 6 CPU"):
        session.room({"CPU": 8.0})
    with pytest.raises(UserError, match="2 GPU"):
        session.room({"CPU": 1.0, "GPU": 2.0})


def test_the_session_folder_is_short() -> None:
    sockets = cluster._ray_folder() / "session_2026-01-02_03-04-05_123456_4194304" / "sockets" / "plasma_store"
    assert len(os.fsencode(sockets)) < 107
