"""A process that serves trial after trial does not grow: fifty of them in one worker."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.models.weights import Weights
from trainables.ray_trial import TrialJob
from trainables.settings import TrialSettings

# As `trainables.ray_trial.Worker` runs jobs, in a fresh process: USS is the memory that is its own, in bytes.
WORKER = """
import json, sys
import psutil
from trainables.ray_worker import Worker

worker = Worker.__new__(Worker)
sizes = []
for number, line in enumerate(sys.stdin):
    job = json.loads(line)
    worker.reset_config(job) if number else worker.setup(job)
    for _ in range(job["settings"]["epochs"] - job["number"] % 2):  # every other trial is stopped early
        report = worker.step()
        assert "val_loss" in report, report
    worker.cleanup()  # what one trial holds while it stands is not what is left of it
    sizes.append(psutil.Process().memory_full_info().uss)
print(json.dumps(sizes))
"""
MODELS = ("shufflenet_v2_x0_5", "squeezenet1_1", "resnet18")
FREEZE = ("none", "stem", "backbone")
MB = 2**20


@pytest.mark.slow
@pytest.mark.parametrize("sharing_mb", [0, 200], ids=["each for itself", "sharing"])
def test_fifty_trials_in_one_process(tmp_path: Path, sharing_mb: int) -> None:
    """Different networks, boundaries, batch sizes, optimisers and augmentations, some stopped early."""
    catalog = read_catalog(DataSettings(), base=tmp_path)
    store = build_store(catalog, short_side=32, cache=tmp_path, on_bad_image="error")
    jobs = [
        TrialJob(
            number=number,
            settings=TrialSettings(
                model=MODELS[number % 3],
                weights="none",
                image_size=32,
                center_crop=1.0,
                augment=("none", "standard")[number % 2],
                freeze=FREEZE[number // 3 % 3],
                optimizer=("sgd", "adamw")[number // 2 % 2],
                batch_size=(64, 128)[number // 4 % 2],
                lr=1e-3,
                epochs=2,
            ),
            run=str(tmp_path),
            store=str(store.path),
            data_seed=0,
            weights=Weights("none", None, None, ""),
            cpus=1,
            cache=str(tmp_path / "shared"),
            sharing_bytes=sharing_mb * MB,
        )
        for number in range(50)
    ]
    lines = "".join(json.dumps(dataclasses.asdict(job)) + "\n" for job in jobs)
    done = subprocess.run([sys.executable, "-c", WORKER], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    sizes = json.loads(done.stdout.splitlines()[-1])
    print(*(f"{number}: {size / MB:.0f}" for number, size in enumerate(sizes, start=1) if number % 5 == 0), "MB")
    # By the twentieth trial every network and boundary has been met.
    assert max(sizes[40:]) < max(sizes[10:20]) + 40 * MB
