"""docs/PYTHON.md: every block of it runs as it stands, on a sweep that was really trained and exported."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_docs import blocks

from conftest import PROJECT
from reports.export import export_model
from reports.ledger import JOURNAL
from reports.sweep import Sweep
from trainables.data.sources import DataSettings
from trainables.settings import TrialSettings
from trained import train_run

BLOCKS = blocks(PROJECT / "docs" / "PYTHON.md", "python")
FOREIGN = len(BLOCKS) - 1  # the one that must not need this package
SMALL = {"model": "small_cnn", "weights": "none", "image_size": 16, "center_crop": 1.0, "precision": "fp32"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/resnet18`, exported, and pictures of digits."""
    folder = tmp_path_factory.mktemp("python")
    trials = [
        TrialSettings(**SMALL, epochs=2, lr=lr, freeze=freeze) for lr, freeze in ((0.05, "none"), (0.01, "conv1"))
    ]
    run = train_run(folder, DataSettings(source="digits"), trials, params=("lr", "freeze"))
    export_model(Sweep.open(run), run / "best")
    for name in ("pictures", "more"):
        (folder / name).mkdir()
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, 256, (20, 30), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_runs(number: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    before = (place / "runs" / "resnet18" / JOURNAL).read_bytes()
    with contextlib.redirect_stdout(io.StringIO()) as output:
        if number == FOREIGN:
            if not (place / "my-model").exists():
                export_model(Sweep.open(place / "runs" / "resnet18"), place / "my-model")
            print(isolated(BLOCKS[number], place))
        else:
            exec(compile(BLOCKS[number], f"PYTHON.md, block {number}", "exec"), {})
    assert output.getvalue().strip()
    assert (place / "runs" / "resnet18" / JOURNAL).read_bytes() == before


def isolated(code: str, folder: Path) -> str:
    code += "\nimport sys\nassert not {'trainables', 'reports', 'tuning'} & set(sys.modules)\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_loop_keeps_and_prints_each_better_epoch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [code for code in BLOCKS if "finetune(" in code]
    monkeypatch.chdir(place)
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, names)
    told = [line.split() for line in output.getvalue().splitlines()]
    assert [int(epoch) for epoch, _ in told] == [1, 2, 3]
    assert names["best"] == max(float(accuracy) for _, accuracy in told)
    assert (place / "best.safetensors").is_file()
