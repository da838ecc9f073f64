"""What a trial's process tells its driver when things go wrong in it."""

import dataclasses
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainables import hardware, ray_trial
from trainables.data.store import DamagedStoreError
from trainables.errors import TrialError, UserError
from trainables.hardware import describe_hardware, gpu_share, limit_gpu_memory, look_at_gpus, pick_device
from trainables.models.resident import residents
from trainables.models.weights import Weights
from trainables.ray_trial import TrialJob, run_trial
from trainables.ray_worker import Worker
from trainables.settings import TrialSettings
from tuning.engine import _reason


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
    def fail(*_args: object) -> None:
        raise error

    monkeypatch.setattr(ray_trial, "_report_epochs", fail)


def test_a_job_comes_back_from_rays_config(job: TrialJob) -> None:
    assert TrialJob.from_config(job.to_config()) == job


def test_a_trial_that_cannot_go_on(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, TrialError("diverged: lower lr"))
    assert list(run_trial(job.to_config())) == [{"failure": "diverged: lower lr"}]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN SDPA execution failed …\nCUDA ran out of memory outside PyTorch's allocator. If …"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be …"),
    ],
    ids=["torch", "cuDNN", "cuDNN 9", "cuBLAS", "attention", "Triton", "CUDA"],
)
def test_gpu_memory_is_named_with_what_to_change(
    error: RuntimeError, job: TrialJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    (report,) = run_trial(job.to_config())
    assert report["out_of_memory"]
    assert report["failure"].startswith("CUDA out of memory at batch_size 64 and image_size 224 (")
    assert "lower one of them" in report["failure"]
    assert "resources.gpus_per_trial" in report["failure"]
    assert "\n" not in report["failure"]
    (alone,) = run_trial(dataclasses.replace(job, gpus=1.0).to_config())
    assert alone["failure"].endswith("; lower one of them, or freeze more"), "it cannot be given more"


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_gpu_costs_the_process(error: RuntimeError, job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, error)
    with pytest.raises(RuntimeError, match="CUDA error"):
        next(run_trial(job.to_config()))


def test_a_torch_that_was_not_built_for_the_gpu_is_told_of(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process would fare no better, so this one stays."""
    failing(monkeypatch, torch.AcceleratorError("CUDA error: no kernel image is available for execution …\nCUDA …"))
    (report,) = run_trial(job.to_config())
    assert report["failure"].startswith("torch was not built for this GPU: ")
    assert "resources.gpus_per_trial: 0" in report["failure"]
    assert "traceback" not in report


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        DamagedStoreError("store: pixels.bin is not 7 bytes long"),
        UserError("this file of weights has changed since the sweep began", where="weights"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_trials_fault_is_told_apart(
    error: Exception, job: TrialJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    assert list(run_trial(job.to_config())) == [{"storage": str(error)}]


def test_memory_is_given_back_however_a_trial_ends(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that is stopped ends where it last reported; the traceback of that must not keep the network."""

    class Network:
        pass

    networks: list[weakref.ref] = []
    alive: list[bool] = []

    def epochs(*_args: object) -> Iterator[dict]:
        network = Network()
        networks.append(weakref.ref(network))
        yield {"epoch": 1}
        yield {"epoch": 2}

    monkeypatch.setattr(ray_trial, "_report_epochs", epochs)
    monkeypatch.setattr(ray_trial, "release_gpu_memory", lambda _device: alive.append(networks[-1]() is not None))
    reports = run_trial(job.to_config())
    assert next(reports) == {"epoch": 1}
    reports.close()
    assert alive == [False]
    assert list(run_trial(job.to_config())) == [{"epoch": 1}, {"epoch": 2}]
    assert alive == [False, False]


def test_a_worker_runs_one_trial_after_another(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []

    def epochs(job: TrialJob, _device: object) -> Iterator[dict]:
        try:
            for epoch in (1, 2):
                yield {"epoch": epoch, "of": job.number}
        finally:
            left.append(job.number)

    monkeypatch.setattr(ray_trial, "_report_epochs", epochs)
    worker = Worker.__new__(Worker)  # what Ray's own part of it does needs a place to write to
    worker.setup(job.to_config())
    assert worker.step() == {"number": 3, "epoch": 1, "of": 3}
    assert worker.reset_config(dataclasses.replace(job, number=4).to_config())
    assert left == [3]
    assert [worker.step(), worker.step()] == [{"number": 4, "epoch": epoch, "of": 4} for epoch in (1, 2)]
    with pytest.raises(RuntimeError, match="ended without a word"):
        worker.step()
    worker.cleanup()


def test_a_trial_computes_where_its_share_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert pick_device(gpus=0).type == "cpu"
    assert pick_device(gpus=0.25) == torch.device("cuda", 1)
    assert pick_device() == torch.device("cuda", 1)


def test_a_share_has_cudas_own_memory_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU of 8 GiB, with torch at 1 GiB."""
    device, limits = torch.device("cuda"), []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * 2**30))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: 2**30)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda limit, _: limits.append(limit))
    assert gpu_share(device) == round(1.75 / 8, 4)
    for gpus in (0.25, 0.01, 1.0):
        limit_gpu_memory(device, gpus=gpus)
    assert limits == [(2 - 0.75) / 8, 0.0, 1.0]


def test_on_a_gpu_an_epoch_tells_its_share(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = SimpleNamespace(epoch=1, metrics=lambda: {"epoch": 1}, snapshot=lambda: SimpleNamespace(save=lambda _: 0))
    monkeypatch.setattr(ray_trial, "finetune", lambda *_args, **_named: iter([epoch]))
    monkeypatch.setattr(ray_trial, "_open_store", lambda _path: None)
    on_cpu = {"epoch": 1, "checkpoint": "trials/3/epoch-00001.safetensors"}
    assert list(run_trial(job.to_config())) == [on_cpu]
    monkeypatch.setattr(ray_trial, "gpu_share", lambda _device: 0.17)
    assert list(run_trial(job.to_config())) == [{**on_cpu, "gpu_share": 0.17}]


def test_a_gpu_is_looked_at_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs are counted here; the other process, which finds what there is, is the one to name them."""
    here = look_at_gpus()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert describe_hardware()["gpus"] == here["gpus"]
    monkeypatch.setattr(hardware, "_LOOK", "raise SystemExit('broken driver')")
    assert describe_hardware()["gpus"] == ["unknown (broken driver)"] * 2


def test_any_other_mistake_comes_with_its_traceback(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    (report,) = run_trial(job.to_config())
    assert report["failure"] == "ZeroDivisionError: division by zero"
    assert "Traceback" in report["traceback"]


def test_a_full_disk_is_told_as_such(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    epoch = SimpleNamespace(epoch=1, metrics=dict, snapshot=lambda: SimpleNamespace(save=full))
    monkeypatch.setattr(ray_trial, "finetune", lambda *_args, **_named: iter([epoch]))
    monkeypatch.setattr(ray_trial, "_open_store", lambda _path: None)
    assert list(run_trial(job.to_config())) == [{"storage": "[Errno 28] No space left on device"}]


def test_a_missing_checkpoint_is_no_trials_fault(job: TrialJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_trial, "_open_store", lambda _path: None)
    (report,) = run_trial(dataclasses.replace(job, checkpoint="trials/3/epoch-00001.safetensors").to_config())
    assert "epoch-00001.safetensors" in report["storage"]


def test_a_missing_store_is_no_trials_fault(job: TrialJob) -> None:
    (report,) = run_trial(job.to_config())
    assert "nowhere" in report["storage"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    ],
    ids=["cuDNN", "older cuDNN", "cuBLAS"],
)
def test_what_may_be_a_lack_of_memory_is_one_beside_others(
    error: RuntimeError, job: TrialJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    (report,) = run_trial(dataclasses.replace(job, gpus=0.25).to_config())
    assert report["out_of_memory"]
    alone = run_trial(dataclasses.replace(job, gpus=1.0).to_config())
    if "CUDA error" in str(error):
        with pytest.raises(RuntimeError, match="NOT_INITIALIZED"):
            list(alone)
    else:
        (report,) = alone
        assert report["failure"] == f"RuntimeError: {error}"
        assert "out_of_memory" not in report


def test_what_is_kept_between_trials_goes_when_memory_does_not_suffice(
    job: TrialJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    residents.get(
        TrialSettings(model="small_cnn", weights="none"),
        classes=2,
        channels=3,
        task="classification",
        weights=job.weights,
        device=torch.device("cpu"),
    )
    assert residents._kept
    failing(monkeypatch, torch.OutOfMemoryError("CUDA out of memory."))
    list(run_trial(job.to_config()))
    assert not residents._kept


def test_a_gpu_that_torch_cannot_use_is_told_of(job: TrialJob) -> None:
    """As with a driver that is too old for this torch: Ray counts the GPU all the same."""
    if torch.cuda.is_available():
        pytest.skip("torch can use the GPU here")
    (report,) = run_trial(dataclasses.replace(job, gpus=0.5).to_config())
    assert report["failure"].startswith("there is a GPU for this trial, and torch cannot use it")
    assert "resources.gpus_per_trial: 0" in report["failure"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.", "out of memory: "),
        ("The actor is dead because its worker process has died.", "its process died (killed, or out of memory)"),
        ("Traceback …\nValueError: odd\n", "ValueError: odd"),
        (
            'ray::Worker.train()\n  File "a.py", line 3, in step\n    run()\n    ^^^^^\n'
            "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n"
            "CUDA kernel errors might be asynchronously reported at some other API call.\n"
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n",
            "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        ),
        ("", "reason unknown"),
    ],
)
def test_why_a_worker_was_lost(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "error.txt"
    file.write_text(text)
    assert _reason(SimpleNamespace(error_file=str(file))).startswith(reason)
