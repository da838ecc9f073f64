"""The driver's files on another node: fetched, and what is told when they do not come. Ray itself is stood in for."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainables import ray_nodes
from trainables.errors import UserError
from trainables.files import file_digest
from trainables.models.weights import Weights
from trainables.ray_nodes import Files, weights_here


class Actor:
    """What `ray.get_actor` gives; `ray.get` calls what it is asked for."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *words: partial(getattr(self._files, name), *words))


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights on the driver's machine, which offers it."""
    path = tmp_path / "driver" / "weights.pth"
    path.parent.mkdir()
    path.write_bytes(bytes(range(256)) * 100)
    files = Files()
    files.offer(file_digest(path)[:32], [str(path)])
    monkeypatch.setenv("TUNEYARD_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(ray_nodes, "PIECE", 1000)
    monkeypatch.setattr(
        ray_nodes,
        "ray",
        SimpleNamespace(
            get_actor=lambda name: Actor(files),
            get=lambda asked: asked(),
            get_runtime_context=lambda: SimpleNamespace(get_node_id=lambda: "ants"),
        ),
    )
    return path


def elsewhere(path: Path) -> Weights:
    """The weights as the driver names them, at a path that the node does not see."""
    return Weights("file", f"/nowhere/{path.name}", file_digest(path), "")


def test_files_arrive_whole(offered: Path) -> None:
    here = weights_here(elsewhere(offered), offer="offer")
    assert Path(here.path or "").read_bytes() == offered.read_bytes()
    assert not offered.samefile(here.path or "")


def test_what_the_driver_cannot_read_is_no_fault_of_the_cache(offered: Path) -> None:
    weights = elsewhere(offered)
    offered.unlink()
    with pytest.raises(FileNotFoundError, match=r"weights\.pth"):
        weights_here(weights, offer="offer")


def test_nor_is_what_arrives_changed(offered: Path, tmp_path: Path) -> None:
    weights = elsewhere(offered)
    offered.write_bytes(b"other weights")
    with pytest.raises(OSError, match="did not arrive whole from the driver's machine"):
        weights_here(weights, offer="offer")
    assert not list((tmp_path / "node" / "weights").glob(".*.partial"))


def test_a_full_disk_is(offered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ray_nodes.os, "fsync", full)
    with pytest.raises(UserError, match=r"the cache cannot be written \(No space left on device\)"):
        weights_here(elsewhere(offered), offer="offer")
