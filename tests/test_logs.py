"""Logs in other tools: what is written is the ledger's, each number once, also when a sweep is killed and resumed."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from conftest import PROJECT
from reports.ledger import TrialRecord
from reports.sweep import Sweep
from runs import Planned, add_trial, make_epoch, make_run
from trainables.errors import UserError
from tuning import logs
from tuning.log_mlflow import DATABASE, SWEEP_TAG, MLflowLog
from tuning.log_tensorboard import FOLDER, TensorBoardLog
from tuning.logs import LOGGERS, check_loggers, following
from tuning.spec import LoggerName, Spec

SCALARS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")
Numbers = dict[tuple[int, str], list[tuple[int, float]]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two complete trials, a pruned one, one that failed before its first epoch, and one at work."""
    planned = [
        Planned("complete", values=[0.5, 0.9, 0.8]),
        Planned("pruned", values=[0.4]),
        Planned("failed", error="<b>no</b> memory"),
        Planned("complete", values=[0.6, 0.7, 0.7]),
        Planned("running", values=[0.3]),
    ]
    return make_run(tmp_path, trials=planned)


def go_on(run: Path) -> list[TrialRecord]:
    """The trial at work ends, and another one begins."""
    ledger = Sweep.open(run).ledger(writable=True)
    ledger.record_epoch(4, make_epoch(4, 2, val_accuracy=0.35))
    ledger.record_epoch(4, make_epoch(4, 3, val_accuracy=0.33))
    ledger.finish(4, "complete")
    spec = Spec.from_json(json.loads((run / "sweep.json").read_text())["spec"])
    planned = Planned("running", values=[0.2, 0.25])
    add_trial(ledger, planned, settings=spec.settings_for(planned.params))
    return ledger.trials()


def of_ledger(trials: list[TrialRecord]) -> Numbers:
    found: Numbers = {}
    for trial in trials:
        for epoch in trial.epochs:
            for name in SCALARS:
                found.setdefault((trial.number, name), []).append((epoch["epoch"], epoch[name]))
        if trial.state in ("complete", "pruned") and trial.value is not None and trial.best_epoch is not None:
            found[trial.number, "best_val_accuracy"] = [(trial.best_epoch, trial.value)]
    return found


class _TensorBoard:
    """Reads back what TensorBoard itself reads."""

    make = TensorBoardLog

    def __init__(self) -> None:
        self.events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def numbers(self, run: Path) -> Numbers:
        found: Numbers = {}
        for folder in sorted((run / FOLDER).glob("trial-*")):
            read = self._read(folder)
            for name in read.Tags()["scalars"]:
                points = [(event.step, pytest.approx(event.value, rel=1e-6)) for event in read.Scalars(name)]
                found[int(folder.name.removeprefix("trial-")), name] = points
        return found

    def described(self, run: Path, number: int) -> dict[str, Any]:
        from tensorboard.plugins.hparams import metadata

        content = self._read(run / FOLDER / f"trial-{number:05d}").PluginTagToContent("hparams")
        start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
        return {
            name: value.string_value or value.number_value or value.bool_value for name, value in start.hparams.items()
        }

    def _read(self, folder: Path) -> Any:
        read = self.events.EventAccumulator(str(folder), size_guidance={"scalars": 0})
        read.Reload()
        return read


class _MLflow:
    """Reads back through MLflow's own client."""

    make = MLflowLog

    def __init__(self) -> None:
        self.mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'tuneyard[mlflow]'")

    def numbers(self, run: Path) -> Numbers:
        client = self._client(run)
        found: Numbers = {}
        for number, kept in self._runs(client).items():
            for name in kept.data.metrics:
                history = client.get_metric_history(kept.info.run_id, name)
                found[number, name] = sorted((point.step, point.value) for point in history)
        return found

    def described(self, run: Path, number: int) -> dict[str, Any]:
        kept = self._runs(self._client(run))[number]
        return {**kept.data.params, "state": kept.data.tags["tuneyard.state"], "status": kept.info.status}

    def _client(self, run: Path) -> Any:
        return self.mlflow.MlflowClient(tracking_uri=f"sqlite:///{run / 'logs' / 'mlflow.db'}")

    def _runs(self, client: Any) -> dict[int, Any]:
        (experiment,) = client.search_experiments(filter_string="name = 'resnet18'")
        kept = client.search_runs([experiment.experiment_id])
        assert len({entry.data.tags[SWEEP_TAG] for entry in kept}) == 1
        return {int(entry.data.tags["tuneyard.trial"]): entry for entry in kept}


@pytest.fixture(params=["tensorboard", "mlflow"])
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return {"tensorboard": _TensorBoard, "mlflow": _MLflow}[request.param]()


def test_what_is_read_back_is_the_ledger(run: Path, tool: Any) -> None:
    sweep = Sweep.open(run)
    log = tool.make(sweep)
    log.write(sweep.ledger().trials())
    log.write(sweep.ledger().trials())  # nothing is new
    log.close()
    assert tool.numbers(run) == of_ledger(sweep.ledger().trials())
    described = tool.described(run, 1)
    assert described["state"] == "pruned"
    assert str(described["freeze"]) == "none"
    assert float(described["lr"]) == pytest.approx(0.01)
    assert tool.described(run, 2)["state"] == "failed"


@pytest.mark.parametrize("tool", ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize("closed", [True, False], ids=["stopped", "killed"])
def test_a_resumed_sweep_doubles_nothing(run: Path, tool: Any, closed: bool) -> None:
    first = tool.make(Sweep.open(run))
    first.write(Sweep.open(run).ledger().trials())
    if closed:
        first.close()
    trials = go_on(run)
    second = tool.make(Sweep.open(run))
    second.write(trials)
    second.close()
    assert tool.numbers(run) == of_ledger(trials)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (TensorBoardLog, "logs"),
        (TensorBoardLog, FOLDER),
        (MLflowLog, "logs"),
        (MLflowLog, DATABASE),
        (MLflowLog, f"{DATABASE}-journal"),
    ],
)
def test_what_is_a_link_is_refused(run: Path, tmp_path: Path, make: Any, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link in a run's folder"):
        make(Sweep.open(run))


def test_the_table_has_what_the_settings_offer() -> None:
    assert tuple(LOGGERS) == get_args(LoggerName)


def test_a_tool_that_is_not_installed_is_told_before_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"search.logging: mlflow is not installed.*pip install 'tuneyard\[mlflow\]'"):
        check_loggers(["mlflow"])
    check_loggers(None)
    check_loggers([])


@pytest.mark.slow
def test_search_tells_it_before_any_folder_is_made(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "data: {source: digits}\ntrial: {weights: none, model: small_cnn}\n"
        "space: {lr: [0.1, 0.2]}\nsearch: {logging: [tensorboard]}\n"
    )
    hide = "import sys; sys.modules['tensorboard'] = None; from tuning.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hide, "search", "--space", "a.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "search.logging: tensorboard is not installed" in done.stderr
    assert not (tmp_path / "runs").exists()


class _Failing:
    def __init__(self, sweep: Sweep) -> None:
        pass

    def write(self, trials: object) -> None:
        raise ConnectionError("the server\nis gone")

    def close(self) -> None:
        raise AssertionError("asked again")


class _Counting:
    def __init__(self, sweep: Sweep) -> None:
        self.seen: list[int] = []
        self.closed = 0
        _Counting.last = self

    last: Any = None

    def write(self, trials: list[TrialRecord]) -> None:
        self.seen.append(len(trials))

    def close(self) -> None:
        self.closed += 1


def test_a_tool_that_fails_is_left_out_and_told(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOGGERS", {"tensorboard": _Counting, "mlflow": _Failing})
    sweep = Sweep.open(run)
    console = Console(file=io.StringIO(), width=500)
    with following(sweep, sweep.ledger(), ["mlflow", "tensorboard"], console=console, period_s=0) as follow:
        follow()
        follow()
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("mlflow cannot be written to any more (ConnectionError: the server is gone)") == 1
    assert _Counting.last.seen[-1] == 5
    assert _Counting.last.closed == 1


def test_a_sweep_without_logs_starts_no_thread(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_Writer", None)
    with following(Sweep.open(run), None, None, console=Console()) as follow:  # type: ignore[arg-type]
        follow()


RAY = """\
data: {source: digits}
trial: {model: small_cnn, weights: none, image_size: 16, center_crop: 1.0, augment: none, epochs: 2, batch_size: 128}
space: {lr: {low: 1e-3, high: 1e-1, log: true}}
search: {trials: 2, pruner: none, logging: [tensorboard]}
"""


@pytest.mark.ray
def test_a_sweep_writes_them_while_it_runs_and_a_longer_one_adds_to_them(tmp_path: Path) -> None:
    tool = _TensorBoard()
    (tmp_path / "small.yaml").write_text(RAY)

    def tune(*words: str) -> None:
        command = [sys.executable, "-m", "tuning", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr

    tune("search", "--space", "small.yaml")
    run = tmp_path / "runs" / "small"
    first = {path: path.read_bytes() for path in (run / FOLDER).rglob("events*")}
    assert len(first) == 2
    tune("resume", "small", "--trials", "3")
    assert {path: path.read_bytes() for path in first} == first  # what has ended is not touched
    trials = Sweep.open(run).ledger().trials()
    told = tool.numbers(run)
    assert {number for number, _ in told} == {0, 1, 2}
    for trial in trials:
        accuracies = [(epoch["epoch"], epoch["val_accuracy"]) for epoch in trial.epochs]
        assert told[trial.number, "val_accuracy"] == accuracies
        assert told[trial.number, "best_val_accuracy"] == [(trial.best_epoch, trial.value)]
