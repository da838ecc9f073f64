"""Starting weights: found or said to be missing, read without running anything, loaded where they fit."""

import contextlib
import http.server
import os
import pickle
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from trainables.errors import UserError
from trainables.files import file_digest
from trainables.models import download, weights, zoo
from trainables.models.build import build_model
from trainables.models.nets import bare_network
from trainables.models.state_files import read_state
from trainables.models.weights import LoadReport, Weights, load_weights, resolve_weights
from trainables.settings import TrialSettings

MODEL = "squeezenet1_1"
FACTS = zoo.facts(MODEL)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A state dict as torchvision would publish it, with values of its own."""
    torch.manual_seed(99)
    return bare_network(FACTS, image_size=224).state_dict()


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's hub, and no way to the real server."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(weights, "imagenet_url", lambda facts: f"http://127.0.0.1:9/{_published(facts)}")
    return tmp_path / "torch" / "hub" / "checkpoints"


def _published(facts: zoo.ModelFacts) -> str:
    return {"squeezenet1_1": "squeezenet1_1-b8a52dc0.pth"}.get(facts.name, f"{facts.name}-00000000.pth")


def save(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


def build(resolved: Weights, *, channels: int = 3, **changes):
    chosen = TrialSettings(**{"model": MODEL, "image_size": 32, **changes})
    return build_model(chosen, classes=2, channels=channels, weights=resolved)


def backbone(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.startswith("classifier.1.")}


def assert_loaded(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    own = network.state_dict()
    assert [name for name, tensor in backbone(state).items() if not torch.equal(own[name], tensor)] == []


# ---- files that are right ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bare", "module.", "state_dict", "model", "both", "safetensors"])
def test_a_state_dict_loads_however_it_was_saved(kind, state, tmp_path):
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    else:
        contents = {
            "bare": state,
            "module.": prefixed,
            "state_dict": {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
            "model": {"model": state},
            "both": {"state_dict": prefixed},
        }
        save(contents[kind], path)
    resolved = resolve_weights(path.name, MODEL, base=tmp_path)
    assert (resolved.kind, resolved.path, resolved.digest) == ("file", str(path), file_digest(path))
    model = build(resolved)
    assert_loaded(model.network, state)
    assert model.load_report.complete
    assert set(model.load_report.skipped) == {"classifier.1.weight", "classifier.1.bias"}
    assert model.network.classifier[1].weight.shape[0] == 2


def test_the_head_does_not_depend_on_the_weights(state, tmp_path):
    path = save(state, tmp_path / "w.pth")
    loaded, random = build(resolve_weights(str(path), MODEL, base=tmp_path)), build(Weights("none", None, None, ""))
    assert torch.equal(loaded.network.classifier[1].weight, random.network.classifier[1].weight)
    assert not torch.equal(loaded.network.features[0].weight, random.network.features[0].weight)


def test_grey_pictures_get_the_sum_over_the_colours(state, tmp_path):
    resolved = resolve_weights(str(save(state, tmp_path / "w.pth")), MODEL, base=tmp_path)
    grey = build(resolved, channels=1)
    torch.testing.assert_close(grey.network.features[0].weight, state["features.0.weight"].sum(1, keepdim=True))
    assert grey.load_report.complete
    # And back: a network that was trained on grey pictures starts one for colour.
    again = save(grey.network.state_dict(), tmp_path / "grey.pth")
    color = build(resolve_weights(str(again), MODEL, base=tmp_path))
    torch.testing.assert_close(
        color.network.features[0].weight.sum(1, keepdim=True), grey.network.features[0].weight.detach()
    )


def test_what_does_not_fit_is_listed_and_the_rest_is_loaded(state, tmp_path):
    part = {name: tensor for name, tensor in state.items() if name != "features.3.squeeze.bias"}
    part["features.4.squeeze.bias"] = torch.zeros(5)
    part["extra.weight"] = torch.zeros(2)
    resolved = resolve_weights(str(save(part, tmp_path / "w.pth")), MODEL, base=tmp_path)
    report = build(resolved).load_report
    assert report.missing == ("features.3.squeeze.bias",)
    assert report.unexpected == ("extra.weight",)
    assert report.wrong_shape == (("features.4.squeeze.bias", (5,), (16,)),)
    assert len(report.matched) == 48
    assert not report.complete
    for told in ("48 tensors loaded", "1 missing: features.3.squeeze.bias", "features.4.squeeze.bias [5] for [16]"):
        assert told in report.summary()
        assert told in resolved.note


def test_a_long_list_of_misfits_is_cut_short():
    names = tuple(f"layer.{number}" for number in range(9))
    assert "9 missing: layer.0, layer.1, layer.2 and 6 more" in LoadReport(matched=("a",), missing=names).summary()


@pytest.mark.parametrize("name", ["densenet121", "vit_b_32"])
def test_torchvisions_former_names_are_understood(name):
    """Its published files still carry them: `norm.1` in DenseNets, `linear_1` in vision transformers."""
    facts = zoo.facts(name)
    own = bare_network(facts, image_size=224).state_dict()
    renamed = {}
    for key, tensor in own.items():
        for part in ("norm", "conv"):
            if "denselayer" in key:
                key = key.replace(f".{part}1.", f".{part}.1.").replace(f".{part}2.", f".{part}.2.")
        renamed[key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")] = tensor
    assert renamed.keys() != own.keys()
    report, fitting = weights._fit(own, renamed, facts)
    assert report.complete
    assert all(fitting[key] is tensor for key, tensor in own.items() if key in fitting)
    assert len(fitting) + len(report.skipped) == len(own)


@pytest.mark.parametrize("size", [160, 224, 288])
def test_position_embeddings_are_resampled_as_torchvision_does(size):
    from torchvision.models.vision_transformer import interpolate_embeddings

    embedding = torch.randn(1, 50, 8)
    wanted = interpolate_embeddings(size, 32, {"encoder.pos_embedding": embedding.clone()})["encoder.pos_embedding"]
    got = weights._resample_positions(embedding, length=(size // 32) ** 2 + 1)
    torch.testing.assert_close(got, wanted)


def test_a_file_that_changed_since_the_sweep_began_is_refused(state, tmp_path):
    path = save(state, tmp_path / "w.pth")
    resolved = resolve_weights(str(path), MODEL, base=tmp_path)
    save({name: tensor + 1 for name, tensor in state.items()}, path)
    with pytest.raises(UserError, match="has changed since the sweep began"):
        build(resolved)
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        build(resolved)


# ---- files that are wrong ----------------------------------------------------------------------------------------


class Payload:
    """Unpickled the careless way, this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["zip", "bare pickle", "inside a state dict"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(kind, state, tmp_path):
    trap, path = tmp_path / "trapped", tmp_path / "w.pth"
    if kind == "zip":
        save(Payload(trap), path)
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps(Payload(trap)))
    else:
        save({**state, "features.0.weight": Payload(trap)}, path)
    with pytest.raises(UserError, match="never run") as caught:
        resolve_weights(str(path), MODEL, base=tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        load_weights(bare_network(FACTS, image_size=32), FACTS, Weights("file", str(path), None, ""))
    assert not trap.exists()
    if kind == "bare pickle":  # the trap does work
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trap.exists()


def test_a_whole_pickled_network_is_refused(tmp_path):
    path = save(nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"torch\.save\(model\.state_dict\(\), path\)"):
        resolve_weights(str(path), MODEL, base=tmp_path)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "empty state dict"),
        ({"state_dict": {}}, "empty state dict"),
        ([torch.zeros(1)], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
        ({"a": torch.zeros(1), "b": 3}, "holds a int under 'b'"),
        ({"a": {"b": torch.zeros(1)}}, "holds a dict under 'a'"),
        ({3: torch.zeros(1)}, "under 3"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "sparse"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "not one tensor of this file fits squeezenet1_1"),
        ({"features.0.weight": torch.zeros(64, 3, 7, 7)}, "not one tensor"),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3, dtype=torch.int64)}, "not one tensor"),
        ({"classifier.1.bias": torch.zeros(1000)}, "not one tensor"),
    ],
)
def test_what_is_no_state_dict_of_the_model_is_told_in_one_line(content, told, tmp_path):
    path = save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=told) as caught:
        resolve_weights(str(path), MODEL, base=tmp_path)
    assert caught.value.where == "weights"
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_file_cut_short_is_refused(suffix, share, state, tmp_path):
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        save(state, path)
    else:
        save_file(state, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UserError) as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "weights"])
@pytest.mark.parametrize("content", [b"These are no weights.\n", b"\0" * 64, b"PK\x03\x04", b"\x80\x02]q\x00."])
def test_a_file_of_anything_else_is_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        resolve_weights(name, MODEL, base=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None)
@given(data=st.data(), suffix=st.sampled_from(["pth", "safetensors"]))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(data, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / f"w.{suffix}"
    content = {"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4)}
    if suffix == "pth":
        save(content, path)
    else:
        save_file(content, path)
    damaged = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path.write_bytes(damaged)
    with contextlib.suppress(UserError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_state(path).values())


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("nowhere.pth", "no such file"),
        ("folder", "this is a folder"),
        ("", "this is a folder"),
        ("IMAGENET", "no such file"),
        ("a\0b", "no such file"),
        ("x" * 300, "too long"),
        ("~nobody-of-that-name/w.pth", "no such home folder"),
    ],
)
def test_a_path_to_nothing_is_told(spec, told, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=told):
        resolve_weights(spec, MODEL, base=tmp_path)


def test_our_own_networks_have_no_imagenet_weights(tmp_path, hub):
    began = time.monotonic()
    resolved = resolve_weights("auto", "small_cnn", base=tmp_path)
    assert (resolved.kind, resolved.note) == ("none", "small_cnn starts from random weights: it is made for that")
    with pytest.raises(UserError, match="small_cnn has no ImageNet weights: got 'imagenet', expected auto or none"):
        resolve_weights("imagenet", "small_cnn", base=tmp_path)
    assert time.monotonic() - began < 0.5
    assert not hub.exists()


def test_an_unknown_model_has_no_weights(tmp_path):
    with pytest.raises(UserError, match="no such model"):
        resolve_weights("auto", "resnet", base=tmp_path)


# ---- ImageNet ----------------------------------------------------------------------------------------------------


def test_none_is_random_and_looks_nowhere(tmp_path):
    resolved = resolve_weights("none", MODEL, base=tmp_path)
    assert (resolved.kind, resolved.path, resolved.digest) == ("none", None, None)


def test_auto_without_network_says_loudly_that_weights_are_random(tmp_path, hub):
    began = time.monotonic()
    resolved = resolve_weights("auto", MODEL, base=tmp_path)
    assert time.monotonic() - began < 5
    assert (resolved.kind, resolved.path, resolved.digest) == ("none", None, None)
    assert "RANDOM WEIGHTS" in resolved.note
    assert "refused" in resolved.note
    assert str(hub) in resolved.note


def test_auto_does_not_wait_for_a_server_that_never_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_REACH_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/squeezenet1_1-b8a52dc0.pth"
        monkeypatch.setattr(weights, "imagenet_url", lambda facts: url)
        began = time.monotonic()
        resolved = resolve_weights("auto", MODEL, base=tmp_path)
    assert time.monotonic() - began < 2
    assert resolved.kind == "none"


def test_auto_does_not_wait_for_a_name_that_is_never_looked_up(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_REACH_S", 0.2)
    enough = threading.Event()

    def look_up(*_, **__):
        enough.wait(5)
        raise OSError("nobody waits for this")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    began = time.monotonic()
    assert "no answer within 0.2 s" in resolve_weights("auto", MODEL, base=tmp_path).note
    assert time.monotonic() - began < 1
    enough.set()


def test_imagenet_without_network_is_an_error_with_the_way_out(tmp_path, hub):
    with pytest.raises(UserError, match="no ImageNet weights for squeezenet1_1") as caught:
        resolve_weights("imagenet", MODEL, base=tmp_path)
    assert f"put squeezenet1_1-b8a52dc0.pth into {hub}" in str(caught.value)


@pytest.mark.parametrize("spec", ["auto", "imagenet"])
def test_what_is_in_torchs_cache_is_taken_as_it_is(spec, state, tmp_path, hub):
    hub.mkdir(parents=True)
    path = save(state, hub / "squeezenet1_1-b8a52dc0.pth")
    resolved = resolve_weights(spec, MODEL, base=tmp_path)
    assert (resolved.kind, resolved.path, resolved.digest) == ("imagenet", str(path), file_digest(path))
    assert_loaded(build(resolved).network, state)


@pytest.mark.parametrize("spec", ["auto", "imagenet"])
def test_a_cached_file_that_is_not_the_models_is_refused(spec, state, tmp_path, hub):
    hub.mkdir(parents=True)
    save({name: state[name] for name in list(state)[:9]}, hub / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(UserError, match="not squeezenet1_1's ImageNet weights"):
        resolve_weights(spec, MODEL, base=tmp_path)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Serves `tmp_path/served` in the place of torchvision's server."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        base = f"http://127.0.0.1:{running.server_address[1]}"
        names = {"name": ""}
        monkeypatch.setattr(weights, "imagenet_url", lambda facts: f"{base}/{names['name']}")
        yield folder, names
        running.shutdown()


def test_a_download_is_kept_when_its_hash_is_right(state, tmp_path, hub, server):
    folder, published = server
    path = save(state, folder / "w.pth")
    published["name"] = f"squeezenet1_1-{file_digest(path)[:8]}.pth"
    path.rename(folder / published["name"])
    resolved = resolve_weights("auto", MODEL, base=tmp_path)
    assert resolved.kind == "imagenet"
    assert [file.name for file in hub.iterdir()] == [published["name"]]
    # Another machine of a cluster has no such file yet: it fetches the same one.
    shutil.rmtree(hub)
    assert_loaded(build(resolved).network, state)


def test_a_download_with_another_hash_is_thrown_away(state, tmp_path, hub, server):
    folder, published = server
    published["name"] = "squeezenet1_1-b8a52dc0.pth"
    save(state, folder / published["name"])
    with pytest.raises(UserError, match="SHA-256 of what was downloaded does not begin with b8a52dc0"):
        resolve_weights("imagenet", MODEL, base=tmp_path)
    assert list(hub.iterdir()) == []
    assert resolve_weights("auto", MODEL, base=tmp_path).kind == "none"


def test_a_file_the_server_does_not_have_is_told(tmp_path, server):
    _, published = server
    published["name"] = "gone-00000000.pth"
    with pytest.raises(UserError, match="404"):
        resolve_weights("imagenet", MODEL, base=tmp_path)


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch, server):
    folder, published = server
    published["name"] = "w.pth"
    (folder / "w.pth").write_bytes(b"x")
    (tmp_path / "occupied").write_text("a file where the cache's folder should be")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "occupied"))
    with pytest.raises(UserError, match="no ImageNet weights"):
        resolve_weights("imagenet", MODEL, base=tmp_path)


def test_every_model_of_torchvisions_has_published_weights_with_a_hash_in_the_name(monkeypatch):
    monkeypatch.undo()
    for facts in (facts for facts in zoo.MODELS.values() if not facts.own):
        path = weights.imagenet_path(facts)
        assert weights.imagenet_url(facts).startswith("https://")
        assert download.expected_hash(path.name), path.name


# ---- real weights ------------------------------------------------------------------------------------------------


def test_real_imagenet_weights_by_path_and_from_the_cache(real_data, tmp_path, hub):
    source = real_data / "weights" / "squeezenet1_1-imagenet.pth"
    by_path = resolve_weights(str(source), MODEL, base=tmp_path)
    hub.mkdir(parents=True)
    shutil.copy(source, hub / "squeezenet1_1-b8a52dc0.pth")
    cached = resolve_weights("imagenet", MODEL, base=tmp_path)
    assert cached.digest == by_path.digest
    one, other = build(by_path), build(cached)
    assert one.load_report == other.load_report
    assert len(one.load_report.matched) == 50
    assert one.load_report.complete
    theirs = torch.load(source, weights_only=True)
    assert_loaded(one.network, theirs)
    assert_loaded(other.network, theirs)
