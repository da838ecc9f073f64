"""Trials that do nothing, through tuneyard's real conductor, ledger and engine.

score = nothing_with_tuneyard(work, folder)
"""

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.work import LR, MOMENTUM, Score, Work
from reports.ledger import Ledger
from trainables.files import checkpoint_path
from trainables.places import Folder
from trainables.ray_worker import Worker
from tuning.cluster import ray_session
from tuning.conductor import Conductor, Job
from tuning.engine import Engine
from tuning.retention import Retention
from tuning.space import Float
from tuning.spec import SearchSettings, Spec


class NoWork(Worker):
    """Runs trials that report one epoch and do nothing."""

    @staticmethod
    def run(config: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        losses = {"train_loss": 0.5, "train_accuracy": 0.5, "val_loss": 0.5, "val_accuracy": 0.5}
        yield {"epoch": 1, **losses, "lr": 0.1, "seconds": 0.0, "checkpoint": checkpoint_path(config["number"], 1)}


def nothing_with_tuneyard(work: Work, folder: Path) -> Score:
    """Trials that do nothing, random like the peer's, through the real conductor, ledger and engine."""
    search = SearchSettings(trials=work.trials, metric="val_accuracy", sampler="random", pruner="none")
    spec = Spec(trial={"epochs": 1}, space={"lr": Float(*LR, log=True), "momentum": Float(*MOMENTUM)}, search=search)
    ledger = Ledger.create(folder, metric=search.metric, mode=search.mode)
    with ray_session() as session:
        conductor = Conductor(
            ledger,
            spec,
            retention=Retention(Folder(folder), keep=search.keep, mode=search.mode),
            limit=min(work.cpus, session.room({"CPU": 1})),
            clock=time.monotonic,
        )
        engine = Engine(
            conductor,
            job_config=_config,
            resources={"CPU": 1},
            scratch=folder / "scratch",
            logs=folder / "logs",
            worker=NoWork,
        )
        engine.run(must_end=lambda: False)
    trials = ledger.trials()
    best = max(trial.value or 0.0 for trial in trials)
    return Score(sum(trial.state == "complete" for trial in trials), best)


def _config(job: Job) -> dict[str, Any]:
    return {"number": job.number}
