"""What a driver says at its end."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from reports.sweep import Sweep
from runs import Planned, make_run
from tuning.driver import _next_steps, learnt_nothing
from tuning.progress import LiveView, SweepFacts, render
from tuning.runner import Outcome
from tuning.space import Float
from tuning.spec import SearchSettings, Spec


@pytest.mark.parametrize(
    ("ended", "further"),
    [("trials", "--trials 4"), ("hours", "--hours 3")],
)
def test_what_to_do_next_goes_further(tmp_path: Path, ended: str, further: str) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=[Planned("complete", values=[0.5])] * 2))
    outcome = Outcome(ended, sweep.ledger().best(), {"complete": 2})
    spec = Spec(space={"lr": Float(0.1, 0.2)}, search=SearchSettings(trials=9, hours=1.5))
    assert _next_steps(sweep, spec, outcome, "tune resume it")[-1].strip() == f"tune resume it {further}"


def test_hours_that_were_too_few_are_no_failure(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=[Planned("running", values=[0.5])]))
    outcome = Outcome("hours", None, {"running": 1})
    steps = _next_steps(sweep, Spec(search=SearchSettings(hours=0.25)), outcome, "tune resume it")
    assert steps == ["go on   tune resume it --hours N   (in all; 0.25 are used up)"]


def test_more_of_the_same_is_not_advised(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=[Planned("complete", values=[0.5])]))
    spec = Spec(search=SearchSettings(trials=1))
    steps = _next_steps(sweep, spec, Outcome("trials", sweep.ledger().best(), {"complete": 1}), "tune resume it")
    assert "resume" not in "".join(steps)


@pytest.mark.parametrize(("values", "lines"), [([0.5, 0.4], 1), ([0.5, 0.9], 0)])
def test_that_nothing_was_learnt_is_said(tmp_path: Path, values: list[float], lines: int) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=[Planned("complete", values=[value]) for value in values]))
    assert len(learnt_nothing(sweep, sweep.ledger().best())) == lines
    assert learnt_nothing(sweep, None) == []


def test_a_trials_error_is_shown_as_it_is(tmp_path: Path) -> None:
    text = "[/data/x.bin] [enforce fail at alloc_cpu.cpp:117] err == 0: one of [cpu, cuda]"
    sweep = Sweep.open(make_run(tmp_path, trials=[Planned("failed", error=text)]))
    console = Console(file=io.StringIO(), force_terminal=True, width=60, color_system=None)

    class Facts:
        metric = "val_accuracy"

    LiveView(console, lambda: Facts()).trial_ended(sweep.ledger().trials()[0])  # type: ignore[arg-type, return-value]
    assert text in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_live_picture_leaves_the_cursor_on_an_empty_line() -> None:
    """A terminal writes its `^C` where the cursor is; behind a full line it would push the picture up."""
    counts = {"complete": 1, "pruned": 0, "failed": 0}
    facts = SweepFacts("it", "val_accuracy", 9, counts, (), None, 1.0, 100.0, "SIGINT")
    for width in range(10, 90):
        console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
        with console.capture() as captured:
            console.print(render(facts))
        assert captured.get().splitlines()[-1].strip() == ""


APART = """
import os
from tuning.screen import screen_apart
with screen_apart() as screen:
    screen.console.print("ours")
    os.write(1, b"first\\n")
    print("second")
    if {log}:
        screen.log_to(Path("logs/ray.log"))
        print("third")
    raise {error}
"""


@pytest.mark.parametrize(
    ("error", "log", "told", "logged"),
    [
        ("UserError('wrong')", False, "", None),
        ("ZeroDivisionError", False, "first\nsecond\n", None),
        ("ZeroDivisionError", True, "", "first\nsecond\nthird\n"),
    ],
)
def test_what_others_print_is_told_once_or_logged(
    error: str, log: bool, told: str, logged: str | None, tmp_path: Path
) -> None:
    code = f"from pathlib import Path\nfrom trainables.errors import UserError\n{APART.format(log=log, error=error)}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.stdout == "ours\n"
    assert done.stderr.partition("Traceback")[0] == told
    file = tmp_path / "logs" / "ray.log"
    assert (file.read_text() if file.exists() else None) == logged
