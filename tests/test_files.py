"""Files that are either whole or not there."""

import json
import os
from pathlib import Path

import pytest

from trainables.files import replaced, write_json


def test_the_former_file_stays_until_the_new_one_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    seen = []
    flush, rename = os.fsync, Path.replace

    def flushed(handle: int) -> None:
        seen.append(("flushed", path.read_text()))
        flush(handle)

    def renamed(source: Path, target: Path) -> Path:
        seen.append(("renamed", path.read_text()))
        return rename(source, target)

    monkeypatch.setattr("os.fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    with replaced(path) as temporary:
        temporary.write_text("new")
    assert seen == [("flushed", "old"), ("renamed", "old"), ("flushed", "new")]  # the last is the folder
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("refused", ["open", "fsync"])
def test_a_file_system_that_does_not_flush_folders_will_do(
    refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no folder is left open, of which a process may have a thousand."""
    real = getattr(os, refused)

    def refusing(which: int | Path, *args: int) -> int | None:
        if Path(which if isinstance(which, Path) else f"/dev/fd/{which}").is_dir():
            raise OSError(22, "Invalid argument")
        return real(which, *args)

    opened = len(list(Path("/dev/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(os, refused, refusing)
        write_json(tmp_path / "file", {"a": "ä"})
    assert json.loads((tmp_path / "file").read_text(encoding="utf-8")) == {"a": "ä"}
    write_json(tmp_path / "file", {})
    assert len(list(Path("/dev/fd").iterdir())) == opened


def test_what_fails_leaves_the_former_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way() -> None:
        with replaced(path) as temporary:
            temporary.write_text("half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
