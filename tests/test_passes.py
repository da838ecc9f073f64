"""Rows that processes share on disk: computed once, found again, never taken when they are not what was asked for."""

import json
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from trainables.data import passes, room
from trainables.data.passes import CHUNK, Pass, seconds_and_bytes
from trainables.data.room import make_room, make_room_for_pixels, mark_used, room_for_sharing
from trainables.errors import UserError

ROWS = 2 * CHUNK + 9


class Counted:
    """Rows that say which they are, and how often each was computed."""

    def __init__(self, *, factor: float = 1.0, channels_last: bool = False) -> None:
        self.factor, self.channels_last = factor, channels_last
        self.computed: list[int] = []

    def __call__(self, wanted: range) -> torch.Tensor:
        self.computed.extend(wanted)
        rows = torch.tensor([float(row) for row in wanted]).view(-1, 1, 1, 1) * self.factor
        rows = rows.expand(len(wanted), 3, 4, 5).to(torch.bfloat16).contiguous()
        return rows.contiguous(memory_format=torch.channels_last) if self.channels_last else rows


def opened(cache: Path, compute: Counted, *, key: object = "one") -> Pass:
    return Pass(cache, key={"key": key}, rows=ROWS, compute=compute)


def filled(cache: Path, compute: Counted, *, key: object = "one") -> Pass:
    rows = opened(cache, compute, key=key)
    rows.fill()
    return rows


@pytest.mark.parametrize("channels_last", [False, True])
def test_rows_are_computed_once_and_found_again(tmp_path: Path, channels_last: bool) -> None:
    first, second = Counted(channels_last=channels_last), Counted()
    places = [ROWS - 1, 0, CHUNK, 5]
    taken = filled(tmp_path, first).take(places)
    again = filled(tmp_path, second).take(places)
    assert first.computed == list(range(ROWS))
    assert second.computed == []
    assert taken[:, 0, 0, 0].tolist() == [ROWS - 1, 0, CHUNK, 5]
    assert torch.equal(taken, again)
    assert taken.dtype == torch.bfloat16
    for rows in (taken, again):
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        assert rows.is_contiguous(memory_format=memory_format)


def test_who_waits_for_others_begins_with_what_comes_next(tmp_path: Path) -> None:
    now, following = Counted(), Counted(factor=2.0)
    rows, ahead = opened(tmp_path, now), opened(tmp_path, following, key="next")
    rows.folder.parent.mkdir(parents=True)
    other = FileLock(rows.folder.with_name(f".{rows.folder.name}-00001.lock"), thread_local=False)
    other.acquire()  # somebody is at the second chunk

    def leave_it() -> None:
        deadline = time.monotonic() + 20
        while len(following.computed) < ROWS and time.monotonic() < deadline:
            time.sleep(0.01)
        other.release()

    leaving = threading.Thread(target=leave_it)
    leaving.start()
    rows.fill(ahead=[ahead])
    leaving.join()
    assert sorted(following.computed) == list(range(ROWS))
    assert sorted(now.computed) == list(range(ROWS))
    assert now.computed[-CHUNK:] == list(range(CHUNK, 2 * CHUNK)), "what others were at comes last"
    assert ahead.complete()


def test_another_key_is_another_pass(tmp_path: Path) -> None:
    one, other = filled(tmp_path, Counted()), filled(tmp_path, Counted(factor=2.0), key="other")
    assert one.folder != other.folder
    assert other.take([3])[0, 0, 0, 0] == 6


def damage(path: Path, how: str) -> None:
    if how == "cut short":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "changed":
        content = bytearray(path.read_bytes())
        content[-7] ^= 1
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no header":
        save_file(load_file(path), path)
    elif how == "of another chunk":
        path.write_bytes(path.with_name("00000.safetensors").read_bytes())
    else:
        path.write_text("not what it says")


@pytest.mark.parametrize("how", ["cut short", "changed", "empty", "no header", "of another chunk", "text"])
def test_a_damaged_chunk_is_computed_again(tmp_path: Path, how: str) -> None:
    folder = filled(tmp_path, Counted()).folder
    damage(folder / "00001.safetensors", how)
    compute = Counted()
    rows = filled(tmp_path, compute)
    assert compute.computed == list(range(CHUNK, 2 * CHUNK))
    assert rows.take([CHUNK + 1])[0, 0, 0, 0] == CHUNK + 1


def test_a_chunk_put_in_the_place_of_another_key_is_not_taken(tmp_path: Path) -> None:
    poison = filled(tmp_path, Counted(factor=2.0), key="poison").folder
    ours = opened(tmp_path, Counted())
    ours.folder.mkdir()
    for path in poison.glob("*.safetensors"):
        (ours.folder / path.name).write_bytes(path.read_bytes())
    compute = Counted()
    assert filled(tmp_path, compute).take([3])[0, 0, 0, 0] == 3
    assert compute.computed == list(range(ROWS))


def test_rows_that_nobody_computed_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        opened(tmp_path, Counted()).take([0])
    assert opened(tmp_path, Counted()).chunk(range(CHUNK)) is None


def test_what_was_taken_away_stays_open_and_is_computed_again(tmp_path: Path) -> None:
    rows = filled(tmp_path, Counted())
    make_room(tmp_path, limit_bytes=0, needed_bytes=0)
    assert not rows.folder.exists()
    assert rows.take([7])[0, 0, 0, 0] == 7
    compute = Counted()
    filled(tmp_path, compute)
    assert compute.computed == list(range(ROWS))


def maps(folder: Path) -> int:
    """How many of a folder's files are mapped into this process."""
    return Path("/proc/self/maps").read_text().count(f"{folder}/")


@pytest.mark.skipif(sys.platform != "linux", reason="maps are told of in /proc")
def test_few_chunks_are_mapped_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have so many maps and no more; what is not mapped is opened each time."""
    monkeypatch.setattr(passes, "MAPPED", 1)
    compute = Counted()
    places = [ROWS - 1, 0, CHUNK, 5]
    for _ in range(2):
        rows = filled(tmp_path, compute)
        for _ in range(2):
            assert rows.take(places)[:, 0, 0, 0].tolist() == [ROWS - 1, 0, CHUNK, 5]
        assert rows.complete()
        assert maps(rows.folder) == 1
        del rows
    assert compute.computed == list(range(ROWS))


def test_what_was_taken_away_and_is_not_mapped_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "MAPPED", 1)
    compute = Counted()
    rows = filled(tmp_path, compute)
    make_room(tmp_path, limit_bytes=0, needed_bytes=0)
    assert rows.take([7, CHUNK + 1])[:, 0, 0, 0].tolist() == [7, CHUNK + 1]
    assert compute.computed == [*range(ROWS), *range(CHUNK, 2 * CHUNK)]


def test_a_chunk_that_cannot_be_mapped_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, Counted())

    def no_more_maps(*_: object, **__: object) -> None:
        raise RuntimeError("unable to mmap 4096 bytes: Cannot allocate memory (12)")

    monkeypatch.setattr(passes, "safe_open", no_more_maps)
    compute = Counted()
    rows = filled(tmp_path, compute)
    assert rows.take([CHUNK + 1])[0, 0, 0, 0] == CHUNK + 1
    assert compute.computed == list(range(ROWS))
    assert seconds_and_bytes(rows.folder)[0] == 0


class Slow(Counted):
    def __call__(self, wanted: range) -> torch.Tensor:
        time.sleep(0.2)
        return super().__call__(wanted)


def _fill_elsewhere(cache: Path, done: "multiprocessing.Queue") -> None:
    compute = Slow()
    filled(cache, compute)
    done.put(compute.computed)


def test_processes_share_the_work(tmp_path: Path) -> None:
    """Nothing is computed twice, whoever comes first."""
    context = multiprocessing.get_context("spawn")
    done: multiprocessing.Queue = context.Queue()
    others = [context.Process(target=_fill_elsewhere, args=(tmp_path, done)) for _ in range(2)]
    for other in others:
        other.start()
    computed = sorted(row for _ in others for row in done.get(timeout=60))
    for other in others:
        other.join(timeout=60)
    assert computed == list(range(ROWS))
    assert list((tmp_path / "features").glob(".*.lock")) == []


def test_work_that_another_does_not_finish_is_done_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "PATIENCE_S", 0.3)
    stopped, go_on = threading.Event(), threading.Event()

    class Stopped(Counted):
        def __call__(self, wanted: range) -> torch.Tensor:
            stopped.set()
            go_on.wait(timeout=60)
            return super().__call__(wanted)

    holder = threading.Thread(target=filled, args=(tmp_path, Stopped()))
    holder.start()
    assert stopped.wait(timeout=60)
    compute = Counted()
    assert filled(tmp_path, compute).take([0])[0, 0, 0, 0] == 0
    assert compute.computed[-CHUNK:] == list(range(CHUNK))
    go_on.set()
    holder.join(timeout=60)


def test_no_locks_and_unfinished_files_stay_behind(tmp_path: Path) -> None:
    rows = filled(tmp_path, Counted())
    hidden = [path.name for path in (tmp_path / "features").rglob(".*")]
    assert hidden == []
    assert sorted(path.name for path in rows.folder.iterdir()) == [f"{n:05}.safetensors" for n in range(3)]


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file")
    with pytest.raises(UserError, match="the cache cannot be written"):
        filled(tmp_path, Counted())


def test_what_saves_least_goes_first(tmp_path: Path) -> None:
    """Two passes of one size; the cheap one goes, though it was used last."""
    dear, cheap = filled(tmp_path, Slow(), key="dear"), filled(tmp_path, Counted(), key="cheap")
    seconds, size = seconds_and_bytes(dear.folder)
    assert seconds >= 0.6
    assert size == sum(path.stat().st_size for path in dear.folder.iterdir())
    mark_used(cheap.folder)
    _, cheap_size = seconds_and_bytes(cheap.folder)  # a few bytes more or less, for the digits of its seconds
    assert make_room(tmp_path, limit_bytes=2 * size, needed_bytes=size) == cheap_size
    assert dear.folder.exists()
    assert not cheap.folder.exists()


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    one, two = filled(tmp_path, Counted(), key=1), filled(tmp_path, Counted(), key=2)
    make_room(tmp_path, limit_bytes=0, needed_bytes=0, keep=frozenset([one.folder]))
    assert one.folder.exists()
    assert not two.folder.exists()


def test_use_of_what_was_taken_away_leaves_nothing_in_its_place(tmp_path: Path) -> None:
    """A worker that still has its rows open notes that it used them; the next one must be able to make them again."""
    rows = filled(tmp_path, Counted())
    make_room(tmp_path, limit_bytes=0, needed_bytes=0)
    mark_used(rows.folder)
    compute = Counted()
    filled(tmp_path, compute)
    assert compute.computed == list(range(ROWS))


def test_rows_of_other_chunks_are_of_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits depend on which pictures were computed together."""
    one = filled(tmp_path, Counted())
    monkeypatch.setattr(passes, "CHUNK", CHUNK // 2)
    assert opened(tmp_path, Counted()).folder != one.folder


def test_a_folder_removed_while_it_is_written_to_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = opened(tmp_path, Counted())
    removed = []

    def removing(tensors: dict, path: Path, **others: object) -> None:
        save_file(tensors, path, **others)  # type: ignore[arg-type]
        if len(removed) < 2:
            removed.append(path)
            path.unlink()

    monkeypatch.setattr(passes, "save_file", removing)
    rows.fill()
    assert len(removed) == 2
    assert filled(tmp_path, Counted()).take([0])[0, 0, 0, 0] == 0


def test_a_folder_removed_while_it_is_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mkdir` looks a second time whether what is there already is a folder."""
    refused = []

    def removed(self: Path, **options: object) -> None:
        if self == rows.folder and len(refused) < 2:
            refused.append(self)
            raise FileExistsError(17, "File exists", self)
        mkdir(self, **options)  # type: ignore[arg-type]

    rows, mkdir = opened(tmp_path, Counted()), Path.mkdir
    monkeypatch.setattr(Path, "mkdir", removed)
    rows.fill()
    assert len(refused) == 2
    assert rows.complete()


def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    rows = filled(tmp_path, Counted())
    assert make_room(tmp_path, limit_bytes=10**9, needed_bytes=10**6) == 0
    assert rows.folder.exists()


def test_an_old_pass_goes_before_a_new_one_that_cost_the_same(tmp_path: Path) -> None:
    old, new = filled(tmp_path, Counted(), key="old"), filled(tmp_path, Counted(), key="new")
    for rows in (old, new):
        for path in rows.folder.iterdir():
            tensors = load_file(path)
            header = {"key": rows._digest, "start": 0, "channels_last": False, "checksum": 0, "seconds": 1.0}
            save_file(tensors, path, metadata={"tuneyard": json.dumps(header)})
    os.utime(old.folder, (time.time() - 1000, time.time() - 1000))
    mark_used(new.folder)
    _, size = seconds_and_bytes(new.folder)
    make_room(tmp_path, limit_bytes=2 * size, needed_bytes=1)
    assert new.folder.exists()
    assert not old.folder.exists()


def pixels(cache: Path, name: str, *, unused_days: float) -> Path:
    folder = cache / "pixels" / name
    folder.mkdir(parents=True)
    (folder / "pixels.bin").write_bytes(bytes(1000))
    then = time.time() - unused_days * 24 * 3600
    os.utime(folder, (then, then))
    return folder


def test_decoded_pictures_long_unused_go_when_the_disk_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of 1,000 free bytes and 4,000 of pictures is 2,500: one more makes it too much by 2,500."""
    monkeypatch.setattr(room, "_free", lambda cache: 1000)
    days = {"a": 9, "b": 30, "c": 5, "d": 1}
    stores = {name: pixels(tmp_path, name, unused_days=unused) for name, unused in days.items()}
    assert make_room_for_pixels(tmp_path, needed_bytes=500) == 2000
    assert [name for name, folder in stores.items() if folder.exists()] == ["c", "d"]
    assert make_room_for_pixels(tmp_path, needed_bytes=10**6) == 1000
    assert stores["d"].exists(), "used yesterday"


def test_pictures_stay_while_there_is_room(tmp_path: Path) -> None:
    store = pixels(tmp_path, "a", unused_days=1000)
    assert make_room_for_pixels(tmp_path, needed_bytes=1000) == 0
    assert store.exists()


def test_the_room_by_default_is_a_share_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_free", lambda cache: 10**10)
    assert room_for_sharing(tmp_path) == 10**9
    monkeypatch.setattr(room, "_free", lambda cache: 10**13)
    assert room_for_sharing(tmp_path / "not" / "there") == 20 * 10**9
