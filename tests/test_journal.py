"""The journal file: what Optuna's own backend would read, in fewer reads and flushes."""

import json
import os
from pathlib import Path

import pytest
from optuna.storages.journal import JournalFileBackend

from reports import journal
from reports.journal import JournalFile
from runs import HOSTILE


def line(number: int) -> dict:
    return {"op_code": 8, "number": number, "text": HOSTILE[number % len(HOSTILE)], "nothing": float("nan")}


def as_text(logs: list[dict]) -> list[str]:
    """NaN is not equal to itself; its text is."""
    return [json.dumps(log) for log in logs]


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of the file at each flush."""
    sizes: list[int] = []
    monkeypatch.setattr("os.fsync", lambda handle: sizes.append(os.fstat(handle).st_size))
    return sizes


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_it_reads_what_optunas_own_backend_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(journal, "_CHUNK", chunk)
    path = tmp_path / "journal.log"
    writer = JournalFile(path, writable=True)
    follower = JournalFile(path, writable=False)
    seen = 0
    for step in range(8):
        writer.append_logs([line(10 * step + k) for k in range(step)])
        if step == 5:
            with path.open("ab") as file:
                file.write(b'{"op_code": 3, "torn')
        expected = list(JournalFileBackend(str(path)).read_logs(seen))
        assert as_text(list(follower.read_logs(seen))) == as_text(expected)
        assert list(follower.read_logs(seen + len(expected))) == []
        seen += len(expected)
        if step == 5:
            writer = JournalFile(path, writable=True)  # cuts the torn line off
    assert seen == sum(range(8))
    assert as_text(list(follower.read_logs(20))) == as_text([*JournalFileBackend(str(path)).read_logs(20)])


@pytest.mark.parametrize("damage", [b"not json\n", b"{},{}\n", b'{"a": 1\n'])
def test_a_damaged_line_is_never_passed_over(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "journal.log"
    JournalFile(path, writable=True).append_logs([line(0), line(1)])
    whole = path.read_bytes()
    path.write_bytes(whole + damage + whole)
    with pytest.raises(ValueError, match=r"."):
        list(JournalFile(path, writable=False).read_logs(0))


@pytest.mark.parametrize("lines", [0, 1, 9])
@pytest.mark.parametrize("torn", [1, 65535, 65536, 65537, 200_000])
def test_a_torn_end_of_any_length_is_cut_off(tmp_path: Path, lines: int, torn: int) -> None:
    """A power cut may leave a tail of zeros, and even the first line may be torn."""
    path = tmp_path / "journal.log"
    JournalFile(path, writable=True).append_logs([line(number) for number in range(lines)])
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(torn))
    JournalFile(path, writable=True)
    assert path.read_bytes() == whole


def test_each_write_is_flushed_unless_several_are_one(tmp_path: Path, flushes: list[int]) -> None:
    path = tmp_path / "journal.log"
    file = JournalFile(path, writable=True)
    written = []
    for number in (0, 1):
        file.append_logs([line(number)])
        written.append(path.stat().st_size)
    assert flushes == written, "all of a line is in the file when that is flushed"
    with file.one_flush():
        file.append_logs([line(2)])
        file.append_logs([line(3)])
        assert len(list(JournalFile(path, writable=False).read_logs(0))) == 4, "what is written is there for readers"
        assert flushes == written
    assert flushes[2:] == [path.stat().st_size]
    with file.one_flush():
        pass
    assert len(flushes) == 3
    file.append_logs([line(4)])
    assert len(flushes) == 4


def test_what_cannot_be_flushed_is_as_if_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.log"
    file = JournalFile(path, writable=True)
    file.append_logs([line(0)])
    before = path.read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"), file.one_flush():  # noqa: PT012  the end of the block raises
        file.append_logs([line(1)])
        file.append_logs([line(2)])
    monkeypatch.undo()
    assert path.read_bytes() == before
    with pytest.raises(OSError, match="an earlier write"):
        file.append_logs([line(3)])
