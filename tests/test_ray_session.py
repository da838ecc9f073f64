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
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sessions"
    folder.mkdir()
    monkeypatch.setattr(cluster, "sessions_folder", lambda: folder)
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


def session_in(sessions: Path) -> Path:
    session = sessions / uuid.uuid4().hex[:8]
    (session / "session_2026-01-02" / "logs").mkdir(parents=True)
    return session


def note(run: Path, session: Path, *, driver: int = DEAD, since: float = 0.0) -> None:
    (run / "ray.json").write_text(json.dumps({"folder": str(session), "driver": driver, "since": since}))


def test_a_dead_drivers_session_is_cleared(tmp_path: Path, sessions: Path, agent) -> None:
    session, other = session_in(sessions), session_in(sessions)
    left = [
        agent(f"--session-dir={session}"),
        agent(f"{session}/session_2026-01-02/logs/agent.log"),
        agent(str(session)),
    ]
    others = [agent(f"--session-dir={other}"), agent(f"{session}0"), agent("--temp-dir=/tmp/ray")]
    note(tmp_path, session)
    clear_leftovers(tmp_path)
    assert all(process.wait(timeout=1) is not None for process in left)
    assert all(process.poll() is None for process in others)
    assert not session.exists()
    assert other.exists()
    assert not (tmp_path / "ray.json").exists()


def test_a_living_drivers_session_is_left_alone(tmp_path: Path, sessions: Path, agent) -> None:
    driver = agent("a driver")
    session = session_in(sessions)
    note(tmp_path, session, driver=driver.pid, since=psutil.Process(driver.pid).create_time())
    clear_leftovers(tmp_path)
    assert session.exists()
    assert driver.poll() is None


def test_another_process_of_the_same_number_is_no_driver(tmp_path: Path, sessions: Path, agent) -> None:
    process = agent("somebody else, later")
    session = session_in(sessions)
    note(tmp_path, session, driver=process.pid, since=psutil.Process(process.pid).create_time() - 3600)
    clear_leftovers(tmp_path)
    assert not session.exists()
    assert process.poll() is None


@pytest.mark.parametrize("where", ["outside", "parent", "home", "itself", "above"])
def test_a_strangers_record_leads_nowhere(tmp_path: Path, sessions: Path, where: str) -> None:
    outside = tmp_path / "precious" / "deadbeef"
    outside.mkdir(parents=True)
    paths = {
        "outside": outside,
        "parent": sessions / ".." / "precious" / "deadbeef",
        "home": Path.home(),
        "itself": sessions,
        "above": sessions / "..",
    }
    note(tmp_path, paths[where])
    clear_leftovers(tmp_path)
    assert outside.exists()
    assert sessions.exists()
    assert Path.home().exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"folder": 3}', "\0"])
def test_a_damaged_record_is_no_obstacle(tmp_path: Path, sessions: Path, text: str) -> None:
    (tmp_path / "ray.json").write_text(text)
    clear_leftovers(tmp_path)


def test_room_for_trials() -> None:
    session = RaySession(scratch=Path(), resources={"CPU": 6.0, "GPU": 1.0})
    assert session.room({"CPU": 1.0}) == 6
    assert session.room({"CPU": 4.0}) == 1
    assert session.room({"CPU": 1.0, "GPU": 0.25}) == 4
    assert session.room({"CPU": 0.1, "GPU": 0.1}) == 10
    with pytest.raises(UserError, match="no trial fits on this machine: got '8 CPU a trial', expected at most 6 CPU"):
        session.room({"CPU": 8.0})
    with pytest.raises(UserError, match="2 GPU"):
        session.room({"CPU": 1.0, "GPU": 2.0})


def test_the_session_folder_is_short() -> None:
    sockets = (
        cluster.sessions_folder()
        / "deadbeef"
        / "session_2026-01-02_03-04-05_123456_4194304"
        / "sockets"
        / "plasma_store"
    )
    assert len(os.fsencode(sockets)) < 107
