"""The same work through tuneyard, with all that a sweep does: ledger, checkpoints, report and exported model.

score = with_tuneyard(work, folder)
score = nothing_with_tuneyard(work, folder)     # the engine alone: real ledger, real Ray, trials without work
"""

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.work import BATCH_SIZES, GAMMA, LR, MOMENTUM, Score, Work
from reports.export import export_model
from reports.ledger import Ledger
from reports.write import write_report
from trainables.data.sources import DataSettings
from trainables.files import checkpoint_path
from trainables.ray_trial import Worker
from tuning.cluster import ray_session
from tuning.conductor import Conductor, Job
from tuning.engine import Engine
from tuning.retention import Retention
from tuning.runner import driving, run_sweep
from tuning.setup import create_sweep, open_sweep
from tuning.space import Choice, Float, Space
from tuning.spec import ResourceSettings, SearchSettings, Spec

SPACE: Space = {
    "lr": Float(*LR, log=True),
    "batch_size": Choice(BATCH_SIZES),
    "momentum": Float(*MOMENTUM),
    "gamma": Float(*GAMMA),
}  # and "freeze", where the work has several


def spec_of(work: Work) -> Spec:
    """The work as a sweep. `.npz` stands for the embedded digits, from which it was made."""
    digits = work.pictures.endswith(".npz")
    data = DataSettings() if digits else DataSettings(source="folder", path=str(Path(work.pictures).resolve()))
    trial = {
        "model": work.model,
        "weights": work.weights or "none",
        "image_size": work.image_size,
        "center_crop": 1.0 if digits else 0.875,
        "augment": "standard" if work.random_views else "none",
        "optimizer": "sgd",
        "schedule": "step",
        "step_size": work.step_size,
        "epochs": work.epochs,
        "seed": work.seed,
    }
    space = dict(SPACE)
    if len(work.freeze) > 1:
        space["freeze"] = Choice(work.freeze)
    else:
        trial["freeze"] = work.freeze[0]
    return Spec(
        data=data,
        trial=trial,
        space=space,
        search=SearchSettings(trials=work.trials, pruner="none"),
        resources=ResourceSettings(workers=work.cpus),
    )


def with_tuneyard(work: Work, folder: Path) -> Score:
    """What `tune search` does, with the configurations put into the study beforehand."""
    started = time.perf_counter()
    console = Console(quiet=True)
    run = create_sweep(spec_of(work), text="", name="ours", runs=folder, console=console).folder
    with driving(run):
        sweep, spec, store = open_sweep(run, console=console)
        ledger = sweep.ledger(writable=True)
        for config in work.configs():
            ledger.study.enqueue_trial({name: config[name] for name in spec.space})
        outcome = run_sweep(sweep, spec, store, console=console, quiet=True)
        write_report(sweep, run / "report")
        export_model(sweep, run / "best")
    best = outcome.best.value if outcome.best else None
    trials_s = sum(trial.seconds for trial in ledger.trials())
    return Score(outcome.counts.get("complete", 0), best, time.perf_counter() - started, trials_s)


class NoWork(Worker):
    """Runs trials that report one epoch and do nothing."""

    @staticmethod
    def run(config: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        losses = {"train_loss": 0.5, "train_accuracy": 0.5, "val_loss": 0.5, "val_accuracy": 0.5}
        yield {"epoch": 1, **losses, "lr": 0.1, "seconds": 0.0, "checkpoint": checkpoint_path(config["number"], 1)}


def nothing_with_tuneyard(work: Work, folder: Path) -> Score:
    """Trials that do nothing, random like the peer's, through the real conductor, ledger and engine."""
    started = time.perf_counter()
    search = SearchSettings(trials=work.trials, metric="val_accuracy", sampler="random", pruner="none")
    spec = Spec(trial={"epochs": 1}, space={"lr": SPACE["lr"], "momentum": SPACE["momentum"]}, search=search)
    ledger = Ledger.create(folder, metric=search.metric, mode=search.mode)
    with ray_session(folder) as session:
        conductor = Conductor(
            ledger,
            spec,
            retention=Retention(folder, keep=search.keep, mode=search.mode),
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
    return Score(sum(trial.state == "complete" for trial in trials), best, time.perf_counter() - started)


def _config(job: Job) -> dict[str, Any]:
    return {"number": job.number}
