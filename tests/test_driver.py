"""What a driver says at its end."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from reports.sweep import Sweep
from runs import Planned, make_run
from tuning.driver import _next_steps
from tuning.progress import LiveView
from tuning.runner import Outcome
from tuning.spec import SearchSettings, Spec


@pytest.mark.parametrize(
    ("ended", "further"),
    [("trials", "--trials 4"), ("hours", "--hours 3")],
)
def test_what_to_do_next_goes_further(tmp_path: Path, ended: str, further: str) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=[Planned("complete", values=[0.5])] * 2))
    outcome = Outcome(ended, sweep.ledger().best(), {"complete": 2})
    spec = Spec(search=SearchSettings(trials=9, hours=1.5))
    assert _next_steps(sweep, spec, outcome, "tune resume it")[-1].strip() == f"tune resume it {further}"


def test_a_trials_error_is_shown_as_it_is(tmp_path: Path) -> None:
    text = "[/data/x.bin] [enforce fail at alloc_cpu.cpp:117] err == 0: one of [cpu, cuda]"
    sweep = Sweep.open(make_run(tmp_path, trials=[Planned("failed", error=text)]))
    console = Console(file=io.StringIO(), force_terminal=True, width=60, color_system=None)

    class Facts:
        metric = "val_accuracy"

    LiveView(console, lambda: Facts()).trial_ended(sweep.ledger().trials()[0])  # type: ignore[arg-type, return-value]
    assert text in console.file.getvalue()  # type: ignore[attr-defined]
