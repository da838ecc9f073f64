"""Real sweeps on Ray, through the commands a user types."""

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from reports.ledger import TrialRecord
from reports.sweep import Sweep, describe
from torture import Result, Torture, check_invariants, compare
from tuning.cluster import sessions_folder

pytestmark = pytest.mark.ray

FILE = """\
data: {source: digits}
trial: {model: shufflenet_v2_x0_5, weights: none, image_size: 32, center_crop: 1.0, augment: none,
        epochs: 3, batch_size: 128, precision: fp32}
space:
  lr: {low: 1e-2, high: 3e-1, log: true}
  freeze: [none, stem]
search: {trials: 4, seed: 1, pruner: none, keep: 2}
"""
LONG = FILE.replace("epochs: 3", "epochs: 60").replace("trials: 4", "trials: 2")


def sessions() -> set[str]:
    """Folders of tuneyard's own Ray sessions on this machine; the tests run one after the other."""
    return {str(path) for path in sessions_folder().glob("*")}


def ray_processes() -> list[tuple[psutil.Process, str]]:
    named = [(p, " ".join(p.info["cmdline"] or [])) for p in psutil.process_iter(["cmdline"])]
    return [(p, name) for p, name in named if "ray" in name]


def paths(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return [*process.cmdline(), *(file.path for file in process.open_files())]
    return []


class Tune:
    """`tune` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sessions_before = sessions()
        (folder / "small.yaml").write_text(FILE)

    def __call__(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(self._command(words), cwd=self.folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, (
            f"tune {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout + done.stderr

    def start(self, *words: str, own_group: bool = False) -> subprocess.Popen:
        return subprocess.Popen(
            self._command(words),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=own_group,
        )

    def show(self, name: str) -> dict:
        return describe(Sweep.open(self.folder / "runs" / name))

    def epochs(self, name: str) -> int:
        """How many are recorded, of all trials together."""
        return sum(len(trial["epochs"]) for trial in self.show(name)["trials"])

    def wait_for_epochs(self, name: str, count: int, *, timeout_s: float = 90) -> None:
        """Until so many epochs are recorded."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if (self.folder / "runs" / name / "sweep.json").exists() and self.epochs(name) >= count:
                return
            time.sleep(0.1)
        raise AssertionError(f"no {count} epochs after {timeout_s} s")

    def leftovers(self) -> list[str]:
        """What a driver of this test has not cleared away: session folders, and processes that hold files in them."""
        folders = sessions() - self._sessions_before
        held = [
            f"{p.pid} {name}" for p, name in ray_processes() if any(f in path for f in folders for path in paths(p))
        ]
        return [*sorted(folders), *held, *(str(path) for path in (self.folder / "runs").glob("*/*.json.tmp"))]

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "tuning", *words]


@pytest.fixture
def tune(tmp_path: Path) -> Tune:
    return Tune(tmp_path)


def test_search_then_all_that_reads_it(tune: Tune) -> None:
    output = tune("search", "--space", "small.yaml")
    assert "small finished: 4 complete, 0 pruned, 0 failed" in output
    assert output.count("[") >= 4, "one line a finished trial"
    run = tune.folder / "runs" / "small"
    shown = json.loads(tune("show", "small", "--json"))
    assert shown["state"] == "finished"
    assert shown["counts"] == {"complete": 4, "pruned": 0, "failed": 0, "running": 0}
    best = max(trial["value"] for trial in shown["trials"])
    assert shown["best"]["value"] == best
    # only the best two keep their weights, of their best epoch
    kept = sorted(shown["trials"], key=lambda trial: (-trial["value"], trial["number"]))[:2]
    files = sorted(str(path.relative_to(run)) for path in run.glob("trials/*/*"))
    assert files == sorted(f"trials/{t['number']}/epoch-{t['best_epoch']:05d}.safetensors" for t in kept)
    assert {path.name for path in (run / "report").iterdir()} >= {
        "leaderboard.md",
        "leaderboard.csv",
        "report.json",
        "index.html",
        "best.yaml",
    }
    exported = {"model.safetensors", "model.json", "predictions.csv", "README.md"}
    assert {path.name for path in (run / "best").iterdir()} == exported
    assert "this sweep exists" in tune("search", "--space", "small.yaml", code=2)
    assert "finished" in tune("list")
    assert tune.leftovers() == []
    # extended: the history stays, four more come
    tune("resume", "small", "--trials", "6", "--quiet")
    extended = json.loads(tune("show", "small", "--json"))
    assert extended["trials"][:4] == shown["trials"]
    assert extended["counts"]["complete"] == 6


def test_killed_again_and_again_it_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    seed = int(time.time()) % 100_000
    print(f"seed {seed}")
    torture = Torture(tmp_path, seed=seed, workers=1, shortest_s=2, longest_s=14)
    whole = torture.whole()
    result = Result()
    while result.kills < 5:
        name = f"killed-{result.sweeps}"
        torture.interrupted(name, result, kills=5 - result.kills)
        compare(name, torture.outcome(name), whole, result)
        check_invariants(name, torture.outcome(name), result)
        torture.check_left_behind(name, result)
    assert not result.problems, f"seed {seed}: {result.problems}"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_it_cleanly(tune: Tune, name: str) -> None:
    (tune.folder / "small.yaml").write_text(LONG)
    driver = tune.start("search", "--space", "small.yaml", "--workers", "1")
    tune.wait_for_epochs("small", 2)
    asked = time.monotonic()
    driver.send_signal(getattr(signal, name))
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, output
    assert "tune resume runs/small" in output
    stopped = tune.show("small")
    assert stopped["state"] == "interrupted"
    assert stopped["counts"]["running"] == 1
    assert time.monotonic() - asked < 40  # 20 s for an epoch, and Ray's own end
    assert tune.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_to_the_whole_group_is_for_the_driver(tune: Tune, number: signal.Signals) -> None:
    """Ray is needed until the epochs at work have ended."""
    (tune.folder / "small.yaml").write_text(LONG)
    driver = tune.start("search", "--space", "small.yaml", "--workers", "1", own_group=True)
    tune.wait_for_epochs("small", 2)
    os.killpg(driver.pid, number)
    output, _ = driver.communicate(timeout=40)
    assert driver.returncode == 130, output
    assert f"stopping ({number.name}), after the epochs at work" in output
    assert "tune resume runs/small" in output
    assert tune.leftovers() == []


def test_ray_is_gone_under_the_driver_and_nothing_is_lost(tune: Tune) -> None:
    (tune.folder / "small.yaml").write_text(LONG)
    driver = tune.start("search", "--space", "small.yaml", "--workers", "1")
    tune.wait_for_epochs("small", 2)
    for process in psutil.Process(driver.pid).children(recursive=True):
        if process.name() in ("gcs_server", "raylet"):
            process.kill()
    output, _ = driver.communicate(timeout=40)
    # Whoever notices first ends the driver: our watchdog, or Ray's own abort below Python.
    assert driver.returncode in (130, -signal.SIGABRT), output
    assert driver.returncode != 130 or "tune resume runs/small" in output
    assert tune.show("small")["counts"]["running"] == 1
    (tune.folder / "runs/small/sweep.yaml").write_text(LONG.replace("trials: 2", "trials: 1"))
    before = tune.epochs("small")
    again = tune.start("resume", "small", "--workers", "1")
    tune.wait_for_epochs("small", before + 1)
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)
    assert tune.leftovers() == []


def test_a_second_ctrl_c_stops_it_at_once_and_it_can_be_resumed(tune: Tune) -> None:
    (tune.folder / "small.yaml").write_text(FILE.replace("batch_size: 128", "batch_size: 1"))  # long epochs
    driver = tune.start("search", "--space", "small.yaml", "--workers", "1")
    while not workers_at_work(tune):
        time.sleep(0.2)
    driver.send_signal(signal.SIGINT)
    time.sleep(1.0)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=30)
    assert driver.returncode == 130, output
    assert "tune resume" in output
    assert tune.show("small")["state"] == "interrupted"


def workers_at_work(tune: Tune) -> bool:
    run = tune.folder / "runs" / "small"
    return run.exists() and tune.show("small")["counts"]["running"] > 0


def test_a_killed_worker_goes_on_from_its_checkpoint(tune: Tune) -> None:
    text = LONG.replace("trials: 2", "trials: 1")
    (tune.folder / "small.yaml").write_text(text)
    driver = tune.start("search", "--space", "small.yaml", "--workers", "1")
    tune.wait_for_epochs("small", 3)
    (worker,) = [p for p in psutil.Process(driver.pid).children(recursive=True) if _is_trial(p)]
    worker.kill()
    output, _ = driver.communicate(timeout=120)
    assert driver.returncode == 0, output
    (trial,) = tune.show("small")["trials"]
    assert trial["state"] == "complete"
    assert [epoch["epoch"] for epoch in trial["epochs"]] == list(range(1, 61))
    record = Sweep.open(tune.folder / "runs/small").ledger().trials()[0]
    assert len(record.attempts) == 1
    assert "process died" in record.attempts[0]


def _is_trial(process: psutil.Process) -> bool:
    try:
        return any(word.startswith(("ray::Worker", "ray::ResourceTrainable")) for word in process.cmdline())
    except psutil.Error:
        return False


def test_one_driver_at_a_time_and_a_dead_ones_place_is_taken_at_once(tune: Tune) -> None:
    (tune.folder / "small.yaml").write_text(LONG)
    driver = tune.start("search", "--space", "small.yaml")
    tune.wait_for_epochs("small", 1)
    message = tune("resume", "small", code=2)
    assert f"process {driver.pid}" in message
    driver.kill()
    driver.communicate()
    before = tune.epochs("small")
    again = tune.start("resume", "small", "--workers", "1")
    tune.wait_for_epochs("small", before + 1)
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)
    assert again.returncode == 130
    assert tune.leftovers() == []


def test_a_bad_configuration_fails_and_the_sweep_goes_on(tune: Tune) -> None:
    text = FILE.replace("{low: 1e-2, high: 3e-1, log: true}", "[0.05, 900.0]").replace("trials: 4", "trials: 6")
    text = text.replace("shufflenet_v2_x0_5", "squeezenet1_1")  # without BatchNorm to hold it back, it diverges
    (tune.folder / "small.yaml").write_text(text)
    tune("search", "--space", "small.yaml")
    trials = tune.show("small")["trials"]
    failed = [trial for trial in trials if trial["state"] == "failed"]
    assert failed
    assert all("diverged" in trial["error"] and trial["params"]["lr"] == 900 for trial in failed)
    assert any(trial["state"] == "complete" for trial in trials)


def test_the_same_error_in_every_trial_stops_the_sweep(tune: Tune) -> None:
    text = FILE.replace("{low: 1e-2, high: 3e-1, log: true}", "[900.0, 900.5]").replace("trials: 4", "trials: 40")
    text = text.replace("epochs: 3", "epochs: 1, drop_last: true").replace("batch_size: 128", "batch_size: 5000")
    (tune.folder / "small.yaml").write_text(text)
    output = tune("search", "--space", "small.yaml", "--workers", "1", code=3)
    assert "5 trials in a row failed with the same error" in output
    assert "tune search --space FILE --name NEW   when the settings were" in output
    assert len(tune.show("small")["trials"]) == 5


def test_trials_that_fit_nowhere_leave_no_run(tune: Tune) -> None:
    output = tune("search", "small.yaml", "--set", "resources.cpus_per_trial=1000", code=2)
    assert "no trial fits on this machine: got '1000 CPU a trial'" in output
    assert not (tune.folder / "runs").exists()


def test_the_same_seed_gives_the_same_bytes(tune: Tune) -> None:
    digests = []
    for name in ("one", "two"):
        tune("search", "--space", "small.yaml", "--name", name, "--workers", "1", "--trials", "2", "--quiet")
        digests.append(hashlib.sha256((tune.folder / f"runs/{name}/best/model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_a_closed_terminal_stops_it_and_loses_nothing(tune: Tune) -> None:
    (tune.folder / "small.yaml").write_text(LONG)
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "tuning", "search", "--space", "small.yaml", "--workers", "1"]
    driver = subprocess.Popen(
        command, cwd=tune.folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    reader = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL)  # a terminal reads
    tune.wait_for_epochs("small", 2)
    reader.kill()
    reader.wait()
    os.close(ours)
    driver.send_signal(signal.SIGHUP)
    assert driver.wait(timeout=60) == 130
    assert tune.show("small")["state"] == "interrupted"


def test_the_reports_command_trains_the_best_trial_again(tune: Tune) -> None:
    """From anywhere, to the last digit."""
    tune("search", "--space", "small.yaml", "--workers", "1", "--trials", "2")
    page = (tune.folder / "runs" / "small" / "report" / "index.html").read_text(encoding="utf-8")
    _, *words = shlex.split(re.search(r"<code>(tune search .*?)</code>", page)[1])  # type: ignore[index]
    tune(*words)
    best = Sweep.open(tune.folder / "runs" / "small").ledger().best()
    (again,) = Sweep.open(tune.folder / "runs" / words[-1]).ledger().trials()
    assert again.settings == best.settings

    def numbers(trial: TrialRecord) -> list[dict]:
        return [{k: v for k, v in e.items() if k.startswith(("train_", "val_", "lr"))} for e in trial.epochs]

    assert numbers(again) == numbers(best)


def test_a_finished_sweep_writes_its_report_again_without_ray(tune: Tune) -> None:
    tune("search", "--space", "small.yaml", "--trials", "2", "--quiet")
    run = tune.folder / "runs" / "small"
    weights = (run / "best" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "best")  # as a kill during the final report would leave it
    shutil.rmtree(run / "report")
    (run / "logs" / "ray.log").unlink()
    said = tune("resume", "small")
    assert "nothing was left to do; more trials: tune resume runs/small --trials N" in said
    assert "small finished: 2 complete" in said
    assert (run / "best" / "model.safetensors").read_bytes() == weights
    assert (run / "report" / "leaderboard.csv").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_stops_the_sweep_and_room_lets_it_go_on(tune: Tune, small_disk: Path) -> None:
    runs = ("--runs", str(small_disk / "runs"), "--workers", "1")
    whole = ("--runs", str(tune.folder / "runs"), "--workers", "1")
    filler = small_disk / "filler"
    tune("search", "--space", "small.yaml", "--quiet", *whole)
    filler.write_bytes(bytes(4 * 2**20))
    output = tune("search", "--space", "small.yaml", *runs, code=2)
    assert "the sweep cannot be saved" in output
    assert "No space left" in output
    assert "Traceback" not in output
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    tune("resume", "small", *runs)
    documents = [describe(Sweep.open(folder / "runs" / "small")) for folder in (tune.folder, small_disk)]
    for document in documents:
        for trial in document["trials"]:
            for epoch in trial["epochs"]:
                for name in [name for name in epoch if name.startswith("seconds")]:
                    del epoch[name]
    assert documents[0] == documents[1]


def test_a_read_only_disk_is_told_in_one_line(tune: Tune, small_disk: Path) -> None:
    runs = ("--runs", str(small_disk / "runs"), "--workers", "1")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "the run's folder cannot be made" in tune("search", "--space", "small.yaml", *runs, code=2)
    subprocess.run(["mount", "-o", "remount,rw,size=200m", small_disk], check=True)
    tune("search", "--space", "small.yaml", "--trials", "1", *runs)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    output = tune("resume", "small", "--trials", "2", *runs, code=2)
    assert "the sweep cannot be saved" in output
    assert "Read-only file system" in output
    assert "Traceback" not in output
    assert "finished" in tune("show", "small", *runs[:2]), "it can still be read"
