"""What a killed driver's Ray session leaves is cleared away, and nothing else is touched."""

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from trainables.errors import UserError
from tuning import cluster
from tuning.address import check_address
from tuning.cluster import RaySession, clear_leftovers, process_begun

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


def note(session: Path, *, driver: int = DEAD, begun: str | None = "1 some-boot", host: str = "") -> None:
    document = {"pid": driver, "begun": begun, "host": host or socket.gethostname()}
    (session / "driver.json").write_text(json.dumps(document))


def test_a_dead_drivers_session_is_cleared(sessions: Path, agent) -> None:
    session, other = session_in(sessions), session_in(sessions)
    left = [
        agent(f"--session-dir={session}"),
        agent(f"{session}/session_2026-01-02/logs/agent.log"),
        agent(str(session)),
    ]
    others = [agent(f"--session-dir={other}"), agent(f"{session}0"), agent("--temp-dir=/tmp/ray")]
    note(session)
    clear_leftovers()
    assert all(process.wait(timeout=1) is not None for process in left)
    assert all(process.poll() is None for process in others)
    assert not session.exists()
    assert other.exists()


def test_a_living_drivers_session_is_left_alone(sessions: Path, agent) -> None:
    driver = agent("a driver")
    session = session_in(sessions)
    note(session, driver=driver.pid, begun=process_begun(driver.pid))
    clear_leftovers()
    assert session.exists()
    assert driver.poll() is None


def test_a_living_driver_of_a_former_version_is_left_alone(sessions: Path, agent) -> None:
    driver = agent("a driver")
    session = session_in(sessions)
    for begun in ({"pid": driver.pid}, {"pid": DEAD}):
        document = {**begun, "since": 1.0, "host": socket.gethostname()}
        (session / "driver.json").write_text(json.dumps(document))
        os.utime(session, (1.0, 1.0))
        clear_leftovers()
        assert session.exists() == (begun["pid"] == driver.pid)


def test_another_process_of_the_same_number_is_no_driver(sessions: Path, agent) -> None:
    process = agent("somebody else, later")
    session = session_in(sessions)
    note(session, driver=process.pid, begun="1" + str(process_begun(process.pid)))
    clear_leftovers()
    assert not session.exists()
    assert process.poll() is None


def test_setting_the_clock_makes_nobody_another(agent, monkeypatch: pytest.MonkeyPatch) -> None:
    process = agent("a driver")
    begun = process_begun(process.pid)
    monkeypatch.setattr(time, "time", lambda: 1.0)
    monkeypatch.setattr(psutil, "boot_time", lambda: 1.0)
    assert begun == process_begun(process.pid) != process_begun(os.getpid())
    process.kill()
    process.wait()
    assert process_begun(process.pid) is None


def test_a_driver_of_another_machine_may_live(sessions: Path) -> None:
    session = session_in(sessions)
    note(session, host="elsewhere")
    clear_leftovers()
    assert session.exists()


def test_a_link_leads_nowhere(tmp_path: Path, sessions: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    note(outside)
    (sessions / "deadbeef").symlink_to(outside)
    clear_leftovers()
    assert outside.exists()


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"pid": "x"}', "\0"])
def test_a_session_that_does_not_say_whose_it_is_goes_after_a_minute(sessions: Path, text: str | None) -> None:
    session = session_in(sessions)
    if text is not None:
        (session / "driver.json").write_text(text)
    clear_leftovers()
    assert session.exists()
    os.utime(session, (1.0, 1.0))
    clear_leftovers()
    assert not session.exists()


def session_on(*nodes: dict[str, float], joined: bool = False) -> RaySession:
    return RaySession(folder=Path(), nodes=lambda: nodes, joined=joined)


def test_room_for_trials() -> None:
    session = session_on({"CPU": 6.0, "GPU": 1.0})
    assert session.room({"CPU": 1.0}) == 6
    assert session.room({"CPU": 4.0}) == 1
    assert session.room({"CPU": 1.0, "GPU": 0.25}) == 4
    assert session.room({"CPU": 0.1, "GPU": 0.1}) == 10
    with pytest.raises(UserError, match="no trial fits on this machine: got '8 CPU a trial', expected at most 6 CPU"):
        session.room({"CPU": 8.0})
    with pytest.raises(UserError, match="2 GPU"):
        session.room({"CPU": 1.0, "GPU": 2.0})


def test_a_trial_is_on_one_node() -> None:
    session = session_on({"CPU": 3.0}, {"CPU": 3.0, "GPU": 1.0}, {}, joined=True)
    assert session.room({"CPU": 2.0}) == 2
    assert session.room({"CPU": 1.0, "GPU": 0.5}) == 2
    with pytest.raises(UserError, match=r"no trial fits on any node of the cluster: .* expected at most 3 CPU"):
        session.room({"CPU": 4.0})


@pytest.mark.parametrize(("visible", "gpus"), [("-1", 0), ("", None), ("0", None), ("GPU-3fa9,GPU-17c2", None)])
def test_gpus_that_cuda_is_not_to_see_are_not_counted(
    visible: str, gpus: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    asked: list[dict] = []
    monkeypatch.setattr(cluster.ray, "init", lambda **how: asked.append(how))
    cluster._start(Path())
    assert asked[0]["num_gpus"] == gpus


def test_how_many_trials_at_once() -> None:
    here, cluster = session_on({"CPU": 4.0}), session_on({"CPU": 4.0}, joined=True)
    assert here.limit({"CPU": 1.0}, workers=None) == cluster.limit({"CPU": 1.0}, workers=None) == 4
    assert here.limit({"CPU": 1.0}, workers=2) == cluster.limit({"CPU": 1.0}, workers=2) == 2
    assert here.limit({"CPU": 1.0}, workers=9) == 4
    assert cluster.limit({"CPU": 1.0}, workers=9) == 9, "a cluster that grows sees what is wanted"
    assert session_on(joined=True).limit({"CPU": 1.0}, workers=None) == 0, "all nodes are gone; others may join"


@pytest.mark.parametrize("address", ["auto", "10.0.0.5:6379", "[::1]:6379", "head.example:6379"])
def test_addresses(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize("address", ["", "local"])
def test_no_address_is_a_ray_of_our_own(address: str) -> None:
    assert check_address(address) is None


@pytest.mark.parametrize("address", ["head", ":6379", "head:", "head:x", "http://head:8265/"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UserError, match="not an address of a Ray cluster"):
        check_address(address)


def test_ray_client_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"through Ray Client.*got 'ray://head:10001'.*tune submit"):
        check_address("ray://head:10001")


def test_the_session_folder_is_short() -> None:
    sockets = (
        cluster.sessions_folder()
        / "deadbeef"
        / "session_2026-01-02_03-04-05_123456_4194304"
        / "sockets"
        / "plasma_store"
    )
    assert len(os.fsencode(sockets)) < 107
