"""The same work through tuneyard: the program that a user calls, with its ledger, checkpoints, report and model.

file = write_sweep_file(work, folder / "sweep.yaml", search={"pruner": "none"}, first=work.configs())
subprocess.run(search_command(file, runs=folder, workers=2))
score_of(folder / "sweep")
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.work import BATCH_SIZES, GAMMA, LR, MOMENTUM, Config, Score, Work
from reports.sweep import Sweep


def write_sweep_file(
    work: Work,
    file: Path,
    *,
    trial: Mapping[str, Any] | None = None,
    search: Mapping[str, Any],
    first: Sequence[Config] = (),
) -> Path:
    """Writes the work as a sweep file. `.npz` stands for the embedded digits, from which it was made.

    trial, search: more of these sections. first: configurations to begin with.
    """
    digits = work.pictures.endswith(".npz")
    space: dict[str, Any] = {
        "lr": {"low": LR[0], "high": LR[1], "log": True},
        "batch_size": list(BATCH_SIZES),
        "momentum": {"low": MOMENTUM[0], "high": MOMENTUM[1]},
        "gamma": {"low": GAMMA[0], "high": GAMMA[1]},
    }
    fixed: dict[str, Any] = {
        "model": work.model,
        "weights": work.weights or "none",
        "image_size": work.image_size,
        "augment": "standard" if work.random_views else "none",
        "optimizer": "sgd",
        "schedule": "step",
        "step_size": work.step_size,
        "epochs": work.epochs,
        "seed": work.seed,
        **(trial or {}),
    }
    if digits:
        fixed["center_crop"] = 1.0
    if len(work.freeze) > 1:
        space["freeze"] = list(work.freeze)
    else:
        fixed["freeze"] = work.freeze[0]
    sections = {
        "data": {"source": "digits"} if digits else {"source": "folder", "path": str(Path(work.pictures).resolve())},
        "trial": fixed,
        "space": space,
        "search": {
            "trials": work.trials,
            **search,
            **({"first": [{name: config[name] for name in space} for config in first]} if first else {}),
        },
    }
    file.write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
    return file


def search_command(file: Path, *, runs: Path, workers: int) -> list[str]:
    """`tune search`, as a command of this interpreter. The run is called as the file."""
    tune = [sys.executable, "-m", "tuning", "search"]
    return [*tune, "--space", str(file), "--runs", str(runs), "--workers", str(workers), "--quiet"]


def score_of(run: Path) -> Score:
    """What came of a finished run."""
    ledger = Sweep.open(run).ledger()
    best = ledger.best()
    trials_s = sum(trial.seconds for trial in ledger.trials())
    return Score(ledger.counts().get("complete", 0), None if best is None else best.value, trials_s)
