"""The commands that read: show, list, report, export, predict, doctor."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

import reports.predict
from reports.ledger import Ledger
from reports.predict import Prediction
from reports.sweep import Sweep, describe
from runs import HOSTILE, TRIALS, Planned, make_run
from trainables.data.cache import kind_folder
from trainables.errors import UserError
from trainables.settings import TrialSettings
from tuning import doctor as doctor_module
from tuning.cli.doctor import doctor
from tuning.cli.list import list_
from tuning.cli.main import main
from tuning.cli.predict import _said, _with_bar, predict
from tuning.cli.report import report
from tuning.cli.show import _show_trial, show
from tuning.doctor import Finding, examine, owner_of_script

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path) -> Invoke:
    """Runs a command with `--runs` given by the environment; a UserError is raised."""

    def run(command: click.Command, *arguments: str | Path) -> Result:
        result = CliRunner(env={"TUNEYARD_RUNS": str(tmp_path)}).invoke(command, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return run


# show


def test_show_tells_how_the_sweep_stands(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path)
    lines = invoke(show, "resnet18").stdout.splitlines()
    assert lines[:4] == [
        "resnet18",
        "interrupted; 10 of 12 trials begun of up to 3 epochs",
        "3 complete, 1 pruned, 5 failed, 1 paused",
        "best val_accuracy 0.95 in trial 1, epoch 2, equalled by the second",
    ]
    assert lines[5].split() == [
        "trial", "state", "val_accuracy", "best_epoch", "epochs_run", "seconds", "lr", "freeze", "nesterov",
    ]  # fmt: skip
    assert lines[6].split() == ["1", "complete", "0.95", "2", "3", "4.5", "0.02", "layer2", "false"]
    assert [line.split()[1] for line in lines[6:]].count("paused") == 1, "nobody is at work on it"
    assert len(lines) == 6 + len(TRIALS) + len(HOSTILE)
    assert lines[-5] == "failed: trial 3: <script>alert(1)</script>"
    assert all(line.isprintable() for line in lines)


def test_show_json_is_the_document(tmp_path: Path, invoke: Invoke) -> None:
    run = make_run(tmp_path)
    assert json.loads(invoke(show, "resnet18", "--json").stdout) == describe(Sweep.open(run))
    assert json.loads(invoke(show, run, "--json", "--trial", "1").stdout) == describe(Sweep.open(run))["trials"][1]


def test_show_reads_past_a_torn_line(tmp_path: Path, invoke: Invoke) -> None:
    run = make_run(tmp_path)
    whole = invoke(show, "resnet18").stdout
    with (run / "journal.log").open("a") as file:
        file.write('{"op_code": 8, "tri')
    assert invoke(show, "resnet18").stdout == whole


def test_show_one_trial(tmp_path: Path, invoke: Invoke) -> None:
    run = make_run(tmp_path)
    Ledger.open(run, metric="val_accuracy", mode="max", writable=True).record_attempt(9, "killed\nby the system")
    text = invoke(show, "resnet18", "--trial", "1").stdout
    assert "resnet18, trial 1: complete, val_accuracy 0.95 in epoch 2" in text
    rows = [line.split() for line in text.splitlines()]
    epochs = rows[next(n for n, row in enumerate(rows) if row[:2] == ["epoch", "train_loss"]) + 1 :][:3]
    assert [(row[0], row[4]) for row in epochs] == [("1", "0.6"), ("2", "0.95"), ("3", "0.95")]
    explored = [line.split()[0] for line in text.splitlines() if line.endswith(" yes")]
    assert sorted(explored) == ["freeze", "lr", "nesterov"]
    assert "error =cmd('calc')" in invoke(show, "resnet18", "--trial", "7").stdout
    assert "interrupted once: killed by the system" in invoke(show, "resnet18", "--trial", "9").stdout
    for json_too in ([], ["--json"]):
        with pytest.raises(UserError, match="no such trial: got 99, expected a number from 0 to 9"):
            invoke(show, "resnet18", "--trial", "99", *json_too)


def test_show_before_the_first_trial(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path, trials=[])
    assert invoke(show, "resnet18").stdout.splitlines()[-1] == "no trial has begun yet"
    with pytest.raises(UserError, match="no such trial"):
        invoke(show, "resnet18", "--trial", "0")


def test_show_gathers_equal_reasons(tmp_path: Path, invoke: Invoke) -> None:
    failed = Planned("failed", error="boom")
    make_run(tmp_path, trials=[failed, Planned("complete", values=[1.0]), failed])
    assert invoke(show, "resnet18").stdout.splitlines()[-1] == "failed: trials 0, 2: boom"


def test_show_gathers_reasons_that_differ_in_their_numbers(tmp_path: Path, invoke: Invoke) -> None:
    rates = (0.5, 0.25, 1e-5)
    make_run(tmp_path, trials=[Planned("failed", error=f"diverged (learning rate {lr})") for lr in rates])
    last = invoke(show, "resnet18").stdout.splitlines()[-1]
    assert last == "failed: trials 0, 1, 2, the first of them: diverged (learning rate 0.5)"


def test_show_names_the_first_of_many_that_failed(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path, trials=[Planned("failed", error="boom")] * 23)
    last = invoke(show, "resnet18").stdout.splitlines()[-1]
    assert last == f"failed: trials {', '.join(map(str, range(20)))} and 3 more: boom"


def test_one_trial_on_a_terminal_is_shown_in_brief(tmp_path: Path) -> None:
    """Explored settings and those that are no defaults; what is the same in every epoch in a line."""
    sweep = Sweep.open(make_run(tmp_path))
    whole, brief = io.StringIO(), io.StringIO()
    _show_trial(sweep, 1, Console(file=whole, width=200))
    _show_trial(sweep, 1, Console(file=brief, width=200, force_terminal=True, color_system=None))
    settings = [line.split()[0] for line in brief.getvalue().partition("explored")[2].splitlines() if line.strip()]
    named = ["weights", "image_size", "freeze", "lr", "nesterov", "epochs"]
    assert settings == [*named, "…"]
    assert (
        f"… and {len(sweep.record['spec']['defaults']) - len(named)} at their defaults: tune show" in brief.getvalue()
    )
    assert "in every epoch: train_accuracy 0.5, val_loss 0.5, lr 0.01, seconds 1.5" in brief.getvalue()
    assert "weight_decay" in whole.getvalue()
    assert "at their defaults" not in whole.getvalue()
    assert "in every epoch" not in whole.getvalue()


def test_show_what_is_not_there(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path)
    with pytest.raises(UserError, match=r"resnet81: no such sweep.*resnet18"):
        invoke(show, "resnet81")


@pytest.mark.parametrize("command", [show, report])
def test_a_damaged_record(tmp_path: Path, invoke: Invoke, command: click.Command) -> None:
    run = make_run(tmp_path, trials=[])
    (run / "sweep.json").write_text('{"schema": 1}')
    with pytest.raises(UserError, match=r"sweep.json: damaged: it lacks created"):
        invoke(command, "resnet18")


def test_show_says_why_a_sweep_ended(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path, outcome="hours")
    assert invoke(show, "resnet18").stdout.splitlines()[1].startswith("interrupted (its hours are used up); 10 of 12")
    assert json.loads(invoke(list_, "--json").stdout)["sweeps"][0]["state"] == "interrupted"


def test_show_on_a_terminal_shows_the_best_forty(tmp_path: Path) -> None:
    make_run(tmp_path, trials=[Planned("complete", {"lr": 0.01}, [n / 100]) for n in range(45)])
    env = {"FORCE_COLOR": "1", "COLUMNS": "120", "TERM": "xterm"}
    text = CliRunner(env=env).invoke(show, ["resnet18", "--runs", str(tmp_path)]).output
    assert "… and 5 more" in text
    assert text.count("complete") == 1 + 40
    assert "\x1b[" in text


@pytest.mark.parametrize(
    ("module", "command", "arguments"),
    [("show", "show", ["resnet18"]), ("show", "show", ["resnet18", "--json"]), ("list", "list_", [])],
)
def test_show_and_list_import_nothing_heavy(tmp_path: Path, module: str, command: str, arguments: list[str]) -> None:
    make_run(tmp_path)
    code = (
        f"import sys; from tuning.cli.{module} import {command} as c\n"
        f"c({[*arguments, '--runs', str(tmp_path)]!r}, standalone_mode=False)\n"
        "heavy = {'torch', 'torchvision', 'ray', 'pandas', 'sklearn', 'scipy', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "resnet18" in result.stdout


# list


def test_list(tmp_path: Path, invoke: Invoke) -> None:
    make_run(tmp_path, name="b")
    make_run(tmp_path, name="a", outcome="trials", metric="val_loss", trials=[Planned("complete", values=[0.25])])
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "sweep.json").write_text('{"schema"')
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sweep.json").write_text('{"schema": 1}')
    make_run(tmp_path, name="empty-handed")
    (tmp_path / "empty-handed" / "journal.log").unlink()
    result = invoke(list_)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1] == ["a", "finished", "1/3", "0", "0.25", "val_loss", "2026-01-02", "03:04"]
    assert rows[2][:6] == ["b", "interrupted", "10/12", "5", "0.95", "val_accuracy"]
    assert len(rows) == 3
    assert "torn" in result.stderr
    assert "damaged: it lacks created" in result.stderr
    assert "no ledger" in result.stderr

    document = json.loads(invoke(list_, "--json").stdout)
    assert document["schema"] == 1
    assert [(s["name"], s["state"], s["folder"]) for s in document["sweeps"]] == [
        ("a", "finished", str(tmp_path / "a")),
        ("b", "interrupted", str(tmp_path / "b")),
    ]
    assert document["sweeps"][1]["best"]["number"] == 1


def test_list_of_nothing(tmp_path: Path, invoke: Invoke) -> None:
    assert "no sweeps under" in invoke(list_, "--runs", tmp_path / "nowhere").stdout
    assert json.loads(invoke(list_, "--json").stdout) == {"schema": 1, "sweeps": []}


# report


def test_report_says_where_the_files_are(tmp_path: Path, invoke: Invoke) -> None:
    run = make_run(tmp_path)
    lines = invoke(report, "resnet18").stdout.splitlines()
    assert lines[0] == "interrupted; 10 of 12 trials begun of up to 3 epochs"
    files = ["index.html", "leaderboard.md", "leaderboard.csv", "report.json", "best.yaml"]
    assert lines[3:] == [str(run / "report" / name) for name in files]
    invoke(report, run, "-o", tmp_path / "out" / "deep")
    assert len(list((tmp_path / "out" / "deep").iterdir())) == 5


def test_report_of_a_folder_that_cannot_be_written_leaves_the_run_alone(tmp_path: Path, invoke: Invoke) -> None:
    """A report made elsewhere changes nothing in the run's folder."""
    run = make_run(tmp_path)
    before = sorted(run.rglob("*"))
    invoke(report, "resnet18", "-o", tmp_path / "out")
    assert sorted(run.rglob("*")) == before


def test_report_needs_no_torch_and_no_ray(tmp_path: Path) -> None:
    make_run(tmp_path)
    code = (
        "import sys; from tuning.cli.report import report\n"
        f"report(['resnet18', '--runs', {str(tmp_path)!r}], standalone_mode=False)\n"
        "sys.exit('heavy' if {'torch', 'ray'} & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


# predict


class FakePredictor:
    """Predicts what a picture's name says; `bad…` cannot be read."""

    classes = ("ants", "a long class name")
    task = "classification"

    @classmethod
    def load(cls, folder: Path) -> "FakePredictor":
        return cls()

    def predict(self, paths: list[str], *, batch_size: int, top: int, threshold: float) -> Iterator[Prediction]:
        for path in paths:
            if path.startswith("bad"):
                yield Prediction(path=path, error="not\na picture")
            else:
                yield Prediction(path=path, label="ants", probability=0.9, top=(("ants", 0.9), ("bees", 0.1))[:top])


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports.predict, "Predictor", FakePredictor)


@pytest.mark.usefixtures("fake")
def test_predict_prints_lines_json_or_csv(invoke: Invoke) -> None:
    plain = invoke(predict, "model", "a.jpg", "bad.jpg", "b.jpg")
    assert plain.stdout == "ants               0.9000  a.jpg\nants               0.9000  b.jpg\n"
    assert plain.stderr == "bad.jpg: not a picture\n"
    document = json.loads(invoke(predict, "model", "a.jpg", "bad.jpg", "--json", "--top", "1").stdout)
    assert document == [
        {"path": "a.jpg", "label": "ants", "probability": 0.9, "top": [["ants", 0.9]], "error": None},
        {"path": "bad.jpg", "label": None, "probability": None, "top": [], "error": "not\na picture"},
    ]
    rows = list(csv.reader(io.StringIO(invoke(predict, "model", "=a.jpg", "bad.jpg", "--csv").stdout)))
    assert rows == [
        ["path", "label", "probability", "error"],
        ["'=a.jpg", "ants", "0.9", ""],
        ["bad.jpg", "", "", "not\na picture"],
    ]


def test_predicted_values_are_written_as_people_write_them() -> None:
    values = (("price", 239041.27), ("rooms", 3.14159), ("off", -1e5))
    assert _said(Prediction(path="a.jpg", task="regression", values=values), width=9) == (
        "price 239041  rooms 3.142  off -100000"
    )


@pytest.mark.usefixtures("fake")
def test_predict_tells_as_many_classes_as_are_asked_for(invoke: Invoke) -> None:
    line = invoke(predict, "model", "a.jpg", "--top", "2").stdout
    assert line.split() == ["ants", "0.9000", "bees", "0.1000", "a.jpg"]
    rows = list(csv.reader(io.StringIO(invoke(predict, "model", "a.jpg", "bad.jpg", "--csv", "--top", "2").stdout)))
    assert rows == [
        ["path", "label", "probability", "label_2", "probability_2", "error"],
        ["a.jpg", "ants", "0.9", "bees", "0.1", ""],
        ["bad.jpg", "", "", "", "", "not\na picture"],
    ]
    assert len(invoke(predict, "model", "a.jpg", "--csv", "--top", "99").stdout.split("\n")[0].split(",")) == 6


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("task", "words", "refused"),
    [("multilabel", [], True), ("multilabel", ["--json"], False), ("regression", ["--json"], True)],
)
def test_predict_refuses_a_top_of_what_has_none(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, task: str, words: list[str], refused: bool
) -> None:
    monkeypatch.setattr(FakePredictor, "task", task)
    if refused:
        with pytest.raises(UserError, match=f"--top: a model of {task}"):
            invoke(predict, "model", "a.jpg", "--top", "2", *words)
    else:
        assert invoke(predict, "model", "a.jpg", "--top", "2", *words).stdout


def test_predict_refuses_a_model_of_a_very_long_name_in_one_line() -> None:
    result = CliRunner().invoke(main, ["predict", "m" * 300, "a.jpg"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "File name too long" in result.stderr


def test_a_bar_on_a_terminal_changes_no_prediction(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    predictions = [Prediction(path="a.jpg", label="ants"), Prediction(path="b.jpg", error="bad")]
    assert list(_with_bar(iter(predictions), ("a.jpg", "b.jpg"))) == predictions
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("fake")
def test_predict_fails_only_when_nothing_could_be_read(invoke: Invoke) -> None:
    assert "a.jpg" in invoke(predict, "model", "a.jpg", *["bad.jpg"] * 5).stdout
    with pytest.raises(UserError, match="not one picture could be read: got '2 unreadable'"):
        invoke(predict, "model", "bad.jpg", "bad2.jpg", "--json")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict", "model", "bad.jpg", "a.jpg"], 0, "bad.jpg: not a picture"),
        (["predict", "model", "bad.jpg", "--csv"], 2, "not one picture could be read"),
        (["show", "nowhere", "--runs", "none"], 2, "no such sweep"),
        (["report", "nowhere", "--runs", "none"], 2, "no such sweep"),
        (["export", "nowhere", "--runs", "none"], 2, "no such sweep"),
        (["list", "--runs", "none"], 0, ""),
    ],
)
def test_exit_codes(arguments: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_predict_with_a_folder_that_is_no_model(tmp_path: Path, invoke: Invoke) -> None:
    with pytest.raises(UserError, match="no exported model here"):
        invoke(predict, tmp_path, "a.jpg")


# doctor


def test_doctor_looks_at_the_real_installation(own_cache: Path) -> None:
    findings = {finding.what: finding for finding in examine()}
    assert findings["torch with torchvision"] == Finding("torch with torchvision", "fit each other")
    assert int(findings["CPUs"].state) >= 1
    assert findings["fast bf16"].state in ("yes", "no")
    assert findings["optuna"].state[0].isdigit()
    assert findings["cache"].state == str(own_cache)


def test_doctor_says_why_torchvision_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: object, **options: object) -> SimpleNamespace:
        return SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nRuntimeError: operator nms does not exist\n")

    monkeypatch.setattr(doctor_module.subprocess, "run", run)
    (finding,) = doctor_module._hardware()
    assert finding.state == "do not work: RuntimeError: operator nms does not exist"
    assert finding.advice is not None
    assert "together" in finding.advice


@pytest.mark.parametrize(
    ("script", "owner", "state"),
    [
        ("import sys\nfrom tuning.cli.main import main\nsys.exit(main())\n", "tuneyard", "ours"),
        ("import sys\nfrom ray.tune.cli.scripts import cli\nsys.exit(cli())\n", "ray", "Ray's"),
        ("print('hello')\n", None, "another program's"),
    ],
)
def test_doctor_knows_whose_tune_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, owner: str | None, state: str
) -> None:
    path = tmp_path / "tune"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(0o755)
    assert owner_of_script(path) == owner
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = doctor_module._command("tune")
    assert str(path) in finding.state
    assert state in finding.state
    assert (finding.advice is None) == (owner == "tuneyard")
    assert "not on the PATH" in doctor_module._command("tuneyard").state


def test_doctor_shows_and_clears_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("TUNEYARD_CACHE", str(cache))
    monkeypatch.setattr(doctor_module, "_hardware", lambda: iter([Finding("torch", "broken", "mend it")]))
    (kind_folder(cache, "pixels") / "abc").write_bytes(b"x" * 2_500_000)
    (cache / "mine.txt").write_text("not a cache's")
    text = invoke(doctor).stdout
    assert "cache, pixels" in text
    assert "1 entry, 2.5 MB" in text
    broken = next(line for line in text.splitlines() if "broken" in line)
    assert broken.startswith("! torch")
    assert "cleared 2.5 MB" in invoke(doctor, "--clear-cache").stdout
    assert "pixels" not in invoke(doctor).stdout
    assert (cache / "mine.txt").exists()


# the whole way, in processes of their own


def test_a_predicting_process_needs_the_exported_folder_alone(tmp_path: Path) -> None:
    """Trains, exports, deletes the run, predicts by command in a new process."""
    from test_export_predict import COMMON, paint

    from trainables.data.sources import DataSettings
    from trained import train_run
    from tuning.cli.export import export

    pictures = paint(tmp_path / "pictures", per_class=3)
    trial = TrialSettings(model="squeezenet1_1", weights="none", epochs=1, **COMMON)
    run = train_run(tmp_path, DataSettings(source="folder", path=str(pictures)), [trial])
    value = Sweep.open(run).ledger().trials()[0].value
    result = CliRunner().invoke(export, [str(run), "--formats", "safetensors", "-o", str(tmp_path / "model")])
    assert result.stdout.splitlines()[0] == str(tmp_path / "model")
    assert result.stdout.splitlines()[1].startswith("  model.safetensors: the same scores as the trained network on 6 ")
    shutil.rmtree(run)
    code = "from tuning.cli.predict import predict; predict()"
    command = [sys.executable, "-c", code, str(tmp_path / "model"), str(pictures / "val"), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    found = json.loads(output)
    right = [entry["label"] == Path(entry["path"]).parent.name for entry in found]
    assert sum(right) / len(right) == pytest.approx(value)
