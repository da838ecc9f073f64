"""The documentation against the program: commands, options, sweep files, Python and links in it are real."""

import contextlib
import csv
import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import click
import pytest

from conftest import PROJECT, PictureFolder
from runs import make_run
from trainables.models.zoo import MODELS
from tuning import exit_codes
from tuning.cli.main import COMMANDS, main
from tuning.ready import ready_files
from tuning.reference import TABLES, filled
from tuning.spec import SearchSettings
from tuning.spec_file import load_spec

README = PROJECT / "README.md"
REFERENCE = PROJECT / "docs" / "SWEEP_FILE.md"
DOCUMENTS = [README, PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md"))]
PROGRAMS = {("tune",), ("tuneyard",), ("python", "-m", "tuning")}
OWN_FILES = {"my.yaml"}  # what the reader is told to make


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language, without their fences; also those within a list."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(body) for body in found]


def shell_lines(path: Path) -> list[str]:
    whole = [block.replace("\\\n", " ") for block in blocks(path, "sh")]
    lines = [line for block in whole for line in block.splitlines()]
    return [line for line in lines if line.split("#")[0].strip()]


def inline_commands(path: Path) -> list[str]:
    """`tune …` in running text and in tables."""
    prose = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`((?:tune|python -m) [^`]+)`", prose)


def shell_example(command: click.Command) -> str:
    assert command.epilog
    assert command.epilog.startswith("Example: ")
    return command.epilog.removeprefix("Example: ")


def get_command(name: str) -> click.Command:
    assert name in COMMANDS, f"no such command: tune {name}"
    command = main.get_command(click.Context(main), name)
    assert command is not None
    return command


def parsed(line: str, *, whole: bool = True) -> click.Context:
    """The command line as click reads it; not `whole`, arguments may be missing, as in running text."""
    words = shlex.split(line.partition(" | ")[0], comments=True)
    start = next(len(program) for program in PROGRAMS if tuple(words[: len(program)]) == program)
    if words[start:] in ([], ["--help"]):
        return main.make_context("tune", [], resilient_parsing=True)
    command, rest = get_command(words[start]), words[start + 1 :]
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):  # tune data split …
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"no such command: tune {words[start]} {rest[0]}"
        command, rest = found, rest[1:]
    # Even where arguments may be missing, options must exist.
    return command.make_context(words[start], rest, resilient_parsing=not whole)


def given(line: str) -> list[str]:
    """What a command line says, options' names and the command's own left out."""
    words = shlex.split(line.partition(" | ")[0], comments=True)
    start = next(len(program) for program in PROGRAMS if tuple(words[: len(program)]) == program) + 1
    start += isinstance(COMMANDS.get(words[start - 1]) and get_command(words[start - 1]), click.Group)
    return [word for word in words[start:] if not word.startswith("-")]


def taken(context: click.Context) -> set[str]:
    """What a command has understood: all values of its parameters."""
    values = [value if isinstance(value, tuple) else (value,) for value in context.params.values()]
    return {str(value) for several in values for value in several}


def check_shell_line(line: str) -> None:
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^(\w[\w-]*):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert words[2:] == ["."] or words[2] in {f"tuneyard[{extra}]" for extra in extras}
    elif words[:2] == ["ray", "start"]:
        from ray.scripts.scripts import start

        start.make_context("start", words[2:], resilient_parsing=True)
    elif words[0] == "export":
        assert re.fullmatch(r"[A-Z_]+=\S+", words[1])
    elif words[0] == ".":
        assert words[1:] == [".venv/bin/activate"]
    else:
        context = parsed(line)
        named = [word for word in words if word.endswith(".yaml")]
        assert set(named) <= ready_files().keys() | OWN_FILES, line
        assert set(given(line)) <= taken(context), line


# shell


@pytest.mark.parametrize("line", [line for path in DOCUMENTS for line in shell_lines(path)])
def test_every_shell_line_is_a_command(line: str) -> None:
    check_shell_line(line)


@pytest.mark.parametrize("line", sorted({line for path in DOCUMENTS for line in inline_commands(path)}))
def test_every_command_in_the_text_is_one(line: str) -> None:
    if line.startswith("python -m tuning.reference"):
        assert (PROJECT / line.split()[-1]).is_file()
    elif line.startswith(("python -m benchmarks.", "python tests/torture.py")):
        _, *words = line.removeprefix("python -m ").removeprefix("python ").split()
        module = "torture" if "torture" in line else line.split()[2]
        command = importlib.import_module(module).main
        with contextlib.suppress(click.exceptions.Exit):  # --help
            command.make_context(module, words)
    else:
        parsed(line, whole=False)


@pytest.mark.parametrize("name", [*COMMANDS])
def test_every_example_of_a_help_is_a_command(name: str) -> None:
    line = shell_example(get_command(name))
    assert parsed(line).info_name == name
    named = [word for word in shlex.split(line) if word.endswith(".yaml")]
    assert set(named) <= ready_files().keys() | OWN_FILES


def test_the_program_s_own_example_is_a_command() -> None:
    assert parsed(shell_example(main)).info_name == "search"


@pytest.mark.parametrize(
    "line",
    [
        "tune serch my.yaml",
        "tune check my.yaml --smaple 3",
        "make everything",
        "tune init resnet99.yaml",
        "tune data splt a b --val 0.2",
        "tune data split a b --vla 0.2",
        "tune data split a b --val much",
    ],
)
def test_a_line_that_is_no_command_would_be_found(line: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        check_shell_line(line)


def test_a_word_that_a_command_leaves_out_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "tune check my.yaml --sample 3"
    check_shell_line(line)
    monkeypatch.setattr(get_command("check").params[0], "expose_value", False)
    with pytest.raises(AssertionError, match=r"tune check my\.yaml --sample 3"):
        check_shell_line(line)


def test_the_readme_has_every_command() -> None:
    listed = re.findall(r"^\| `tune (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == list(COMMANDS)


def test_the_readme_s_numbers_are_those_of_the_program() -> None:
    text = README.read_text(encoding="utf-8")
    assert f"all {len(MODELS)} models" in text
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert codes == {0, 1, exit_codes.USER_ERROR, exit_codes.NO_RESULT, exit_codes.INTERRUPTED}
    assert f"the best {['no', 'one', 'two', 'three', 'four', 'five'][SearchSettings().keep]} complete trials" in text


def test_the_ready_files_say_how_to_run_them() -> None:
    for name, path in ready_files().items():
        lines = [line.lstrip("# ").rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
        commands = [line for line in lines if line.startswith("tune ")]
        assert any(f"{line} ".startswith(f"tune search --space {name} ") for line in commands)
        for line in commands:
            check_shell_line(line)


# sweep files


@pytest.mark.parametrize(
    "text", [text for path in DOCUMENTS for text in blocks(path, "yaml")], ids=lambda text: text.splitlines()[0]
)
def test_every_sweep_file_is_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(text, encoding="utf-8")
    assert load_spec(tmp_path / "my.yaml").space


@pytest.mark.parametrize("option", re.findall(r"`--set ([^`]+)`", REFERENCE.read_text(encoding="utf-8")))
def test_every_set_is_valid(option: str) -> None:
    (text,) = shlex.split(option)
    sets = ("data.source=folder", text) if text.startswith("data.") else (text,)
    load_spec(ready_files()["resnet18.yaml"], sets=sets)


@pytest.mark.parametrize(
    "form", re.findall(r"^\| `([\[{][^`]+)` \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
)
def test_every_form_of_a_space_is_one(form: str) -> None:
    name = "lr" if "." in form or "e-" in form else "batch_size"
    load_spec(ready_files()["resnet18.yaml"], sets=(f"space.{name}={form}",))


def test_the_reference_is_up_to_date() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert filled(text) == text, "run: python -m tuning.reference docs/SWEEP_FILE.md"
    assert set(re.findall(r"<!-- table: (\w+) -->", text)) == set(TABLES)


def test_an_outdated_reference_would_be_found() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert filled(text.replace("| `lr` |", "| `rate` |")) == text


# python


def test_the_readme_has_two_blocks_of_python() -> None:
    assert len(blocks(README, "python")) == 2  # the next test runs them by number


@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.ray)])  # the second trains, for seconds
def test_the_readme_s_python_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs", name="resnet18")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(blocks(README, "python")[number], str(README), "exec"), {})
    assert output.getvalue()


# links


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        document = (path.parent / name) if name else path
        assert document.is_file(), f"{path.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_named_in_the_text_are_there(path: Path) -> None:
    named = re.findall(r"`((?:docs|tests|trainables|reports|tuning)/[\w./-]*)`", path.read_text(encoding="utf-8"))
    missing = [name for name in named if not (PROJECT / name).exists()]
    assert not missing


def test_pictures_are_small_and_fetch_nothing() -> None:
    for path in (PROJECT / "docs").glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 100_000
        assert "url(http" not in text
        assert "href=" not in text


# the first sweep, as the README has it


@pytest.mark.ray
def test_the_readme_s_first_sweep(picture_folder: PictureFolder, tmp_path: Path) -> None:
    """Its commands one after the other, its sweep file at the size of a test."""
    counts = {f"{split}/{name}": count for split, count in (("train", 12), ("val", 6)) for name in ("ants", "bees")}
    picture_folder(counts, name="my_pictures")
    example = blocks(README, "yaml")[0]
    small = [
        "--set",
        "image_size=32",
        "--set",
        "weights=none",
        "--set",
        "batch_size=8",
        "--trials",
        "2",
        "--epochs",
        "1",
    ]

    done = {}
    for line in shell_lines(README):
        words = shlex.split(line, comments=True)
        if words[0] != "tune" or words[1:] == ["search", "--space", "resnet18.yaml"]:
            continue
        extra = small if words[1] == "search" else []
        if "--trials" in words:  # further than it was meant to, but not that far
            words[words.index("--trials") + 1] = "3"
        done[words[1]] = run(*words[1:], *extra, cwd=tmp_path)
        if words[1] == "init":
            (tmp_path / "my.yaml").write_text(example, encoding="utf-8")

    assert set(done) == {"init", "check", "search", "show", "predict", "resume"}
    assert "my.yaml is valid" in done["check"]
    assert "my finished: " in done["search"]
    assert "best val_accuracy" in done["show"]
    assert len(done["predict"].splitlines()) == sum(counts.values())
    assert {line.split()[0] for line in done["predict"].splitlines()} <= {"ants", "bees"}
    assert "3 of 3 trials" in run("show", "my", cwd=tmp_path)

    assert [sweep["name"] for sweep in json.loads(run("list", "--json", cwd=tmp_path))["sweeps"]] == ["my"]
    document = json.loads(run("show", "my", "--json", cwd=tmp_path))
    assert [trial["number"] for trial in document["trials"]] == [0, 1, 2]
    run("report", "my", "-o", "report", cwd=tmp_path)
    with (tmp_path / "report" / "leaderboard.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3
    run("export", "my", "-o", "model", cwd=tmp_path)
    labels = json.loads(run("predict", "model", "my_pictures/val", "--json", cwd=tmp_path))
    hits = [picture["label"] == Path(picture["path"]).parent.name for picture in labels]
    assert sum(hits) / len(hits) == pytest.approx(document["best"]["value"])
    assert "fit each other" in run("doctor", cwd=tmp_path)

    tree = blocks(README, "text")[-1]
    promised = set(re.findall(r"^  ([\w.]+)/? ", tree, re.MULTILINE))
    there = {path.name for path in (tmp_path / "runs" / "my").iterdir() if not path.name.startswith(".")}
    assert there == promised


def run(*words: str, cwd: Path) -> str:
    """A command in a process of its own, which must succeed; what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "TUNEYARD_RUNS"}
    command = [sys.executable, "-m", "tuning", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
