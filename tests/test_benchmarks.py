"""The benchmarks go by the project as it is: all of them load, and the smallest runs."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_it_loads(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.ray
def test_trials_that_do_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", "--rows", "nothing", "--quick", "--peers", "optuna"],
        cwd=BENCHMARKS.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stdout, done.stderr
    assert "| a trial that does nothing, " in done.stdout
