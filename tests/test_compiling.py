"""What a trial trains, compiled by torch: the same trial to rounding, exact when resumed, and told in one line where it
cannot be."""

import dataclasses
import gc
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from rich.console import Console
from test_exact_trial import BASE, NO_WEIGHTS, check_exact, trial
from torch import nn
from torch._dynamo.utils import counters
from torch._inductor.exc import TritonMissing

from conftest import make_pictures
from trainables import feed
from trainables.data.cache import TAG_NAME
from trainables.data.pixels import build_store
from trainables.data.room import COMPILED_STAYS_S
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import PixelStore
from trainables.errors import TrialError, UserError
from trainables.features import Sharing
from trainables.finetune import finetune
from trainables.training.compiling import Compiled, check_compiler, keep_compiled
from tuning.setup import create_sweep
from tuning.spec_file import load_spec

SMALL = dataclasses.replace(BASE, model="small_cnn", dropout=0.4, lr=0.01, compile=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def compiled_here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # for it to be put back
    keep_compiled(cache)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PixelStore:
    """28 training pictures of three classes, so that the last of four batches is smaller, and 12 for validation."""
    counts = {"train/a": 10, "train/b": 9, "train/c": 9, "val/a": 4, "val/b": 4, "val/c": 4}
    root = make_pictures(tmp_path_factory.mktemp("compiled") / "pictures", counts)
    catalog = read_catalog(DataSettings(source="folder", path=str(root)), base=root)
    return build_store(catalog, short_side=32, cache=tmp_path_factory.mktemp("pixels"), on_bad_image="error")


def test_a_smaller_batch_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        torch, "compile", lambda call, **_: lambda pictures: seen.append(len(pictures)) or call(pictures)
    )
    network = nn.Linear(3, 2)
    compiled = Compiled(network, batch_size=4)
    pictures = torch.rand(4, 3)
    assert torch.equal(compiled(pictures), network(pictures))
    assert torch.equal(compiled(pictures[:3]), network(pictures[:3]))
    assert seen == [4]
    assert list(compiled.parameters()) == list(network.parameters())


def test_batches_of_one_are_told_of_as_ever(store: PixelStore) -> None:
    with pytest.raises(TrialError, match="a batch of one picture"):
        next(trial(dataclasses.replace(BASE, batch_size=1, compile=True), store))


@pytest.mark.parametrize("missing", ["compiler", "headers"])
def test_what_is_missing_is_told(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "compiler":
        monkeypatch.setenv("CXX", "no-such-compiler -O2")
    else:
        monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    with pytest.raises(UserError, match=rf"compile: torch cannot compile without .*{missing}.*; install it") as told:
        check_compiler()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("space", ["compile: [true, false]", "lr: [0.1, 0.01]"])
def test_a_compiler_is_looked_for_before_the_first_trial_where_one_may_need_it(
    space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    file = tmp_path / "sweep.yaml"
    file.write_text(f"trial: {{model: small_cnn, weights: none, image_size: 16}}\nspace: {{{space}}}\n")
    refused = pytest.raises(UserError, match="no-such-compiler") if "compile" in space else nullcontext()
    with refused:
        create_sweep(
            load_spec(file), text=file.read_text(), name="mine", runs=tmp_path / "runs", console=Console(quiet=True)
        )
    assert (tmp_path / "runs").exists() == ("compile" not in space)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("C++ compile error\n\nOutput:\nx.cpp:1:10: fatal error: omp.h: No such file\n"), r"omp\.h"),
        (TritonMissing(first_useful_frame=None), "working triton installation"),
    ],
    ids=["C++", "Triton"],
)
def test_a_compiler_that_fails_ends_the_trial_in_one_line(
    error: Exception, reason: str, store: PixelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error

    really = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, **_: really(call, backend=broken))
    with pytest.raises(TrialError, match=rf"torch cannot compile .*{reason}.*; set compile: false") as told:
        next(trial(SMALL, store))
    assert "\n" not in str(told.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},  # with dropout
        {"freeze": "conv1", "freeze_epochs": 2},
        {"optimizer": "lbfgs", "batch_size": 14},
        {"precision": "bf16", "mixup": 0.4, "epochs": 3},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()) or "small_cnn",
)
def test_a_resumed_trial_is_the_uninterrupted_one(changes: dict, store: PixelStore, tmp_path: Path) -> None:
    check_exact(dataclasses.replace(SMALL, **changes), store, tmp_path)


@pytest.mark.slow
def test_a_compiled_step_is_the_step() -> None:
    """Its outputs, its gradients and the running statistics of BatchNorm; in fp64, where rounding hides nothing."""
    pictures = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for compile in (False, True):
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(14), nn.Flatten(), nn.Linear(8, 2))
        network = nn.Sequential(*layers).double()
        outputs = (Compiled(network, batch_size=8) if compile else network)(pictures)
        outputs.square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        found.append((outputs.detach(), gradients, dict(network.named_buffers())))
    torch.testing.assert_close(*found)


@pytest.mark.slow
def test_shared_features_feed_a_compiled_rest(
    store: PixelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies before the cut is the same for both; snapshots have the network's own names; nothing is left behind."""
    settings = dataclasses.replace(SMALL, freeze="conv2", dropout="auto", epochs=2)
    kept: list[weakref.ref] = []
    monkeypatch.setattr(
        feed, "Compiled", lambda network, **size: kept.append(weakref.ref(network)) or Compiled(network, **size)
    )
    ends = []
    for compile in (False, True):
        epochs = finetune(
            dataclasses.replace(settings, compile=compile),
            store=store,
            data_seed=7,
            weights=NO_WEIGHTS,
            sharing=Sharing(tmp_path, 10**9),
        )
        ends += [(result.shared, result.train_loss, result.snapshot()) for result in epochs if result.epoch == 2]
        del epochs
    (shared, loss, plain), (shared_too, loss_too, compiled) = ends
    assert shared == shared_too == "conv2"
    assert loss_too == pytest.approx(loss, rel=1e-3)
    assert plain.model.keys() == compiled.model.keys()
    gc.collect()
    assert [network() for network in kept] == [None], "a trial's weights are not held by what was compiled"


@pytest.mark.slow
def test_what_was_compiled_is_found_in_the_cache(store: PixelStore) -> None:
    for _ in range(2):
        counters.clear()
        next(trial(SMALL, store))
    assert counters["inductor"]["fxgraph_cache_miss"] == 0
    assert counters["inductor"]["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"] > 0


def test_compiled_code_that_nobody_uses_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    keep_compiled(tmp_path)
    code = tmp_path / "compiled" / "torch-2.15.0" / "ab"
    code.mkdir(parents=True)
    elsewhere = tmp_path / "mine.txt"
    for file in (code / "used.so", code / "written.so", code / "unused.so", elsewhere):
        file.write_text("code")
    (code / "link.so").symlink_to(elsewhere)
    now, long_ago = time.time(), time.time() - COMPILED_STAYS_S - 60
    for file, times in (("used.so", (now, long_ago)), ("written.so", (long_ago, now)), ("unused.so", (long_ago,) * 2)):
        os.utime(code / file, times)
    for file in (elsewhere, tmp_path / "compiled" / TAG_NAME):
        os.utime(file, (long_ago, long_ago))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    keep_compiled(tmp_path)
    assert sorted(path.name for path in code.iterdir()) == ["link.so", "used.so", "written.so"]
    assert elsewhere.exists()
    assert (tmp_path / "compiled" / TAG_NAME).exists()
