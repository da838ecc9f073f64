"""Trials that wait, or do nothing at all, through tuneyard's real conductor, ledger and engine.

engine, ledger = waiting_sweep(folder, spec, limit=8, seconds=0.2)
engine.run(must_end=lambda: False)                    # on the Ray that this process is connected to
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


class Waiting(Worker):
    """Runs trials whose epochs take a given time and do nothing."""

    @staticmethod
    def run(config: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        numbers = {"train_loss": 0.5, "train_accuracy": 0.5, "val_loss": 0.5, "val_accuracy": 0.5, "lr": 0.1}
        for epoch in range(1, config["epochs"] + 1):
            time.sleep(config["seconds"])
            checkpoint = checkpoint_path(config["number"], epoch)
            yield {"epoch": epoch, **numbers, "seconds": config["seconds"], "checkpoint": checkpoint}


def waiting_sweep(folder: Path, spec: Spec, *, limit: int, seconds: float) -> tuple[Engine, Ledger]:
    """A new sweep of trials whose epochs take so many seconds, at most `limit` at once, and its record."""
    search = spec.search
    ledger = Ledger.create(folder, metric=search.metric, mode=search.mode)
    retention = Retention(Folder(folder), keep=search.keep, mode=search.mode)

    def config(job: Job) -> dict[str, Any]:
        return {"number": job.number, "epochs": job.settings.epochs, "seconds": seconds}

    engine = Engine(
        Conductor(ledger, spec, retention=retention, limit=limit, clock=time.monotonic),
        job_config=config,
        resources={"CPU": 1},
        scratch=folder / "scratch",
        logs=folder / "logs",
        worker=Waiting,
    )
    return engine, ledger


def nothing_with_tuneyard(work: Work, folder: Path) -> Score:
    """Trials that do nothing, random like the peer's."""
    search = SearchSettings(trials=work.trials, metric="val_accuracy", sampler="random", pruner="none")
    spec = Spec(trial={"epochs": 1}, space={"lr": Float(*LR, log=True), "momentum": Float(*MOMENTUM)}, search=search)
    with ray_session() as session:
        limit = min(work.cpus, session.room({"CPU": 1}))
        engine, ledger = waiting_sweep(folder, spec, limit=limit, seconds=0.0)
        engine.run(must_end=lambda: False)
    trials = ledger.trials()
    best = max(trial.value or 0.0 for trial in trials)
    return Score(sum(trial.state == "complete" for trial in trials), best)
