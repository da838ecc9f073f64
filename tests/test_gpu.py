"""One epoch on a GPU, in every precision, and going on from its snapshot."""

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from conftest import make_pictures
from trainables.checkpoint import Snapshot
from trainables.data.loaders import training_batches
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import PixelStore
from trainables.finetune import finetune
from trainables.hardware import CONTEXT_BYTES, gpu_share, limit_gpu_memory, pick_device, release_gpu_memory
from trainables.models.weights import Weights
from trainables.settings import TrialSettings
from trainables.training.compiling import keep_compiled

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

NO_WEIGHTS = Weights("none", None, None, "")


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
    settings = TrialSettings(
        model="resnet18",
        weights="none",
        image_size=32,
        center_crop=1.0,
        optimizer=optimizer,
        precision=precision,
        freeze=freeze,
        batch_size=6,
        epochs=2,
    )
    path = tmp_path / "epoch-00001.safetensors"
    epochs = finetune(settings, store=store, data_seed=0, weights=NO_WEIGHTS)
    next(epochs).snapshot().save(path)
    second = next(epochs)
    (again,) = finetune(settings, store=store, data_seed=0, weights=NO_WEIGHTS, resume=Snapshot.load(path))
    assert all(math.isfinite(value) for value in (second.train_loss, second.val_loss, *second.scores.values()))
    # cuDNN sums in no fixed order, so a GPU repeats itself only nearly.
    assert again.train_loss == pytest.approx(second.train_loss, rel=0.05)
    assert again.lr == second.lr


def test_a_compiled_trial_goes_on_from_its_snapshot(store: PixelStore, tmp_path: Path) -> None:
    keep_compiled(tmp_path)
    settings = TrialSettings(
        model="small_cnn", weights="none", image_size=32, center_crop=1.0, batch_size=6, epochs=2, compile=True
    )
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


def test_a_share_of_the_memory_and_its_return() -> None:
    device = pick_device(gpus=0.5)
    limit_gpu_memory(device, gpus=0.5)
    half = torch.cuda.get_device_properties(device).total_memory // 2
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(half + 2**28, dtype=torch.uint8, device=device)
    kept = torch.empty(2**26, dtype=torch.uint8, device=device)
    del kept
    release_gpu_memory(device)
    assert torch.cuda.memory_reserved(device) < 2**26
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
