"""`tune check` and `tune init`, and the ready sweep files by name."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from trainables.errors import UserError
from tuning.cli.check import check
from tuning.cli.init import init
from tuning.cli.main import main
from tuning.preview import data_rows, sample_rows, search_rows, space_rows, trial_rows
from tuning.ready import find_space, likeliest, ready_files, title
from tuning.spec_file import load_spec

TEXT = """\
data:
  source: folder
  path: pictures
trial:
  epochs: 3
  weights: net.pth
  model: resnet18
space:
  lr: {low: 1e-5, high: 0.1, log: true}
  batch_size: {low: 8, high: 64, step: 8}
  optimizer: [sgd, adam]
  nesterov: {choices: [true, false], when: {optimizer: sgd}}
search: {trials: 30}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(TEXT)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "net.pth").touch()
    return tmp_path


def run(command, *args: str):
    return CliRunner().invoke(command, args, catch_exceptions=False)


def test_rows_say_what_the_file_says(here):
    (here / "pictures").rmdir()
    (here / "net.pth").unlink()
    spec = load_spec("my.yaml")
    assert ("path", f"pictures (not found at {here / 'pictures'})") in data_rows(spec)
    (here / "pictures").mkdir()
    assert ("path", "pictures (found)") in data_rows(spec)
    assert trial_rows(spec) == [
        ("epochs", "3", "8"),
        ("weights", f"net.pth (not found at {here / 'net.pth'})", "auto"),
    ]
    assert space_rows(spec) == [
        ("lr", "1e-05 to 0.1, log scale", ""),
        ("batch_size", "8 to 64 in steps of 8", ""),
        ("optimizer", "sgd, adam", ""),
        ("nesterov", "true, false", "optimizer is sgd"),
    ]
    assert ("trials", "30") in search_rows(spec)
    assert ("gpus_per_trial", "auto") in search_rows(spec)


def test_sample_trials_are_the_same_every_time_and_show_what_is_inactive(here):
    spec = load_spec("my.yaml")
    header, rows = sample_rows(spec, 20)
    assert header == ("trial", "lr", "batch_size", "optimizer", "nesterov")
    assert (header, rows) == sample_rows(spec, 20)
    assert {row[3:] for row in rows} == {("sgd", "true"), ("sgd", "false"), ("adam", "–")}


def test_check_shows_a_valid_file(here):
    result = run(check, "my.yaml", "--sample", "2", "--set", "batch_size=16")
    assert result.exit_code == 0
    for words in ("Every trial", "Explored", "log scale", "Drawn at random: 2 trials", "optimizer is sgd"):
        assert words in result.output
    assert "8 to 64" not in result.output
    assert result.output.splitlines()[-1] == "my.yaml is valid. Run it: tune search --space my.yaml --set batch_size=16"
    last = run(check, "my.yaml", "--trials", "1234567", "--hours", "0.5").output.splitlines()[-1]
    assert last == "my.yaml is valid. Run it: tune search --space my.yaml --trials 1234567 --hours 0.5"


def test_check_gives_advice(here):
    assert (
        "Note: freeze_epochs: does nothing with freeze none" in run(check, "my.yaml", "--set", "freeze_epochs=2").output
    )


def test_check_knows_ready_files_by_name(here):
    assert "resnet18 is valid" in run(check, "resnet18").output


def test_check_raises_the_users_mistakes(here):
    with pytest.raises(UserError, match=r"^--set lrr=1: no such section"):
        run(check, "my.yaml", "--set", "lrr=1")


def test_names_are_shown_as_they_are_written(here):
    (here / "my.yaml").write_text(TEXT.replace("net.pth", "'[red]net[/red].pth'"))
    (here / "[red]net[").mkdir()
    (here / "[red]net[" / "red].pth").touch()
    assert "[red]net[/red].pth" in run(check, "my.yaml").output


@pytest.mark.parametrize("command", [check, init])
def test_help_ends_with_an_example(command):
    assert run(command, "--help").output.splitlines()[-1].startswith(f"  Example: tune {command.name} ")


def test_init_lists_the_ready_files(here):
    lines = run(init).output.splitlines()
    assert [line.split()[0] for line in lines[: len(ready_files())]] == list(ready_files())
    assert all(title(path) in "\n".join(lines) for path in ready_files().values())


@pytest.mark.parametrize("name", ["resnet18", "resnet18.yaml"])
def test_init_copies_a_ready_file_out(here, name):
    result = run(init, name)
    assert (here / "resnet18.yaml").read_bytes() == ready_files()["resnet18.yaml"].read_bytes()
    assert "tune search --space resnet18.yaml" in result.output


def test_init_never_overwrites_unless_forced(here):
    with pytest.raises(UserError, match="the file is there already; choose another with -o, or add --force"):
        run(init, "resnet18", "-o", "my.yaml")
    assert (here / "my.yaml").read_text() == TEXT
    run(init, "resnet18", "-o", "my.yaml", "--force")
    assert (here / "my.yaml").read_bytes() == ready_files()["resnet18.yaml"].read_bytes()


def test_init_replaces_nothing_but_files(here):
    os.mkfifo("pipe")
    with pytest.raises(UserError, match="pipe: no file that could be written over"):
        run(init, "resnet18", "-o", "pipe", "--force")
    assert Path("pipe").is_fifo()


def test_init_writes_into_a_folder(here):
    (here / "sweeps").mkdir()
    run(init, "resnet18", "-o", "sweeps")
    assert (here / "sweeps" / "resnet18.yaml").is_file()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["resnet81"], "no such ready sweep file: got 'resnet81', expected one of .*; did you mean 'resnet18.yaml'?"),
        (["resnet18", "-o", "nowhere/my.yaml"], "nowhere: no such folder"),
        (["-o", "my.yaml"], "-o my.yaml: which sweep file?: expected a NAME: "),
    ],
)
def test_init_says_what_is_wrong(here, args, message):
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        run(init, *args)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hymenoptra", "hymenoptera.yaml"),
        ("resnet81.yaml", "resnet18.yaml"),
        ("cats", "dogs_and_cats.yaml"),
        ("Digits", "resnet18.yaml"),
        ("alexnet", "fashion_mnist.yaml"),
        ("zebras", None),
        ("a", None),
    ],
)
def test_a_name_that_none_has_is_guessed(name: str, meant: str | None) -> None:
    assert likeliest(name) == meant
    with pytest.raises(UserError) as caught:
        run(init, name)
    assert (f"did you mean '{meant}'?" in str(caught.value)) == (meant is not None)


def test_a_file_of_ones_own_goes_before_a_ready_one(here):
    assert find_space("resnet18.yaml") == ready_files()["resnet18.yaml"]
    (here / "resnet18.yaml").write_text(TEXT)
    assert find_space("resnet18.yaml") == Path("resnet18.yaml")
    assert find_space("resnet18") == ready_files()["resnet18.yaml"]


def test_a_folder_of_a_ready_files_name_is_not_in_the_way(here):
    (here / "resnet18").mkdir()
    assert find_space("resnet18") == ready_files()["resnet18.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "resnet18.yml",
            "no such sweep file: got 'resnet18.yml', expected a YAML file, or the name of a ready one;"
            " did you mean 'resnet18.yaml'?",
        ),
        (
            "mine.yaml",
            "no such sweep file: got 'mine.yaml', expected a YAML file, or the name of a ready one;"
            " `tune init` lists the ready ones",
        ),
        (
            ".",
            "a folder, not a sweep file: got '.', expected a YAML file, or the name of a ready one;"
            " `tune init` lists the ready ones",
        ),
    ],
)
def test_no_such_sweep_file(here, text, message):
    with pytest.raises(UserError) as caught:
        find_space(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data: {source: folder, path: my_picturs}", ["data.path: no such file or folder: got '{}/my_picturs'"]),
        ("data: {source: folder, path: 's3://b/bees'}", ["data.path: must be on this machine: got 's3://b/bees'"]),
        ("trial: {weights: squeezenet.pth}", ["trial.weights: no such file or folder: got '{}/squeezenet.pth'"]),
        (
            "space: {weights: [none, own.pth, .]}",
            [
                "space.weights: no such file or folder: got '{}/own.pth'",
                "space.weights: this is a folder without an exported model: got '{}'",
            ],
        ),
        (f"trial: {{weights: {'x' * 300}}}", ["trial.weights: cannot be read (File name too long): got '{}/xxx"]),
        ("trial: {weights: ~nobody-here/own.pth}", ["trial.weights: no such home folder: got '~nobody-here/own.pth'"]),
    ],
)
def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path, text: str, told: list[str]) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(text + ("" if "space" in text else "\nspace: {lr: [0.1, 0.2]}"))
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == len(told)
    for line, words in zip(lines, told, strict=True):
        assert words.format(tmp_path) in line
    assert "is valid" not in result.stdout


MISTAKES = """\
data:
  source: csv
  path: labels.csv
  target_columns: [colour, size]
  task: regression
  val: 2
trial:
  model: resnet81
  image_size: 32
  optimizer: adamm
  momntum: 0.9
  weights: own.pth
space:
  lr: {low: 1, high: 0.1}
  nesterov: {choices: [true, false], when: {optimizer: sgdd}}
  beta1: {low: 0.8, high: 0.99, when: {optimizer: adam}}
  loss: [mse, cross_entropy]
search:
  metric: val_accuracy
  trials: none
  first:
    - {lr: 0.5}
"""


@pytest.mark.parametrize("command", [["check", "my.yaml"], ["search", "--space", "my.yaml"]], ids=["check", "search"])
def test_mistakes_of_all_kinds_are_told_at_once(here: Path, command: list[str]) -> None:
    """And each once: what only follows from another one (`beta1`, the trial of `first`) is not told."""
    (here / "my.yaml").write_text(MISTAKES)
    (here / "labels.csv").write_text("image,color,size\n0.png,1,2\n")
    result = CliRunner().invoke(main, command)
    told = [line.removeprefix("tune: ").removeprefix("my.yaml:") for line in result.stderr.splitlines()]
    assert [line.partition(": ")[2].partition(": got")[0] for line in told] == [
        "data.target_columns: no such column in labels.csv",
        "data.val: out of range",
        "trial.model: no such model",
        "trial.optimizer: no such choice",
        "trial.momntum: unknown setting; did you mean 'momentum'?",
        "trial.weights: no such file or folder",
        "space.lr: low is above high",
        "space.nesterov.when.optimizer: no such choice",
        "space.loss: no loss for data.task regression",
        "search.metric: no metric of data.task regression",
        "search.trials: wrong type",
    ]
    assert result.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "trial: {modell: alexnet, freeze: features}\nspace: {lr: [0.1, 0.2]}",
        "trail: {model: alexnet}\nspace: {freeze: [none, features]}",
        "model: alexnet\nspace: {freeze: [none, features]}",
        "space: {optimiser: [adam, sgd], beta1: {choices: [0.8, 0.9], when: {optimizer: adam}}}",
        "data: {sourc: csv, path: a.csv, task: regression}\nsearch: {metric: val_mae, trials: 1}",
        "search: {metrik: val_mae, first: [{lr: 0.1}]}\nspace: {lr: [0.1, 0.2]}",
    ],
)
def test_what_only_follows_from_a_misspelt_name_is_not_told(here: Path, text: str) -> None:
    (here / "my.yaml").write_text(text)
    (line,) = CliRunner().invoke(main, ["check", "my.yaml"]).stderr.splitlines()
    assert "unknown s" in line


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("image,color,size,part", ["data.target_columns: no such column in {}: got 'colour'"]),
        (
            "image,colour,size,size",
            [
                "data.target_columns: more than one such column in {}: got 'size'",
                "data.split_column: no such column in {}: got 'part'",
            ],
        ),
        ("", ["data.path: the file is empty: got '{}'"]),
        ("image,colour,size,part", []),
    ],
)
def test_check_reads_the_header_of_a_table(here: Path, header: str, told: list[str]) -> None:
    columns = "target_columns: [colour, size], split_column: part"
    (here / "my.yaml").write_text(
        f"data: {{source: csv, path: labels.csv, task: regression, {columns}}}\nspace: {{lr: [0.1, 0.2]}}\n"
    )
    (here / "labels.csv").write_text(header + "\n" if header else "")
    result = CliRunner().invoke(main, ["check", "my.yaml"])
    assert [line in result.stderr for line in (line.format("labels.csv") for line in told)] == [True] * len(told)
    assert len(result.stderr.splitlines()) == len(told)


def test_a_learning_rate_that_never_falls_is_said(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("trial: {step_size: 7, epochs: 6}\nspace: {gamma: {low: 0.1, high: 0.9}}\n")
    result = CliRunner().invoke(main, ["check", str(file)])
    assert result.exit_code == 0
    assert "step_size: 7 of 6 epochs: the learning rate never falls" in " ".join(result.stdout.split())
