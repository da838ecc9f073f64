"""`tune dashboard`: optuna-dashboard shows the sweep, follows it, and cannot change a byte of its record."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.ledger import JOURNAL
from reports.sweep import Sweep
from runs import make_epoch, make_run
from trainables.errors import UserError
from tuning import dashboard
from tuning.dashboard import address, dashboard_server


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs")


@pytest.fixture
def url(run: Path) -> Iterator[str]:
    pytest.importorskip("optuna_dashboard")
    with dashboard_server(Sweep.open(run), port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield address(server)
        finally:
            server.shutdown()
            thread.join()


def ask(url: str, path: str, *, method: str = "GET", body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, method=method, data=data)
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_it_shows_the_trials_and_follows_the_sweep(run: Path, url: str) -> None:
    (study,) = ask(url, "/api/studies")["study_summaries"]
    path = f"/api/studies/{study['study_id']}?after=0"
    trials = ask(url, path)["trials"]
    assert [trial["number"] for trial in trials] == list(range(len(Sweep.open(run).ledger().trials())))
    assert [trial["state"] for trial in trials][:3] == ["Complete", "Complete", "Pruned"]
    number = trials[-1]["number"]
    Sweep.open(run).ledger(writable=True).record_epoch(number, make_epoch(number, 2, val_accuracy=0.995))
    values: list[float] = []
    deadline = time.monotonic() + 20  # it looks anew every few seconds
    while values != [0.99, 0.995] and time.monotonic() < deadline:
        time.sleep(0.2)
        values = [v["value"] for v in ask(url, path)["trials"][-1]["intermediate_values"]]
    assert values == [0.99, 0.995]
    with urllib.request.urlopen(f"{url}/dashboard", timeout=30) as page:
        assert b"<html" in page.read().lower()


def test_nothing_can_be_changed(run: Path, url: str) -> None:
    before = (run / JOURNAL).read_bytes()
    study = ask(url, "/api/studies")["study_summaries"][0]["study_id"]
    changes = [
        ("PUT", f"/api/studies/{study}/note", {"body": "mine", "version": 1}),
        ("PUT", f"/api/studies/{study}/0/note", {"body": "mine", "version": 1}),
        ("POST", "/api/studies", {"study_name": "x", "directions": ["minimize"]}),
        ("DELETE", f"/api/studies/{study}", None),
        ("POST", "/api/trials/0/tell", {"state": "Complete", "values": [1.0]}),
        ("POST", f"/api/studies/{study}/rename", {"study_name": "x"}),
    ]
    for method, path, body in changes:
        with pytest.raises(urllib.error.HTTPError) as raised:
            ask(url, path, method=method, body=body)
        assert raised.value.code == 403
        assert "without changing it" in raised.value.read().decode()
    for path in ("/api/studies", f"/api/studies/{study}?after=0", f"/api/studies/{study}/param_importances"):
        ask(url, path)
    assert (run / JOURNAL).read_bytes() == before


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("localhost", 200), ("LOCALHOST", 200), ("rebound.example", 403), ("127.0.0.1.example", 403)],
)
def test_only_who_asks_for_this_machine_is_answered(url: str, host: str, status: int) -> None:
    port = int(url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/api/studies", headers={"Host": f"{host}:{port}"})
    assert connection.getresponse().status == status
    connection.close()


def test_its_storage_could_not_write_either(run: Path) -> None:
    storage = Sweep.open(run).ledger().study._storage
    with pytest.raises(RuntimeError, match="opened to read"):
        storage.set_study_user_attr(0, "note", "mine")


def test_a_port_that_is_taken(run: Path, url: str) -> None:
    with pytest.raises(UserError, match="--port: cannot listen on this port"):
        dashboard_server(Sweep.open(run), port=int(url.rsplit(":", 1)[1]))


def test_it_says_that_it_is_not_installed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = Sweep.open(run)
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"not installed; pip install 'tuneyard\[dashboard\]'"):
        dashboard_server(sweep, port=0)


def test_the_command_says_where_and_ends_with_ctrl_c(run: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    command = [sys.executable, "-m", "tuning", "dashboard", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), process.stderr.read()
        assert ask(line.split()[0], "/api/studies")["study_summaries"]
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()  # else its pipes would be waited for as long as it lives
        assert process.stderr.read() == "ended\n"
