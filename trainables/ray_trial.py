"""The Ray edge: one trial of a sweep as a Ray Tune function trainable.

    tune.Tuner(tune.with_resources(run_trial, {"CPU": 1}), …)      # config: a `TrialJob` as a plain dict

Each epoch is saved first and reported second, so what the sweep's ledger names is on disk. Whatever goes wrong in
Python is reported as a result, so that the process, with torch loaded, serves the next trial; only its death is Ray's
to tell.
"""

import dataclasses
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from ray import tune

from trainables.checkpoint import Snapshot, checkpoint_path
from trainables.data.pixels import PixelStore
from trainables.errors import TrialError
from trainables.finetune import finetune
from trainables.hardware import use_threads
from trainables.models.weights import Weights
from trainables.settings import TrialSettings


@dataclass(frozen=True)
class TrialJob:
    """What a worker is told: the trial, where its sweep and pictures are, and from which checkpoint to go on.

    `checkpoint` and the reported paths are relative to `run`, the sweep's folder.
    """

    number: int
    settings: TrialSettings
    run: str
    store: str
    data_seed: int
    weights: Weights
    cpus: float
    checkpoint: str | None = None

    def to_config(self) -> dict[str, Any]:
        """The job as Ray's config: plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TrialJob":
        nested = {"settings": TrialSettings(**config["settings"]), "weights": Weights(**config["weights"])}
        return cls(**{**config, **nested})


def run_trial(config: dict[str, Any]) -> None:
    """Runs a trial's epochs, reporting each as `{epoch, train_loss, …, checkpoint}`.

    A trial that fails reports `{failure}`, and `{traceback}` with it when the reason is not one of ours; one that
    cannot be saved reports `{storage}`.
    """
    job = TrialJob.from_config(config)
    try:
        _run(job)
    except TrialError as error:
        tune.report({"failure": str(error)})
    except torch.OutOfMemoryError as error:
        tune.report({"failure": _out_of_memory(job, error)})
    except Exception as error:  # any mistake in one configuration ends that trial, not the sweep
        tune.report({"failure": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()})


def _run(job: TrialJob) -> None:
    use_threads(job.cpus)
    run = Path(job.run)
    resume = Snapshot.load(run / job.checkpoint) if job.checkpoint else None
    epochs = finetune(
        job.settings, store=_open_store(job.store), data_seed=job.data_seed, weights=job.weights, resume=resume
    )
    for result in epochs:
        checkpoint = checkpoint_path(job.number, result.epoch)
        try:
            result.snapshot().save(run / checkpoint)
        except OSError as error:
            tune.report({"storage": str(error)})
            return
        tune.report({**result.metrics(), "checkpoint": checkpoint})


@lru_cache(maxsize=4)
def _open_store(path: str) -> PixelStore:
    return PixelStore.open(Path(path))


def _out_of_memory(job: TrialJob, error: torch.OutOfMemoryError) -> str:
    settings = job.settings
    first = str(error).split(". ")[0]
    return (
        f"CUDA out of memory at batch_size {settings.batch_size} and image_size {settings.image_size} ({first});"
        " lower one of them, freeze more, or give each trial more of the GPU (resources.gpus_per_trial)"
    )
