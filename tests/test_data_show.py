"""`tune data show`: what it counts, what it warns of, and the picture it writes."""

import csv
import io
import re
import shlex
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from trainables.data.catalog import Catalog, Picture
from trainables.data.digests import UNREADABLE
from trainables.data.duplicates import duplicates
from trainables.data.loaders import training_order
from trainables.data.transforms import UNIFORMS, training_view, uniforms
from trainables.errors import UserError
from tuning.cli.data import data
from tuning.cli.main import main
from tuning.data_picture import GAP, SIDES, caption, grid, write_picture
from tuning.data_show import Look, look, spec_of
from tuning.setup import create_sweep, open_sweep
from tuning.spec_file import load_spec


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seen(file: Path | str, *sets: str) -> Look:
    small = ("image_size=32", "center_crop=1", *sets)
    return look(spec_of(str(file), sets=small)[0], console=Console(quiet=True))


def tune(*words: str):
    return CliRunner().invoke(main, ["data", "show", *words])


@pytest.fixture
def classes(picture_folder) -> Path:
    return picture_folder({"train/ants": 12, "train/bees": 14, "val/ants": 3, "val/bees": 4}, size=(40, 50))


class TestWhatIsLookedAt:
    def test_a_folder_of_classes(self, classes):
        found = seen(classes)
        assert found.warnings == []
        assert found.lines() == [
            f"folder {classes}: 33 pictures, classification, 2 classes, seen in RGB",
            "",
            "            train      val",
            "ants           12        3",
            "bees           14        4",
            "pictures       26        7",
            "",
            "size: 50 × 40 pixels",
        ]

    def test_a_flat_folder(self, classes):
        for number, path in enumerate([*classes.rglob("*.png")]):
            path.rename(classes / f"{path.parent.name}.{number}.png")
        for folder in ("train", "val"):
            shutil.rmtree(classes / folder)
        spec, name = spec_of(str(classes), sets=())
        assert (spec.data.source, name) == ("flat", "pictures")
        assert len(seen(classes).store) == 33

    def test_a_sweep_file_with_settings_of_the_command_line(self, classes, here):
        (here / "my.yaml").write_text(f"data: {{source: folder, path: {classes}}}\nspace: {{lr: [0.1, 0.2]}}\n")
        spec, name = spec_of("my.yaml", sets=("augment=strong", "data.limit=4"))
        assert (spec.settings_for({}).augment, spec.data.limit, name) == ("strong", 4, "my")
        found = seen("my.yaml", "data.limit=4")
        assert "note: 4 of 26 training pictures are used (data.limit)" in found.lines()

    def test_a_table(self, classes, here):
        names = sorted(path.relative_to(here).as_posix() for path in classes.rglob("*.png"))
        with (here / "t.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [("image", "age"), *((name, number * 5000) for number, name in enumerate(names))]
            )
        found = seen("t.csv", "data.task=regression", "data.target_columns=age", "data.test=0")
        assert found.lines()[0] == "csv t.csv: 33 pictures, regression, 1 target, seen in RGB"
        (line,) = (line for line in found.lines() if line.startswith("age: "))
        assert re.fullmatch(r"age: \d+ to \d+, mean \d+ \(training pictures\)", line)
        assert [caption(found.store, index) for index in (0, 32)] == ["0", "160000"]

    def test_what_is_not_there(self, here):
        for name, message in [
            ("nothing", "no such sweep file: got 'nothing'"),
            ("none.csv", "FILE: cannot be read (No such file or directory): got 'none.csv'"),
        ]:
            done = tune(name)
            assert done.exit_code == 2
            assert message in done.stderr
            assert len(done.stderr.splitlines()) == 1

    def test_a_wrong_setting(self, classes):
        done = tune(str(classes), "--set", "data.pattern=<label>.*")
        assert done.stderr == (
            "tune: --set data.pattern=<label>.*: data.pattern: no setting of folder: got '<label>.*'; it is for"
            " `source: flat`\n"
        )


class TestErrors:
    """In the words of the command line, but for a sweep file, which has a `data.path`."""

    def test_a_folder(self, picture_folder):
        done = tune(str(picture_folder({"a": 0, "b": 0})))
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith("tune: FILE: no pictures: got ")

    def test_a_sweep_file(self, here):
        (here / "my.yaml").write_text("data: {source: folder, path: none}\nspace: {lr: [0.1, 0.2]}\n")
        assert tune("my.yaml").stderr.startswith("tune: data.path: no such folder: got ")

    def test_a_folder_that_cannot_be_read(self, classes, monkeypatch):
        def refused(folder):
            raise PermissionError(13, "Permission denied", str(folder))

        monkeypatch.setattr(Path, "iterdir", refused)
        done = tune(str(classes))
        assert (done.exit_code, done.stderr) == (
            2,
            f"tune: FILE: cannot be read (Permission denied): got '{classes}'\n",
        )


class TestWarnings:
    def test_imbalance_tiny_and_absent_classes(self, picture_folder):
        root = picture_folder({"train/ants": 12, "train/bees": 4, "val/ants": 3, "val/bees": 2}, size=(40, 50))
        assert seen(root).warnings == [
            "imbalance: 12 training pictures of 'ants', 4 of 'bees'; accuracy alone would favour the first",
            "fewer than 10 training pictures: 'bees' 4",
        ]

    def test_small_pictures(self, picture_folder):
        root = picture_folder({"train/ants": 12, "train/bees": 12, "val/ants": 3, "val/bees": 2}, size=(24, 50))
        assert seen(root).warnings == [
            "29 of 29 pictures are smaller than image_size 32 and are enlarged (half of them have at most 24 pixels)"
        ]

    def test_unreadable_pictures_do_not_stop_it(self, classes):
        (classes / "train/ants/x\x1b.png").write_bytes(b"nothing")
        found = seen(classes)
        assert found.warnings == [
            "1 picture that cannot be read, left out (train/ants/x .png: not a picture of a known format)"
        ]
        assert len(found.store) == 33

    def test_the_same_picture_in_two_splits_and_under_two_names(self, classes):
        shutil.copy(classes / "train/ants/1.png", classes / "val/ants/again.png")
        shutil.copy(classes / "train/ants/2.png", classes / "train/bees/other.png")
        shutil.copy(classes / "train/ants/3.png", classes / "train/ants/twice.png")
        assert seen(classes).warnings == [
            "1 picture in more than one split: results would look too good (train/ants/1.png = val/ants/again.png)",
            "1 picture there twice with different targets (train/ants/2.png = train/bees/other.png)",
            "1 picture there again in the same split",
        ]

    def test_a_sweep_tells_of_them_too(self, classes, here):
        shutil.copy(classes / "train/ants/1.png", classes / "val/ants/again.png")
        text = "trial: {model: small_cnn, weights: none, image_size: 32}\nsearch: {trials: 1}\n"
        (here / "small.yaml").write_text(text)
        spec = load_spec(here / "small.yaml", sets=("data.source=folder", f"data.path={classes}"))
        console = Console(file=io.StringIO(), width=300)
        sweep = create_sweep(spec, text=text, name="small", runs=here / "runs", console=console)
        told = "1 picture in more than one split: results would look too good (train/ants/1.png = val/ants/again.png)"
        assert f"warning: {told}" in console.file.getvalue()
        assert told in sweep.record["notes"]

    def test_a_sweep_tells_once_of_what_it_leaves_out(self, classes, here):
        for name in ("train/ants/x.png", "val/bees/x.png"):
            (classes / name).write_bytes(b"nothing")
        (classes / "train/ants/x.txt").write_text("nothing")
        text = "trial: {model: small_cnn, weights: none, image_size: 32}\nsearch: {trials: 1}\n"
        (here / "small.yaml").write_text(text)
        sets = ("data.source=folder", f"data.path={classes}", "data.on_bad_image=skip")
        spec = load_spec(here / "small.yaml", sets=sets)
        console = Console(file=io.StringIO(), width=300)
        sweep = create_sweep(spec, text=text, name="small", runs=here / "runs", console=console)
        open_sweep(sweep.folder, console=console)
        assert console.file.getvalue().splitlines()[:2] == [
            "1 file without a picture's extension passed over (.txt)",
            "warning: 2 pictures that cannot be read, left out (train/ants/x.png: not a picture of a known format,"
            " val/bees/x.png: not a picture of a known format)",
        ]
        assert "passed over" not in "".join(console.file.getvalue().splitlines()[2:])
        assert len(sweep.record["data"]["skipped"]) == 2

    def test_what_cannot_be_read_is_no_picture_twice(self, classes):
        for name in ("train/ants/x.png", "train/bees/x.png", "val/bees/x.png"):
            (classes / name).write_bytes(b"")
        assert [warning.partition(",")[0] for warning in seen(classes).warnings] == ["3 pictures that cannot be read"]

    def test_many_duplicates_are_not_compared_with_each_other(self, monkeypatch):
        pictures = [Picture(f"{split}/{n}.png", 0, split) for split in ("train", "val") for n in range(200)]
        catalog = Catalog("folder", None, ("a", "b"), 3, tuple(pictures))
        compared = []
        monkeypatch.setattr(Picture, "__eq__", lambda one, other: compared.append(one))
        assert duplicates(catalog, [str(n) for n in range(200)] * 2)[0].startswith("200 pictures in more than one")
        assert len(compared) <= len(pictures)

    def test_duplicates_of_several(self):
        pictures = tuple(Picture(f"{n}", n % 2, split) for n, split in enumerate(["train", "val", "test", "train"]))
        catalog = Catalog("folder", Path(), ("a", "b"), 3, pictures)
        assert duplicates(catalog, ["x", "x", "y", "z"])[0].endswith("(0 = 1)")
        assert duplicates(catalog, ["x", "x", "y", "y"])[0].startswith("2 pictures in more than one split")
        assert duplicates(catalog, "wxyz") == []
        assert duplicates(catalog, [UNREADABLE, UNREADABLE, "y", UNREADABLE]) == [], "nobody knows what is in them"

    def test_labels_that_are_rare_or_never_differ(self, classes, here):
        names = sorted(path.relative_to(here).as_posix() for path in classes.rglob("*.png"))
        lines = [f"{name},1,{int(number == 0)}" for number, name in enumerate(names)]
        (here / "t.csv").write_text("\n".join(["image,a,b", *lines]))
        sets = ("data.task=multilabel", "data.target_columns=[a, b]", "data.test=0", "data.seed=1")
        found = seen("t.csv", *sets)
        assert found.warnings[0].startswith("the same in every training picture: 'a'")
        assert {caption(found.store, 0), caption(found.store, 1)} == {"a, b", "a"}


class TestPicture:
    def test_the_views_are_those_of_the_network(self, classes, here):
        found = seen(classes, "augment=strong")
        assert write_picture(found, here / "out.png", pictures=9, epoch=2) == 9
        sheet = np.asarray(Image.open(here / "out.png"))
        order = training_order(found.store.indices("train"), seed=0, epoch=2)[:9].tolist()
        row = uniforms(0, 2, [order[0]], UNIFORMS)[0]
        view = training_view(found.store[order[0]], settings=found.settings, uniforms=row)
        shown = sheet[GAP : GAP + 96 : 3, GAP : GAP + 96 : 3]
        assert np.array_equal(shown, view.permute(1, 2, 0).numpy())
        other = tuple(
            write_picture(found, here / name, pictures=9, epoch=epoch) for name, epoch in [("a.png", 1), ("b.png", 2)]
        )
        assert other == (9, 9)
        assert (here / "b.png").read_bytes() == (here / "out.png").read_bytes() != (here / "a.png").read_bytes()

    @pytest.mark.parametrize(("size", "side"), [(28, 112), (96, 96), (100, 100), (224, 224), (512, 224)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_its_measures(self, size, side, channels):
        views = np.full((5, size, size, channels), 7, dtype=np.uint8)
        sheet = grid(views, ["a", "x" * 500, "", "ß\u202e", "日本"])
        assert sheet.size[0] == 3 * (side + GAP) + GAP
        assert np.asarray(sheet)[GAP : GAP + side, GAP : GAP + side].max() == 7
        assert SIDES[0] <= side <= SIDES[1]

    def test_it_is_a_png(self, classes, here):
        with pytest.raises(UserError, match=r"-o: not a PNG file: got 'out.jpg'"):
            write_picture(seen(classes), Path("out.jpg"), pictures=1, epoch=1)
        with pytest.raises(UserError, match="-o: cannot be written"):
            write_picture(seen(classes), Path("no/such/folder.png"), pictures=1, epoch=1)

    def test_the_command(self, classes, here):
        done = tune(str(classes), "--set", "image_size=32", "--pictures", "5")
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0].startswith(f"folder {classes}: 33 pictures")
        assert done.stdout.splitlines()[-1] == (
            "Wrote pictures-data.png: 5 training pictures as the network sees them."
        )
        assert Image.open(here / "pictures-data.png").format == "PNG"

    def test_names_are_printed_without_what_a_terminal_acts_on(self, picture_folder, here):
        root = picture_folder({f"{split}/{name}": 3 for split in ("train", "val") for name in ("a\x1b[31m[bold]", "b")})
        done = tune(str(root), "--set", "image_size=32", "-o", "x.png")
        assert done.exit_code == 0
        assert "\x1b" not in done.output
        assert "[bold]" in done.output


def test_hymenoptera(real_data, here):
    found = seen(real_data / "hymenoptera_data")
    assert "ants          124       70" in found.lines()
    assert found.warnings == []


@pytest.mark.parametrize("name", data.commands)
def test_a_commands_help_ends_in_its_example_and_explains_its_options(name):
    command = data.commands[name]
    words = shlex.split(command.epilog.removeprefix("Example: "))
    assert words[:3] == ["tune", "data", name]
    command.make_context(name, words[3:])
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            assert parameter.help.endswith(".")
