"""One epoch on a GPU, in every precision, and going on from its snapshot."""

import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import PROJECT, make_pictures
from reports.modelfile import DESCRIPTION
from reports.sweep import Sweep
from trainables import features, feed
from trainables.checkpoint import Snapshot
from trainables.data import passes
from trainables.data.catalog import Task
from trainables.data.loaders import training_batches
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import PixelStore, StoreWriter
from trainables.errors import UserError
from trainables.features import Sharing
from trainables.finetune import finetune
from trainables.hardware import CONTEXT_BYTES, gpu_share, limit_gpu_memory, pick_device, release_gpu_memory
from trainables.models.freezing import training_mode
from trainables.models.resident import residents
from trainables.models.weights import Weights
from trainables.ray_trial import TrialJob, run_trial
from trainables.settings import TrialSettings
from trainables.tasks import LOSSES_OF
from trainables.training.compiling import check_compiler, keep_compiled
from trainables.training.loop import evaluate, train
from trainables.training.metrics import Gathered, RunningMetrics
from trainables.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

NO_WEIGHTS = Weights("none", None, None, "")
SMALL = TrialSettings(
    model="resnet18", weights="none", image_size=32, center_crop=1.0, batch_size=6, epochs=2, precision="fp32"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PixelStore:
    counts = {"train/a": 9, "train/b": 9, "val/a": 4, "val/b": 4}
    root = make_pictures(tmp_path_factory.mktemp("gpu") / "pictures", counts)
    catalog = read_catalog(DataSettings(source="folder", path=str(root)), base=root)
    return build_store(catalog, short_side=32, cache=tmp_path_factory.mktemp("cache"), on_bad_image="error")


@pytest.mark.parametrize("freeze", ["none", "backbone"])
@pytest.mark.parametrize(
    ("optimizer", "precision"),
    [
        *itertools.product(("sgd", "adamw"), ("fp32", "bf16", "fp16")),
        # Their state has numbers that torch keeps on the CPU, or in lists.
        *itertools.product(("asgd", "nadam", "adagrad", "lbfgs"), ("fp32",)),
    ],
)
def test_an_epoch_and_the_next_from_its_snapshot(
    optimizer: str, precision: str, freeze: str, store: PixelStore, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SMALL, optimizer=optimizer, precision=precision, freeze=freeze)
    path = tmp_path / "epoch-00001.safetensors"
    epochs = finetune(settings, store=store, data_seed=0, weights=NO_WEIGHTS)
    next(epochs).snapshot().save(path)
    second = next(epochs)
    (again,) = finetune(settings, store=store, data_seed=0, weights=NO_WEIGHTS, resume=Snapshot.load(path))
    assert all(math.isfinite(value) for value in (second.train_loss, second.val_loss, *second.scores.values()))
    # cuDNN sums in no fixed order, so a GPU repeats itself only nearly.
    assert again.train_loss == pytest.approx(second.train_loss, rel=0.05)
    assert again.lr == second.lr


def test_a_compiled_trial_goes_on_from_its_snapshot(
    store: PixelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # for it to be put back
    try:
        check_compiler()
    except UserError as missing:
        pytest.skip(str(missing))
    keep_compiled(tmp_path)
    settings = dataclasses.replace(SMALL, model="small_cnn", precision="auto", compile=True)
    epochs = finetune(settings, store=store, data_seed=0, weights=NO_WEIGHTS)
    first = next(epochs).snapshot()
    second = next(epochs)
    (again,) = finetune(settings, store=store, data_seed=0, weights=NO_WEIGHTS, resume=first)
    assert again.train_loss == pytest.approx(second.train_loss, rel=0.05)


def test_batches_made_ahead_are_pinned(store: PixelStore) -> None:
    settings = TrialSettings(image_size=32, augment="strong", batch_size=6)
    plain, pinned = (
        list(training_batches(store, settings=settings, data_seed=0, epoch=1, pin_memory=pin)) for pin in (False, True)
    )
    assert all(images.is_pinned() for images, _ in pinned)
    assert all(torch.equal(ours, theirs) for (ours, _), (theirs, _) in zip(pinned, plain, strict=True))


@pytest.mark.parametrize(("freeze", "shared"), [("none", "views"), ("layer2", "layer2"), ("backbone", "layer4")])
def test_trials_that_share_give_what_trials_that_do_not_share_give(
    freeze: str, shared: str, store: PixelStore, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SMALL, augment="strong", freeze=freeze)
    alone, first, second = (
        list(finetune(settings, store=store, data_seed=0, weights=NO_WEIGHTS, sharing=sharing))
        for sharing in (None, Sharing(tmp_path, 10**9), Sharing(tmp_path, 10**9))
    )
    for one, *others in zip(alone, first, second, strict=True):
        assert [other.shared for other in others] == [shared] * 2
        for other in others:
            assert other.train_loss == pytest.approx(one.train_loss, rel=0.05)
            assert other.val_loss == pytest.approx(one.val_loss, rel=0.05)


@pytest.mark.parametrize("freeze", ["none", "layer2"])
def test_shared_rows_are_pinned(freeze: str, store: PixelStore, tmp_path: Path) -> None:
    trainer = small_trainer(store, freeze=freeze, augment="strong", sharing=Sharing(tmp_path, 10**9))
    batches = [*trainer.feed.training(epoch=1).batches]
    if freeze != "none":
        batches += trainer.feed.validation().batches
    assert all(rows.is_pinned() and targets.is_pinned() for rows, targets in batches)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("freeze", ["none", "layer2", "backbone"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_host_never_waits_for_the_gpu_within_a_pass(
    precision: str, freeze: str, shared: bool, store: PixelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (feed, features, passes):
        monkeypatch.setattr(module, "CHUNK", 4)  # several batches of validation, too
    sharing = Sharing(tmp_path, 10**9) if shared else None
    trainer = small_trainer(store, freeze=freeze, augment="strong", precision=precision, sharing=sharing)
    trainer.epoch(1)  # loads kernels and constants, and computes what is shared
    trainer.epoch(2)
    device = trainer.arithmetic.device
    running = Watched(RunningMetrics(device, settings=trainer.settings, task="classification"))
    gathered = Watched(Gathered(settings=trainer.settings, task="classification", loss=trainer.learning.loss))
    training_mode(trainer.model)
    try:
        stream = trainer.feed.training(epoch=2)
        train(
            stream.network,
            list(stream.batches),
            epoch=2,
            learning=trainer.learning,
            prepare=stream.prepare,
            arithmetic=trainer.arithmetic,
            running=running,  # type: ignore[arg-type]
        )
        stream = trainer.feed.validation()
        evaluate(
            stream.network,
            list(stream.batches),
            prepare=stream.prepare,
            arithmetic=trainer.arithmetic,
            gathered=gathered,  # type: ignore[arg-type]
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert running.batches > 2
    assert gathered.batches > 1


class Watched:
    """Numbers of a pass; from its first batch until they are asked for, whoever waits for the GPU gets an error."""

    def __init__(self, numbers: RunningMetrics | Gathered) -> None:
        self.numbers, self.batches = numbers, 0

    def update(self, *batch: torch.Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error")
        self.numbers.update(*batch)
        self.batches += 1

    def compute(self) -> dict:
        torch.cuda.set_sync_debug_mode("default")
        return self.numbers.compute()


def small_trainer(store: PixelStore, *, sharing: Sharing | None, **settings: Any) -> Trainer:
    whole = dataclasses.replace(SMALL, epochs=3, **settings)
    return Trainer.build(whole, store=store, data_seed=0, weights=NO_WEIGHTS, device=pick_device(), sharing=sharing)


def store_of(task: Task, folder: Path) -> PixelStore:
    """Twenty-four pictures for training and twelve for validation, of noise, with three classes, labels or numbers."""
    draw = np.random.default_rng(0)
    with StoreWriter(folder) as writer:
        for number in range(36):
            values = tuple(draw.integers(0, 2, 3).astype(float) if task == "multilabel" else 1 + draw.random(3))
            writer.add(
                draw.integers(0, 256, (3, 32, 32), dtype=np.uint8),
                name=str(number),
                target=number % 3 if task == "classification" else values,
                split="train" if number < 24 else "val",
            )
        writer.seal(task=task, classes=("a", "b", "c"), channels=3, short_side=32, fingerprint=task)
    return PixelStore.open(folder)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        *[(task, {"loss": loss}) for task, losses in LOSSES_OF.items() for loss in losses],
        ("classification", {"loss": "focal", "class_weights": "balanced"}),
        ("multilabel", {"class_weights": "balanced"}),
        ("classification", {"mixup": 0.4}),
        ("regression", {"cutmix": 1.0, "mixup": 0.2}),
        ("classification", {"freeze": "conv2", "freeze_epochs": 1}),
        ("classification", {"clip_grad_norm": 0.1, "layer_decay": 0.7, "weight_decay": 0.01}),
        ("classification", {"schedule": "one_cycle", "warmup_epochs": 1, "nesterov": True}),
        ("classification", {"augment": "strong", "randaugment": 9, "random_erasing": 0.5}),
    ],
)
def test_a_gpu_learns_what_a_cpu_learns(task: Task, changes: dict, tmp_path: Path) -> None:
    """By what it says of it, and by where it brings the weights in the second epoch."""
    settings = dataclasses.replace(SMALL, model="small_cnn", lr=0.001, batch_size=8, dropout=0.0)
    settings = dataclasses.replace(settings, **changes)
    store = store_of(task, tmp_path)
    on_cpu, on_gpu = (
        [
            (epoch, epoch.snapshot().model)
            for epoch in finetune(settings, store=store, data_seed=0, weights=NO_WEIGHTS, device=device)
        ]
        for device in (torch.device("cpu"), pick_device())
    )
    (_, before), (_, after) = on_cpu
    _, after_on_gpu = on_gpu[-1]

    def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        return torch.cat([(one[name] - other[name]).flatten() for name in before]).norm().item()

    # TF32 makes 0.05 of the way, by rounding to its 10 bits on a CPU; a rate that is a third too low 0.4 and more.
    assert distance(after_on_gpu, after) < 0.2 * distance(after, before)
    for (ours, _), (theirs, _) in zip(on_gpu, on_cpu, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=0.02, abs=1e-4)
        assert ours.val_loss == pytest.approx(theirs.val_loss, rel=0.02, abs=1e-4)
        assert ours.lr == theirs.lr
        assert ours.scores.keys() == theirs.scores.keys()


@pytest.mark.ray
def test_a_sweep_on_the_gpu_from_the_command_to_its_model(tmp_path: Path) -> None:
    """Trials alone on the GPU, a resume with more of them that share it, and a model that gives its recorded score."""
    (tmp_path / "digits.yaml").write_text(
        """
data: {source: digits, limit: 600}
trial: {model: resnet18, weights: none, image_size: 32, center_crop: 1.0, augment: standard, epochs: 3}
space: {lr: {low: 1e-3, high: 1e-1, log: true}, freeze: [none, layer2, backbone]}
search: {trials: 6, pruner: none}
"""
    )

    def tune(*arguments: str) -> str:
        environment = os.environ | {"TUNEYARD_CACHE": str(tmp_path / "cache")}
        done = subprocess.run(
            [sys.executable, "-m", "tuning", *arguments],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tune("search", "--space", str(tmp_path / "digits.yaml"), "--runs", str(tmp_path), "--quiet")
    sweep = Sweep.open(tmp_path / "digits")
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    assert sweep.record["hardware"]["gpus"] == names
    first = sweep.ledger().trials()
    assert [trial.state for trial in first] == ["complete"] * 6, [trial.error for trial in first]
    assert all(0 < epoch["gpu_share"] < 1 for trial in first for epoch in trial.epochs)
    assert (sweep.ledger().fits_a_gpu() or 0) > 1
    tune("resume", str(tmp_path / "digits"), "--trials", "16", "--quiet")
    trials = Sweep.open(tmp_path / "digits").ledger().trials()
    assert [trial.state for trial in trials] == ["complete"] * 16, [trial.error for trial in trials]
    assert trials[:6] == first
    ends = [(epoch["elapsed"], epoch["seconds"]) for trial in trials[6:] for epoch in trial.epochs]
    overlapping = sum(end - seconds < other < end for end, seconds in ends for other, _ in ends)
    assert overlapping > 0, "trials of the resume share the GPU, by what the first sweep found out"
    described = json.loads((tmp_path / "digits" / "best" / DESCRIPTION).read_text())
    recorded, exported = described["selected_by"]["value"], described["measured"]["val"]["accuracy"]
    assert exported == pytest.approx(recorded, abs=0.03)


def test_a_share_of_the_memory_and_its_return() -> None:
    device = pick_device(gpus=0.5)
    limit_gpu_memory(device, gpus=0.5)
    half = torch.cuda.get_device_properties(device).total_memory // 2
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(half + 2**28, dtype=torch.uint8, device=device)
    release_gpu_memory(device)
    before = torch.cuda.memory_reserved(device)
    kept = torch.empty(2**26, dtype=torch.uint8, device=device)
    assert torch.cuda.memory_reserved(device) > before
    del kept
    release_gpu_memory(device)
    assert torch.cuda.memory_reserved(device) == before
    limit_gpu_memory(device, gpus=1.0)


def test_a_trial_that_lacks_memory_says_so_and_leaves_none_behind(store: PixelStore, tmp_path: Path) -> None:
    """Wherever in the network it ends, and whichever library notices: the trial is to be handed out again."""
    device = pick_device()
    total = torch.cuda.get_device_properties(device).total_memory
    residents.clear()
    release_gpu_memory(device)
    before = torch.cuda.memory_reserved(device)
    settings = dataclasses.replace(SMALL, image_size=512, batch_size=16, epochs=1)
    job = TrialJob(
        number=0,
        run=str(tmp_path),
        settings=settings,
        data_seed=0,
        weights=NO_WEIGHTS,
        store=str(store.path),
        checkpoint=None,
        cpus=1.0,
        gpus=(CONTEXT_BYTES + 3 * 2**28) / total,  # 0.75 GiB for torch, of which such pictures want several times more
        cache=str(tmp_path),
        sharing_bytes=0,
    )
    (report,) = run_trial(job.to_config())
    assert report.get("out_of_memory"), report
    assert "CUDA out of memory at batch_size 16" in report["failure"]
    assert torch.cuda.memory_reserved(device) <= before + 2**25
    limit_gpu_memory(device, gpus=1.0)


def test_a_trials_peak_is_measured_anew_for_each() -> None:
    device = pick_device()
    limit_gpu_memory(device, gpus=1.0)
    before = gpu_share(device)
    taken = torch.empty(torch.cuda.get_device_properties(device).total_memory // 8, dtype=torch.uint8, device=device)
    del taken
    release_gpu_memory(device)
    assert gpu_share(device) == pytest.approx(before + 1 / 8, abs=0.01), "the peak, not what is held now"
    limit_gpu_memory(device, gpus=1.0)
    assert gpu_share(device) == pytest.approx(before, abs=0.01)


def test_what_cuda_takes_beside_torchs_memory_is_allowed_for() -> None:
    """In a process of its own, which has used cuDNN and cuBLAS: by what the GPU has less of."""
    script = """
import torch
torch.cuda.init()
layers = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 7), torch.nn.Flatten(), torch.nn.Linear(64 * 58 * 58, 10)).cuda()
layers(torch.rand(8, 3, 64, 64, device="cuda")).sum().backward()
torch.cuda.synchronize()
print(torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[0])
"""
    free = torch.cuda.mem_get_info()[0]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    reserved, left = (int(number) for number in done.stdout.split())
    assert free - left - reserved <= CONTEXT_BYTES
