"""Trials that share a GPU, on Ray: its own counting of GPUs, with trials that only say what they would take."""

import os
import time
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from conftest import PROJECT
from reports.ledger import Ledger
from trainables.files import checkpoint_path
from trainables.places import place_at
from trainables.ray_worker import Worker
from tuning.cluster import RaySession
from tuning.conductor import CROWDED, Conductor, Job
from tuning.engine import Engine
from tuning.packing import Packing
from tuning.retention import Retention
from tuning.rounds import rounds, trial_resources
from tuning.space import Choice
from tuning.spec import ResourceSettings, SearchSettings, Spec

pytestmark = pytest.mark.ray

EPOCHS = 3
# By their batch size: as shares of the GPU, the second of which only the pair of them tells of.
NEEDS = {16: 0.2, 64: 0.4}


class Pretending(Worker):
    """A trial that needs memory by its batch size, and notes in a file what share of the GPU its epochs had."""

    @staticmethod
    def run(config: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        need = NEEDS[config["batch_size"]]
        folder, number = Path(config["folder"]), config["number"]
        done = int(Path(folder, config["checkpoint"]).read_text()) if config["checkpoint"] else 0
        for epoch in range(done + 1, EPOCHS + 1):
            began = time.time()
            time.sleep(0.3)
            if need > config["gpus"]:
                yield {"failure": "CUDA out of memory", "out_of_memory": True}
                return
            checkpoint = checkpoint_path(number, epoch)
            Path(folder, checkpoint).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, checkpoint).write_text(str(epoch))
            with Path(folder, "epochs.txt").open("a") as file:
                file.write(f"{number} {epoch} {config['gpus']} {began} {time.time()}\n")
            numbers = {"train_loss": 0.5, "val_loss": 0.5, "val_accuracy": 0.5, "lr": 0.1, "seconds": 30.0}
            yield {"epoch": epoch, **numbers, "gpu_share": need, "checkpoint": checkpoint}


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RaySession]:
    """A machine with one GPU, as far as Ray is concerned."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(PROJECT), str(PROJECT / "tests"))))  # where `Pretending` is
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    ray.init(num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        yield RaySession(tmp_path, nodes=lambda: [{"CPU": 4.0, "GPU": 1.0}])
    finally:
        ray.shutdown()


def test_trials_are_packed_and_one_that_runs_out_of_memory_gets_more(tmp_path: Path, session: RaySession) -> None:
    spec = Spec(
        trial={"epochs": EPOCHS},
        space={"batch_size": Choice((16, 64))},
        search=SearchSettings(
            trials=8, sampler="random", pruner="none", retries=0, metric="val_accuracy", seed=1, keep=8
        ),
        resources=ResourceSettings(),
    )
    ledger = Ledger.create(tmp_path, metric="val_accuracy", mode="max")
    ledger.study.enqueue_trial({"batch_size": 16})
    ledger.study.enqueue_trial({"batch_size": 64})
    packing = Packing(most=4)
    conductor = Conductor(
        ledger,
        spec,
        retention=Retention(place_at(str(tmp_path)), keep=8, mode="max"),
        limit=1,
        clock=time.monotonic,
        packing=packing,
    )
    lines: list[str] = []

    def run() -> None:
        resources = trial_resources(spec, packing)

        def config(job: Job) -> dict[str, Any]:
            fixed = {"folder": str(tmp_path), "gpus": resources["GPU"], "batch_size": job.settings.batch_size}
            return {"number": job.number, "checkpoint": job.checkpoint, **fixed}

        engine = Engine(
            conductor,
            job_config=config,
            resources=resources,
            scratch=session.scratch,
            logs=tmp_path / "logs",
            worker=Pretending,
        )
        engine.run(must_end=lambda: False)

    rounds(conductor, run, places=lambda: session.limit(trial_resources(spec, packing), workers=None), say=lines.append)
    assert lines == [
        "a trial took up to 20% of a GPU's memory: 4 at a time on each from here on",
        "a trial ran out of GPU memory: 2 at a time on each from here on",
    ]
    assert ledger.fits_a_gpu() == 2
    trials = ledger.trials()
    assert [trial.state for trial in trials] == ["complete"] * 8
    assert {attempt for trial in trials for attempt in trial.attempts} == {CROWDED}
    epochs = [line.split() for line in (tmp_path / "epochs.txt").read_text().splitlines()]
    assert Counter((int(number), int(epoch)) for number, epoch, *_ in epochs) == Counter(
        {(number, epoch): 1 for number in range(8) for epoch in range(1, EPOCHS + 1)}
    )
    assert next(share for *_, share, _, _ in epochs) == "1.0"
    at_work = [
        (share, sum(float(b) <= float(began) < float(e) for *_, b, e in epochs)) for *_, share, began, _ in epochs
    ]
    assert all(count <= 1 / float(share) for share, count in at_work)
    assert max(count for _, count in at_work) == 2
