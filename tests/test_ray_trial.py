"""What a trial's process tells its driver when things go wrong in it."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainables import ray_trial
from trainables.errors import TrialError
from trainables.models.weights import Weights
from trainables.ray_trial import TrialJob, run_trial
from trainables.settings import TrialSettings
from tuning.engine import _reason


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What is reported to Ray."""
    reported: list[dict] = []
    monkeypatch.setattr(ray_trial.tune, "report", reported.append)
    return reported


@pytest.fixture
def job(tmp_path: Path) -> TrialJob:
    weights = Weights("none", None, None, "")
    return TrialJob(
        number=3,
        settings=TrialSettings(batch_size=64),
        run=str(tmp_path),
        store="nowhere",
        data_seed=0,
        weights=weights,
        cpus=1,
    )


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(_job: TrialJob) -> None:
        raise error

    monkeypatch.setattr(ray_trial, "_run", fail)


def test_a_job_comes_back_from_rays_config(job: TrialJob) -> None:
    assert TrialJob.from_config(job.to_config()) == job


def test_a_trial_that_cannot_go_on(job: TrialJob, reports: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, TrialError("diverged: lower lr"))
    run_trial(job.to_config())
    assert reports == [{"failure": "diverged: lower lr"}]


def test_gpu_memory_is_named_with_what_to_change(
    job: TrialJob, reports: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …"))
    run_trial(job.to_config())
    (report,) = reports
    assert report["failure"].startswith("CUDA out of memory at batch_size 64 and image_size 224 (")
    assert "lower one of them" in report["failure"]


def test_any_other_mistake_comes_with_its_traceback(
    job: TrialJob, reports: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    run_trial(job.to_config())
    (report,) = reports
    assert report["failure"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in report["traceback"]


def test_a_full_disk_is_told_as_such(job: TrialJob, reports: list[dict], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    epoch = SimpleNamespace(epoch=1, metrics=dict, snapshot=lambda: SimpleNamespace(save=full))
    monkeypatch.setattr(ray_trial, "finetune", lambda *_args, **_named: iter([epoch]))
    monkeypatch.setattr(ray_trial, "_open_store", lambda _path: None)
    run_trial(job.to_config())
    assert reports == [{"storage": "[Errno 28] No space left on device"}]


def test_a_missing_checkpoint_fails_the_trial(job: TrialJob, reports: list[dict]) -> None:
    run_trial(dataclasses.replace(job, checkpoint="trials/3/epoch-00001.safetensors").to_config())
    (report,) = reports
    assert "epoch-00001.safetensors" in report["failure"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.", "out of memory: "),
        ("The actor is dead because its worker process has died.", "its process died (killed, or out of memory)"),
        ("Traceback …\nValueError: odd\n", "ValueError: odd"),
        ("", "reason unknown"),
    ],
)
def test_why_a_worker_was_lost(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "error.txt"
    file.write_text(text)
    assert _reason(SimpleNamespace(error_file=str(file))).startswith(reason)
