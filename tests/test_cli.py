"""The program as a whole: its names, its help, what it imports, and how it ends."""

import errno
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runs import make_run
from trainables.errors import UserError
from tuning.cli.main import COMMANDS, main, run
from tuning.ready import ready_files

HEAVY = ("torch", "torchvision", "ray", "pandas", "sklearn")
# `tune` with these words, then the names of what it should not have imported.
PROBE = """
import sys
sys.argv = ["tune", *sys.argv[1:]]
from tuning.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code
print(*sorted({name.split(".")[0] for name in sys.modules} & set(%r)), file=sys.stderr)
sys.exit(code)
"""


def tune(*words: str, cwd: Path) -> subprocess.CompletedProcess:
    """`python -m tuning` in a process of its own."""
    command = [sys.executable, "-m", "tuning", *words]
    environment = {name: value for name, value in os.environ.items() if name != "TUNEYARD_RUNS"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def words_of(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else ""


# names


def test_tune_tuneyard_and_the_module_are_one_program(tmp_path: Path) -> None:
    points = importlib.metadata.entry_points(group="console_scripts")
    for name in ("tune", "tuneyard"):
        ours = [point for point in points.select(name=name) if point.dist is not None and point.dist.name == "tuneyard"]
        assert [point.value for point in ours] == ["tuning.cli.main:run"]
        assert ours[0].load() is run
    assert tune("--version", cwd=tmp_path).stdout == f"tuneyard, version {importlib.metadata.version('tuneyard')}\n"
    assert tune("--help", cwd=tmp_path).stdout.startswith("Usage: python -m tuning [OPTIONS] COMMAND")


# help


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    listed = result.output.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split(maxsplit=1) for line in listed] == [[name, text] for name, (_, _, text) in COMMANDS.items()]


@pytest.mark.parametrize("name", [*COMMANDS])
def test_a_commands_help_ends_in_its_example(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"], prog_name="tune")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: tune {name}")
    example = " ".join(result.output.rpartition("Example:")[2].split())
    assert example.startswith(f"tune {name}")


@pytest.mark.parametrize("name", [*COMMANDS])
def test_every_option_says_what_it_does(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts}"
            assert parameter.help.rstrip("]").endswith((".", "/")), f"{name} {parameter.opts}: {parameter.help}"


# what a command imports


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["list"], 0),
        (["show", "nothing"], 2),
        (["init"], 0),
        (["check", "resnet18"], 0),
        (["search", "--help"], 0),
        (["search", "--space", "nothing.yaml"], 2),
    ],
    ids=words_of,
)
def test_what_needs_no_torch_imports_none(words: list[str], code: int, tmp_path: Path) -> None:
    probe = [sys.executable, "-c", PROBE % (HEAVY,), *words]
    done = subprocess.run(probe, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.splitlines()[-1] == "", done.stderr


# how it ends


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "nothing"], "tune: nothing: no such sweep; there is none under runs"),
        (
            ["search", "--space", "resnet81.yaml"],
            "tune: no such sweep file: got 'resnet81.yaml', expected a YAML file, or the name of a ready one;"
            " did you mean 'resnet18.yaml'?",
        ),
        (
            ["search", "--space", "resnet18.yaml", "--set", "lr=fast"],
            "tune: --set lr=fast: trial.lr: wrong type: got 'fast', expected number > 0 and < 1,000",
        ),
        (
            ["check", "~nobody-of-that-name/my.yaml"],
            "tune: no such sweep file: got '~nobody-of-that-name/my.yaml', expected a YAML file, or the name of a ready"
            " one; `tune init` lists the ready ones",
        ),
        (["show", "x" * 300], f"tune: too long for a path: got '{'x' * 118}…"),
        (
            ["check", "resnet18.yaml", "--set", "space.weight_decay={low: 0.001, high: 0.1, step: 1e-30}"],
            "tune: --set space.weight_decay={low: 0.001, high: 0.1, step: 1e-30}: space.weight_decay.step: too many"
            " steps: got 1e-30, expected at most 1,000,000; leave step out",
        ),
    ],
    ids=words_of,
)
def test_the_users_mistake_is_one_line_and_exit_code_2(words: list[str], message: str, tmp_path: Path) -> None:
    done = tune(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{message}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["show", "resume", "report", "export"])
def test_a_sweep_that_is_not_there(command: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [command, "nothing", "--runs", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"tune: nothing: no such sweep; there is none under {tmp_path}\n"


def test_several_mistakes_are_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("trial: {lrr: 1}\nspace: {lr: 5}\n", encoding="utf-8")
    done = tune("check", "my.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert [line.startswith("tune: my.yaml:") for line in done.stderr.splitlines()] == [True, True]


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", [["init"], ["show", "resnet18"]], ids=words_of)
def test_output_that_finds_no_room_is_told_and_no_success(words: list[str], buffered: bool, tmp_path: Path) -> None:
    make_run(tmp_path / "runs")
    command = [sys.executable, "-m", "tuning", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment, check=False
        )
    told = "tune: the output cannot be written (No space left on device); make room\n"
    assert (done.returncode, done.stderr) == (2, told)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_place_that_may_not_be_used_is_a_line(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str) -> None:
        raise OSError(code, os.strerror(code), "there/my\n.yaml")

    monkeypatch.setattr("tuning.cli.main.import_module", refused)
    result = CliRunner().invoke(main, ["list"])
    told = f"tune: there/my .yaml: cannot be read or written ({os.strerror(code)})\n"
    assert (result.exit_code, result.stderr) == (2, told)


def test_what_the_terminal_has_no_letters_for_is_spelt_out(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", name="sch\u00f6n")
    command = [sys.executable, "-m", "tuning", "show", "sch\u00f6n"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sch\\xf6n\n")


@pytest.mark.parametrize("closed", [1, 2])
def test_nobody_needs_to_listen(closed: int, tmp_path: Path) -> None:
    command = ["sh", "-c", f'exec "$0" -m tuning init {closed}>&-', sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tuning.cli.main.import_module", broken)
    result = CliRunner().invoke(main, ["list"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_mistake_found_while_a_command_is_loaded_is_a_line_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken(name: str) -> None:
        raise UserError("no such thing")

    monkeypatch.setattr("tuning.cli.main.import_module", mistaken)
    result = CliRunner().invoke(main, ["list"])
    assert (result.exit_code, result.stderr) == (2, "tune: no such thing\n")


@pytest.mark.parametrize("words", [["serch"], ["list", "--jason"], ["search"], ["show"]], ids=" ".join)
def test_a_command_line_that_is_none(words: list[str], tmp_path: Path) -> None:
    done = tune(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: ")
    assert "Traceback" not in done.stderr


# in an empty folder


def test_list_in_an_empty_folder(tmp_path: Path) -> None:
    done = tune("list", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "no sweeps under runs; start one: tune search --space resnet18.yaml\n"
    assert json.loads(tune("list", "--json", cwd=tmp_path).stdout) == {"schema": 1, "sweeps": []}
    assert not list(tmp_path.iterdir())


def test_a_command_misspelt_is_corrected() -> None:
    result = CliRunner().invoke(main, ["serach"])
    assert result.exit_code == 2
    assert "No such command 'serach'. Did you mean 'search'?" in result.output
    assert "Did you mean" not in CliRunner().invoke(main, ["xyzzy"]).output


def test_a_home_folder_that_the_shell_leaves_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_run(tmp_path / "sweeps", name="mine")
    for words, environment in ((["--runs=~/sweeps"], {}), ([], {"TUNEYARD_RUNS": "~/sweeps"})):
        assert "mine" in CliRunner(env=environment).invoke(main, ["list", *words]).output
    result = CliRunner().invoke(main, ["report", "mine", "--runs=~/sweeps", "--output=~/report"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_folder_whose_name_no_record_could_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (tmp_path / "my.yaml").write_text("space: {lr: [0.1, 0.2]}\n", encoding="utf-8")
    (odd / "my.yaml").write_text("space: {lr: [0.1, 0.2]}\n", encoding="utf-8")
    for place, words, where in (
        (odd, ["check", "my.yaml"], "my.yaml"),
        (odd, ["check", "resnet18"], str(ready_files()["resnet18.yaml"])),
        (odd, ["search", "my.yaml"], "my.yaml"),
        (tmp_path, ["search", "my.yaml", "--runs", str(odd)], "--runs"),
        (tmp_path, ["search", "my.yaml", "--name", odd.name], "--name"),
    ):
        monkeypatch.chdir(place)
        result = CliRunner().invoke(main, words)
        told = f"tune: {where}: the name of a file or folder is not valid UTF-8: "
        assert (result.exit_code, result.stderr[: len(told)]) == (2, told)
        assert "caf\\xe9" in result.stderr


@pytest.mark.parametrize("command", ["search", "check"])
def test_the_sweep_file_is_an_argument_or_an_option(command: str, tmp_path: Path) -> None:
    for words in (["none.yaml"], ["--space", "none.yaml"]):
        result = CliRunner().invoke(main, [command, *words])
        assert (result.exit_code, "no such sweep file: got 'none.yaml'" in result.output) == (2, True)
    for nothing in ([], [""], ["--space", ""]):
        assert "Which sweep file?" in CliRunner().invoke(main, [command, *nothing]).output
    assert (
        "Two sweep files: a.yaml and b.yaml"
        in CliRunner().invoke(main, [command, "a.yaml", "--space", "b.yaml"]).output
    )
