"""`tune data split`: who goes where, that nothing is lost or overwritten, and that an interruption does no harm."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from trainables.data.sources import DataSettings, read_catalog
from trainables.errors import UserError
from trainables.files import file_digest
from tuning.cli.main import main
from tuning.data_split import NOTE, carry_out, plan_split


def plan(source: Path, target: Path, **changes):
    return plan_split(
        source, target, **{"val": 0.2, "test": 0, "seed": 0, "pattern": "<label>.*", "how": "copy", **changes}
    )


def tune(*words: str):
    return CliRunner().invoke(main, ["data", "split", *words])


def files(root: Path) -> dict[str, str]:
    """Each file's content by its name below `root`, links followed."""
    return {path.relative_to(root).as_posix(): file_digest(path) for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def flat(picture_folder, tmp_path) -> Path:
    """Ten cats and twenty dogs in one folder."""
    root = picture_folder({"cat": 10, "dog": 20}, name="made")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in root.rglob("*.png"):
        path.rename(flat / f"{path.parent.name}.{path.name}")
    return flat


class TestPlan:
    def test_each_class_gives_its_share(self, flat, tmp_path):
        made = plan(flat, tmp_path / "out", test=0.1)
        assert made.counts() == {
            "train": {"cat": 7, "dog": 14},
            "val": {"cat": 2, "dog": 4},
            "test": {"cat": 1, "dog": 2},
        }
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(("val", "expected"), [(6, (2, 4)), (7, (2, 5)), (2, (1, 1)), (1, (1, 1)), (27, (9, 18))])
    def test_a_number_of_pictures(self, flat, tmp_path, val, expected):
        assert tuple(plan(flat, tmp_path / "out", val=val).counts()["val"].values()) == expected

    def test_the_split_is_the_one_a_sweep_makes(self, flat, tmp_path):
        carry_out(plan(flat, tmp_path / "out", seed=5))
        catalog = read_catalog(DataSettings(source="flat", path=str(flat), seed=5, test=0), base=Path())
        for picture in catalog.pictures:
            label = catalog.classes[picture.label]
            assert (tmp_path / "out" / picture.split / label / picture.name).is_file()

    def test_a_folder_of_classes_keeps_what_is_inside_them(self, picture_folder, tmp_path):
        root = picture_folder({"a": 5, "a/more": 5, "b": 10})
        made = plan(root, tmp_path / "out")
        assert made.counts() == {"train": {"a": 8, "b": 8}, "val": {"a": 2, "b": 2}}
        carry_out(made)
        assert {name.split("/", 1)[1] for name in files(tmp_path / "out")} == set(files(root))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"val": 30},
                "class 'cat' has too few pictures to split: got 10, expected at least 2, and fewer for --val and",
            ),
            (
                {"val": 0.6, "test": 0.5},
                "--test: --val and --test leave nothing to train on: got 1.1, expected a sum below 1",
            ),
            ({"pattern": "<label>_*"}, "--pattern: 30 of 30 pictures do not fit the pattern"),
            (
                {"pattern": "<name>.*"},
                "--pattern: no place called <name>: got '<name>.*', expected a name with <label>",
            ),
        ],
    )
    def test_what_cannot_be_split(self, flat, tmp_path, changes, message):
        with pytest.raises(UserError) as caught:
            plan(flat, tmp_path / "out", **changes)
        assert message in str(caught.value)

    def test_what_is_no_source_is_told_of_the_argument(self, tmp_path, picture_folder):
        for place, message in (
            (tmp_path / "none", "SOURCE: no such folder: got "),
            (picture_folder({"a": 0, "b": 0}, name="empty"), "SOURCE: no pictures: got "),
            (picture_folder({"a": 9, "b": 1}, name="few"), "SOURCE: class 'b' has too few pictures to split: got 1"),
        ):
            with pytest.raises(UserError) as caught:
                plan(place, tmp_path / "out")
            assert str(caught.value).startswith(message)

    @pytest.mark.parametrize("place", ["flat", "out"])
    def test_a_folder_that_cannot_be_read(self, flat, tmp_path, monkeypatch, place):
        (tmp_path / "out").mkdir()
        listed = Path.iterdir

        def refused(folder):
            if folder.name == place:
                raise PermissionError(13, "Permission denied", str(folder))
            return listed(folder)

        monkeypatch.setattr(Path, "iterdir", refused)
        with pytest.raises(UserError) as caught:
            plan(flat, tmp_path / "out")
        assert str(caught.value) == f"{tmp_path / place}: cannot be read (Permission denied)"

    def test_a_name_that_is_not_utf_8(self, flat, tmp_path):
        (flat / os.fsdecode(b"caf\xe9.1.png")).touch()
        with pytest.raises(UserError, match=r"^SOURCE: the name .* not valid UTF-8: caf\\xe9\.1\.png; rename it"):
            plan(flat, tmp_path / "out")

    def test_folders_that_are_split_already(self, picture_folder, tmp_path):
        root = picture_folder({"train/a": 2, "train/b": 2, "val/a": 2, "val/b": 2})
        with pytest.raises(UserError, match="it is split already: train, val"):
            plan(root, tmp_path / "out")

    def test_a_label_that_is_no_name_for_a_folder(self, flat, tmp_path):
        (flat / "x-...png").write_bytes(b"")
        (flat / "x-a.png").write_bytes(b"")
        for path in flat.glob("[cd]*"):
            path.unlink()
        with pytest.raises(UserError, match=r"not a name for a folder: got '\.\.'"):
            plan(flat, tmp_path / "out", pattern="x-<label>.png")

    @pytest.mark.parametrize("place", ["flat/out", "flat", "."])
    def test_one_inside_the_other(self, flat, tmp_path, place):
        with pytest.raises(UserError, match="one folder is inside the other"):
            plan(flat, tmp_path / place)

    def test_what_is_there_is_left_alone(self, flat, tmp_path):
        (tmp_path / "out").mkdir()
        plan(flat, tmp_path / "out")  # an empty folder is no harm
        (tmp_path / "out" / "mine.txt").write_text("x")
        with pytest.raises(UserError, match="it is there already, and nothing is overwritten"):
            plan(flat, tmp_path / "out")


class TestCarryingOut:
    @pytest.mark.parametrize("how", ["copy", "move", "link"])
    def test_every_picture_is_where_it_belongs(self, flat, tmp_path, how):
        before = files(flat)
        made = plan(flat, tmp_path / "out", how=how)
        carry_out(made)
        after = files(tmp_path / "out")
        assert sorted(after.values()) == sorted(before.values())
        assert {Path(name).name: digest for name, digest in after.items()} == before
        assert files(flat) == ({} if how == "move" else before)
        assert all(path.is_symlink() == (how == "link") for path in (tmp_path / "out").rglob("*.png"))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["flat", "made", "out"]
        catalog = read_catalog(DataSettings(source="folder", path=str(tmp_path / "out")), base=Path())
        assert catalog.counts() == made.counts()

    @pytest.mark.parametrize("how", ["copy", "move", "link"])
    def test_links_to_pictures_lead_to_them_afterwards_too(self, flat, tmp_path, how):
        before = files(flat)
        (tmp_path / "links").mkdir()
        for name in before:
            (tmp_path / "links" / name).symlink_to(Path("..", "flat", name))
        carry_out(plan(tmp_path / "links", tmp_path / "out", how=how))
        assert {Path(name).name: digest for name, digest in files(tmp_path / "out").items()} == before
        assert len(list((tmp_path / "links").iterdir())) == (0 if how == "move" else len(before))
        assert files(flat) == before

    @pytest.mark.parametrize("how", ["copy", "move", "link"])
    @pytest.mark.parametrize("other_disk", [False, True])
    def test_an_interruption_anywhere_is_gone_on_from(self, flat, tmp_path, monkeypatch, how, other_disk):
        """Stopped before every single step of writing, again and again, until it is through."""
        before = files(flat)
        if other_disk:  # a rename does not do, and moving is copying and taking away
            rename = Path.rename
            monkeypatch.setattr(Path, "rename", lambda *a: _other_disk() if a[0].suffix == ".png" else rename(*a))
        allowed = {"steps": 0}

        class Stopped(BaseException):
            pass

        def counted(function):
            def call(*arguments, **options):
                if allowed["steps"] == 0:
                    raise Stopped
                allowed["steps"] -= 1
                return function(*arguments, **options)

            return call

        for owner, name in [
            (Path, "rename"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "symlink_to"),
            (Path, "mkdir"),
            (shutil, "copy2"),
        ]:
            monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
        target = tmp_path / "out"
        stops = 0
        while not target.exists():
            allowed["steps"] = 7
            try:
                carry_out(plan(flat, target, how=how))
            except Stopped:
                stops += 1
        assert 3 < stops < 200
        allowed["steps"] = 10_000
        assert {Path(name).name: digest for name, digest in files(target).items() if name != NOTE} == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["flat", "made", "out"]
        assert files(flat) == ({} if how == "move" else before)

    def test_another_command_is_refused_meanwhile(self, flat, tmp_path, monkeypatch):
        made = plan(flat, tmp_path / "out", how="move")
        rename = Path.rename
        count = iter(range(100))
        monkeypatch.setattr(Path, "rename", lambda *a: rename(*a) if next(count) < 5 else _full())
        with pytest.raises(UserError) as caught:
            carry_out(made)
        assert "stopped: No space left on device" in str(caught.value)
        assert "the same command goes on where this one stopped" in str(caught.value)
        monkeypatch.setattr(Path, "rename", rename)
        with pytest.raises(UserError) as caught:
            plan(flat, tmp_path / "out", how="move", val=0.3)
        assert str(caught.value) == (
            f"{tmp_path / '.out.split'}: another split was interrupted: --move of {flat} with val 0.2, test 0, seed 0,"
            " pattern <label>.*; finish that one first with the same command"
        )
        again = plan(flat, tmp_path / "out", how="move")
        assert again == made
        carry_out(again)
        assert len(files(tmp_path / "out")) == 30

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"source": 1}', '{"source": "x", "how": "copy", "asked": {}, "targets": 3}']
    )
    def test_a_damaged_note(self, flat, tmp_path, text):
        (tmp_path / ".out.split").mkdir()
        (tmp_path / ".out.split" / NOTE).write_text(text)
        with pytest.raises(UserError, match="what an interrupted split wrote down cannot be read"):
            plan(flat, tmp_path / "out")

    def test_a_note_that_leads_elsewhere(self, flat, tmp_path):
        carry_out_later = plan(flat, tmp_path / "out")
        note = json.loads(json.dumps(carry_out_later.to_json()))
        note["targets"][0][1] = "../../stolen.png"
        (tmp_path / ".out.split").mkdir()
        (tmp_path / ".out.split" / NOTE).write_text(json.dumps(note))
        with pytest.raises(UserError, match="another split was interrupted"):
            plan(flat, tmp_path / "out")


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _other_disk() -> None:
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


class TestCommand:
    def test_it_says_what_it_did(self, flat, tmp_path):
        done = tune(str(flat), str(tmp_path / "out"), "--val", "6", "--test", "0.1", "--link")
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout == (
            "train     21  7 cat, 14 dog\n"
            "val        6  2 cat, 4 dog\n"
            "test       3  1 cat, 2 dog\n"
            f"Linked 30 pictures to {tmp_path / 'out'}. In a sweep file: source: folder, path: {tmp_path / 'out'}\n"
        )

    def test_names_are_printed_without_what_a_terminal_acts_on(self, picture_folder, tmp_path):
        root = picture_folder({"a\x1b[31m": 5, "b": 5})
        done = tune(str(root), str(tmp_path / "out"), "--val", "0.2")
        assert done.exit_code == 0
        assert "\x1b" not in done.output

    @pytest.mark.parametrize("share", ["1.5", "-1", "many", "0.0"])
    def test_a_share_that_is_none(self, flat, tmp_path, share):
        done = tune(str(flat), str(tmp_path / "out"), "--val", share)
        assert done.exit_code == 2
        assert f"{share!r} is neither a fraction such as 0.2 nor a number of pictures such as 2000" in done.stderr

    def test_nothing_for_validation(self, flat, tmp_path):
        done = tune(str(flat), str(tmp_path / "out"), "--val", "0")
        assert done.exit_code == 2
        assert done.stderr == "tune: --val: not a fraction of the pictures: got 0, expected above 0 and below 1\n"
