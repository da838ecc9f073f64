"""What a worker does with a trial that it is told to run: its epochs, as reports of plain values.

    for report in run_trial(job.to_config()):
        ...                                    # {"epoch": 1, "val_accuracy": 0.91, …, "checkpoint": "trials/3/…"}

Each epoch is saved first and reported second, so what the sweep's ledger names is on disk. Whatever goes wrong in
Python is reported as a result, so that the process, with torch loaded, serves the next trial. A process that has died,
or lost its GPU, is Ray's to tell and to replace.
"""

import dataclasses
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from trainables.checkpoint import Snapshot
from trainables.data.cache import cache_folder
from trainables.data.room import mark_used
from trainables.data.store import DamagedStoreError, PixelStore
from trainables.errors import TrialError, UserError
from trainables.features import Sharing
from trainables.files import checkpoint_path
from trainables.finetune import finetune
from trainables.hardware import (
    gpu_share,
    has_lost_gpu,
    is_gpu_out_of_memory,
    is_torch_of_other_gpus,
    limit_gpu_memory,
    pick_device,
    release_gpu_memory,
    use_threads,
)
from trainables.models.resident import residents
from trainables.models.weights import Weights
from trainables.node_check import check_run_is_seen
from trainables.places import Place, place_at
from trainables.ray_nodes import store_here, weights_here
from trainables.settings import TrialSettings
from trainables.training.compiling import keep_compiled

_TRAIN_ON_CPU = "set resources.gpus_per_trial: 0 to train on the CPU"


@dataclass(frozen=True)
class TrialJob:
    """What a worker is told: the trial, where its sweep and pictures are, and from which checkpoint to go on.

    `cpus` and `gpus` are the trial's shares; with no GPU among them it computes on the CPU. `checkpoint` and the
    reported paths are relative to `run`, the sweep's folder or URL. In `cache` trials share what they have in common,
    up to `sharing_bytes`; 0 shares nothing. Empty, it is that of the machine the trial runs on. `offer` names who has
    the driver's files where a node may not see them (`trainables.ray_nodes`); `fingerprint` is then the store's.
    """

    number: int
    settings: TrialSettings
    run: str
    store: str
    data_seed: int
    weights: Weights
    cpus: float
    gpus: float = 0.0
    checkpoint: str | None = None
    cache: str = ""
    sharing_bytes: int = 0
    offer: str = ""
    fingerprint: str = ""

    def to_config(self) -> dict[str, Any]:
        """The job as Ray's config: plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TrialJob":
        nested = {"settings": TrialSettings(**config["settings"]), "weights": Weights(**config["weights"])}
        return cls(**{**config, **nested})


def run_trial(config: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
    """Runs a trial's epochs, reporting each as `{epoch, train_loss, …, checkpoint}` (`ray_worker.REPORT_FIELDS`).

    On a GPU `gpu_share` is among them, the trial's peak so far as a share of its memory.

    A trial that fails reports `{failure}`, and `{traceback}` with it when the reason is not one of ours, or
    `{out_of_memory}` when the GPU's memory did not suffice. What is no
    trial's fault and would fail the next one too (a full disk, a file or weights gone) reports `{storage}`. After a
    CUDA error that its process does not get over it raises.
    """
    job = TrialJob.from_config(config)
    device = pick_device(gpus=job.gpus)
    try:
        fault = yield from _run(job, device)
    except BaseException as error:  # GeneratorExit it is when the trial is stopped
        traceback.clear_frames(error.__traceback__)  # which hold the network
        raise
    finally:
        release_gpu_memory(device)
    if fault:
        yield fault


def _run(job: TrialJob, device: torch.device) -> Generator[dict[str, Any], None, dict[str, Any] | None]:
    """Reports the trial's epochs; returns what to report when it ends before its last one."""
    try:
        yield from _report_epochs(job, device)
    except TrialError as error:
        return {"failure": str(error)}
    except (OSError, DamagedStoreError, UserError) as error:
        return {"storage": str(error)}
    except Exception as error:  # any mistake in one configuration ends that trial, not the sweep
        if is_gpu_out_of_memory(error, crowded=0 < job.gpus < 1):
            residents.clear()
            return {"failure": _out_of_memory(job, error), "out_of_memory": True}
        if is_torch_of_other_gpus(error):
            return {"failure": f"torch was not built for this GPU: install one that was, or {_TRAIN_ON_CPU}"}
        if has_lost_gpu(error):
            raise
        return {"failure": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    return None


def _report_epochs(job: TrialJob, device: torch.device) -> Iterator[dict[str, Any]]:
    if job.gpus > 0 and device.type == "cpu":
        raise TrialError(
            "there is a GPU for this trial, and torch cannot use it (tune doctor says more): bring its driver or torch"
            f" up to date, or {_TRAIN_ON_CPU}"
        )
    use_threads(job.cpus)
    limit_gpu_memory(device, gpus=job.gpus)
    cache = Path(job.cache or cache_folder())
    if job.settings.compile:
        keep_compiled(cache)
    run, job = place_at(job.run), _with_files_here(job)
    store = _open_store(job.store)
    mark_used(Path(job.store))
    epochs = finetune(
        job.settings,
        store=store,
        data_seed=job.data_seed,
        weights=job.weights,
        resume=_resumed(run, job.checkpoint) if job.checkpoint else None,
        device=device,
        sharing=Sharing(cache, job.sharing_bytes),
    )
    for result in epochs:
        checkpoint = checkpoint_path(job.number, result.epoch)
        with run.writing(checkpoint) as path:
            result.snapshot().save(path)
        share = gpu_share(device)
        yield {**result.metrics(), **({} if share is None else {"gpu_share": share}), "checkpoint": checkpoint}


def _resumed(run: Place, checkpoint: str) -> Snapshot:
    with run.reading(checkpoint) as path:
        return Snapshot.load(path)


def _with_files_here(job: TrialJob) -> TrialJob:
    """The job with pictures and weights that this node sees."""
    if not job.offer:
        return job
    check_run_is_seen(job.run)
    store = store_here(job.store, fingerprint=job.fingerprint, offer=job.offer)
    return dataclasses.replace(job, store=str(store), weights=weights_here(job.weights, offer=job.offer))


@lru_cache(maxsize=4)
def _open_store(path: str) -> PixelStore:
    return PixelStore.open(Path(path))


def _out_of_memory(job: TrialJob, error: Exception) -> str:
    settings = job.settings
    first = str(error).splitlines()[0].split(". ")[0]
    more = " freeze more, or give each trial more of the GPU (resources.gpus_per_trial)"
    return (
        f"CUDA out of memory at batch_size {settings.batch_size} and image_size {settings.image_size} ({first});"
        f" lower one of them,{more if job.gpus < 1 else ' or freeze more'}"
    )
