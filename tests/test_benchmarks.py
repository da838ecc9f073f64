"""The benchmarks go by the project as it is: all of them load, and the smallest runs."""

import copy
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import train_one
from benchmarks.speed import in_all
from benchmarks.work import Score, Work

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("name", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_it_loads(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("tuned", [False, True])
def test_the_peers_loop_learns_and_is_resumed_exactly(tmp_path: Path, tuned: bool) -> None:
    pictures_file = str(tmp_path / "two.npz")
    classes = np.arange(16) % 2
    pictures = (classes[:, None, None] * np.full((8, 8), 200)).astype(np.uint8)
    arrays = {f"{split}_images": pictures for split in ("train", "val")}
    np.savez(pictures_file, **arrays, train_labels=classes, val_labels=classes)
    work = Work(pictures=pictures_file, model="resnet18", image_size=32, epochs=2, trials=1, tuned_peers=tuned)
    config = {**work.configs()[0], "batch_size": 8}
    loop = train_one(config, work)
    _, first = next(loop)
    first = copy.deepcopy(first)
    _, second = next(loop)
    weights, later = (state["network"]["conv1.weight"] for state in (first, second))
    assert (weights != later).any()
    ((_, resumed),) = train_one(config, work, first)
    assert resumed["epoch"] == 2
    assert resumed["network"]["conv1.weight"].equal(later)


def test_a_peers_trials_are_counted_and_its_start_is_not() -> None:
    score = Score(trials=4, best=0.9, trials_s=120.0, at_once=2)  # a minute of its wall time
    assert in_all(70.0, score, trials=4) == 70.0
    assert in_all(70.0, score, trials=12) == 10.0 + 3 * 60.0


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
