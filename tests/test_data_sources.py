"""What counts as a set of pictures, how it is split, and what the user is told when it is none."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainables.data.catalog import Catalog, Picture
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.splits import limited, stratified_split
from trainables.errors import UserError
from trainables.settings import setting_docs


def read(root: Path, **settings) -> Catalog:
    return read_catalog(DataSettings(source="folder", path=str(root), **settings), base=Path("/nowhere"))


def error_of(root: Path | str, **settings) -> str:
    with pytest.raises(UserError) as caught:
        read(root, **settings)
    assert caught.value.where in ("data.path", "data.val", "data.test")
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestDigits:
    def test_every_digit_is_in_every_split_in_its_share(self):
        catalog = read_catalog(DataSettings(), base=Path())
        counts = catalog.counts()
        assert len(catalog.pictures) == 1797
        assert catalog.classes == tuple("0123456789")
        assert list(counts) == ["train", "val", "test"]
        assert sum(counts["val"].values()) == pytest.approx(0.2 * 1797, abs=5)
        assert sum(counts["test"].values()) == pytest.approx(0.1 * 1797, abs=5)
        assert min(counts["test"].values()) >= 17

    def test_pixels_are_the_source_scaled_to_bytes(self):
        catalog = read_catalog(DataSettings(), base=Path())
        pixels = catalog.content(17)
        assert catalog.pictures[17].name == "digits/17"
        assert isinstance(pixels, np.ndarray)
        assert (pixels.shape, pixels.dtype) == ((8, 8), np.uint8)
        assert catalog.arrays is not None
        assert (catalog.arrays.min(), catalog.arrays.max()) == (0, 255)

    def test_the_seed_decides_the_split_and_nothing_else(self):
        first, again, other = (read_catalog(DataSettings(seed=seed), base=Path()) for seed in (0, 0, 1))
        assert first == again
        assert [p.split for p in first.pictures] != [p.split for p in other.pictures]
        assert [p.label for p in first.pictures] == [p.label for p in other.pictures]

    @pytest.mark.parametrize(("color", "channels"), [("auto", 1), ("grey", 1), ("rgb", 3)])
    def test_color(self, color, channels):
        assert read_catalog(DataSettings(color=color), base=Path()).channels == channels

    def test_a_path_is_refused(self):
        with pytest.raises(UserError, match=r"set data\.source: folder"):
            read_catalog(DataSettings(path="pictures"), base=Path())


class TestSplitFolders:
    @pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
    def test_validation_folder_by_any_name(self, picture_folder, val):
        root = picture_folder(
            {"train/ants": 3, "train/bees": 2, f"{val}/ants": 1, f"{val}/bees": 2, "test/ants": 1, "test/bees": 1}
        )
        catalog = read(root)
        assert catalog.counts() == {
            "train": {"ants": 3, "bees": 2},
            "val": {"ants": 1, "bees": 2},
            "test": {"ants": 1, "bees": 1},
        }
        assert catalog.pictures[0].name == "train/ants/0.png"
        assert catalog.pictures[5].name == f"{val}/ants/0.png"
        assert catalog.content(5) == root / val / "ants/0.png"
        assert catalog.notes == ()

    def test_train_and_val_alone_have_no_test(self, picture_folder):
        root = picture_folder({"train/a": 5, "train/b": 5, "val/a": 5, "val/b": 5})
        assert list(read(root).counts()) == ["train", "val"]

    def test_without_val_it_is_split_off_and_said(self, picture_folder):
        root = picture_folder({"train/a": 10, "train/b": 10, "test/a": 1, "test/b": 2})
        catalog = read(root, val=0.3)
        assert catalog.counts() == {"train": {"a": 7, "b": 7}, "val": {"a": 3, "b": 3}, "test": {"a": 1, "b": 2}}
        assert "0.3 of train/ is kept for validation" in catalog.notes[0]

    def test_train_alone_is_split_in_three(self, picture_folder):
        root = picture_folder({"train/a": 10, "train/b": 10})
        assert read(root).counts() == {"train": {"a": 7, "b": 7}, "val": {"a": 2, "b": 2}, "test": {"a": 1, "b": 1}}

    def test_unlabelled_test_folder_and_others_are_noted(self, picture_folder):
        root = picture_folder({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1, "test": 3, "drafts": 1})
        catalog = read(root)
        assert list(catalog.counts()) == ["train", "val"]
        assert "test/ has no class folders and is not used" in catalog.notes
        assert "not used, beside train/: drafts" in catalog.notes

    def test_relative_path_starts_at_the_base(self, picture_folder):
        root = picture_folder({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1})
        settings = DataSettings(source="folder", path="pictures")
        assert read_catalog(settings, base=root.parent).root == root

    def test_hymenoptera(self, real_data):
        catalog = read(real_data / "hymenoptera_data")
        # 245: the original set has one .gif among its 244 photographs.
        assert catalog.counts() == {"train": {"ants": 124, "bees": 121}, "val": {"ants": 70, "bees": 83}}
        assert catalog.channels == 3


class TestOneFolderOfClasses:
    def test_it_is_split_by_class(self, picture_folder):
        catalog = read(picture_folder({"a": 10, "b": 20, "c": 5}))
        assert catalog.counts() == {
            "train": {"a": 7, "b": 14, "c": 3},
            "val": {"a": 2, "b": 4, "c": 1},
            "test": {"a": 1, "b": 2, "c": 1},
        }

    def test_test_zero_means_none(self, picture_folder):
        assert list(read(picture_folder({"a": 5, "b": 5}), test=0).counts()) == ["train", "val"]

    def test_a_class_may_be_called_train(self, picture_folder):
        assert read(picture_folder({"bus": 5, "train": 5})).classes == ("bus", "train")

    def test_sub_folders_of_a_class_belong_to_it(self, picture_folder):
        catalog = read(picture_folder({"a": 2, "a/more/deeper": 3, "b": 5}))
        assert sum(p.label == 0 for p in catalog.pictures) == 5
        assert "a/more/deeper/0.png" in [p.name for p in catalog.pictures]

    def test_splits_by_other_names_are_remarked_on(self, picture_folder):
        catalog = read(picture_folder({"training_set/a": 4, "training_set/b": 4, "test_set/a": 4, "test_set/b": 4}))
        assert "test_set, training_set are taken as the classes; if a, b are" in catalog.notes[0]

    def test_what_is_no_picture_is_passed_over(self, picture_folder):
        root = picture_folder({"a": 5, "b": 5, ".git/objects": 3, "a/.thumbnails": 2, "__MACOSX/a": 2})
        (root / "a" / ".hidden.png").write_bytes(b"")
        (root / "a" / "notes.txt").write_text("x")
        (root / "README.md").write_text("x")
        (root / "Makefile").write_text("x")
        (root / "b" / "more.TXT").write_text("x")
        catalog = read(root)
        assert catalog.classes == ("a", "b")
        assert len(catalog.pictures) == 10
        assert catalog.notes == ("4 files without a picture's extension passed over (.txt, .md, none)",)

    def test_pictures_beside_the_classes_are_told_as_what_they_are(self, picture_folder):
        root = picture_folder({"train/a": 5, "train/b": 5, "val/a": 1, "val/b": 1, "train": 2})
        catalog = read(root)
        assert len(catalog.pictures) == 12
        assert catalog.notes == ("2 pictures beside the class folders passed over",)

    def test_pictures_in_another_format_are_named(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / "phone" / name).mkdir(parents=True)
            (tmp_path / "phone" / name / "1.HEIC").touch()
        assert error_of(tmp_path / "phone").endswith("; those that are there end in .heic")

    def test_classes_that_differ_in_case(self, picture_folder):
        assert read(picture_folder({"Ant": 5, "ant": 5, "bee": 5})).notes == (
            "classes that differ in upper and lower case only: Ant, ant",
        )

    def test_extensions_in_any_case(self, picture_folder):
        root = picture_folder({"a": 5, "b": 5})
        Image.new("RGB", (4, 4)).save(root / "a" / "PHOTO.JPG")
        assert "a/PHOTO.JPG" in [p.name for p in read(root).pictures]

    def test_links_are_followed_but_not_in_circles(self, picture_folder, tmp_path):
        root = picture_folder({"a": 5, "b": 5})
        elsewhere = picture_folder({"c": 5}, name="elsewhere")
        (root / "c").symlink_to(elsewhere / "c", target_is_directory=True)
        (root / "a" / "again").symlink_to(root / "a", target_is_directory=True)
        catalog = read(root)
        assert catalog.classes == ("a", "b", "c")
        assert len(catalog.pictures) == 15


class TestErrors:
    def test_missing_path(self):
        with pytest.raises(
            UserError, match=r"^data\.path: folder needs data\.path: expected the path of a folder of pictures"
        ):
            read_catalog(DataSettings(source="folder"), base=Path())

    def test_no_such_folder(self, tmp_path):
        message = error_of(tmp_path / "not" / "there")
        assert message.startswith("data.path: no such folder: got ")
        assert message.endswith(f"{tmp_path} is there, the rest is not")

    def test_nobody_by_that_name(self):
        assert "no such home folder" in error_of("~nobody-of-that-name/pictures")

    def test_a_name_too_long(self, tmp_path):
        assert "cannot be read (File name too long)" in error_of(tmp_path / ("x" * 300))

    @pytest.mark.parametrize(
        ("old", "new", "shown"),
        [
            ("train/a", b"train/caf\xe9", r"train/caf\xe9/0.png"),
            ("val/b/1.png", b"val/b/\xff\xfe.png", r"val/b/\xff\xfe.png"),
        ],
    )
    def test_a_name_that_is_not_utf_8(self, picture_folder, old, new, shown):
        root = picture_folder({f"{split}/{name}": 2 for split in ("train", "val") for name in "ab"})
        (root / "val" / "a").rename(root / os.fsdecode(new).replace("train", "val")) if "/a" in old else None
        (root / old).rename(root / os.fsdecode(new))
        message = f"data.path: the name of a file or folder is not valid UTF-8: {shown}; rename it"
        assert error_of(root) == message

    def test_such_a_name_in_the_path_itself(self, picture_folder, tmp_path):
        root = picture_folder({"a": 5, "b": 5}).rename(tmp_path / os.fsdecode(b"caf\xe9"))
        message = error_of(root)
        assert message == rf"data.path: the name of a file or folder is not valid UTF-8: {tmp_path}/caf\xe9; rename it"

    def test_such_a_name_in_a_flat_folder(self, tmp_path):
        for number in range(10):
            (tmp_path / os.fsdecode(b"caf\xe9.%d.png" % number)).touch()
            (tmp_path / f"tea.{number}.png").touch()
        with pytest.raises(UserError, match=r"not valid UTF-8: caf\\xe9\.\d\.png; rename it"):
            read_catalog(DataSettings(source="flat", path=str(tmp_path)), base=Path())

    def test_such_a_name_beside_the_pictures_does_no_harm(self, picture_folder):
        root = picture_folder({"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
        (root / os.fsdecode(b"caf\xe9")).mkdir()
        assert read(root).notes == (r"not used, beside train/: caf\xe9",)

    def test_a_file(self, tmp_path):
        (tmp_path / "file").write_text("x")
        assert "not a folder" in error_of(tmp_path / "file")

    def test_an_empty_folder(self, tmp_path):
        assert "no pictures" in error_of(tmp_path)

    def test_folders_without_pictures(self, picture_folder):
        assert "no pictures" in error_of(picture_folder({"a": 0, "b": 0}))

    def test_files_only(self, picture_folder):
        root = picture_folder({"": 3})
        assert "no class folders, only files" in error_of(root)

    def test_empty_class(self, picture_folder):
        assert "empty class: b" in error_of(picture_folder({"a": 5, "b": 0}))
        root = picture_folder({"train/a": 2, "train/b": 1, "val/a": 1, "val/b": 0}, name="split")
        assert "val: empty class: b" in error_of(root)

    def test_one_class(self, picture_folder):
        assert "only one class: a" in error_of(picture_folder({"a": 5}))
        assert "train: only one class: a" in error_of(picture_folder({"train/a": 5, "val/a": 5}, name="x"))

    def test_classes_that_differ(self, picture_folder):
        root = picture_folder({"train/ants": 1, "train/bees": 1, "val/ant": 1, "val/bees": 1})
        assert "classes differ between train and val (only in train: ants; only in val: ant)" in error_of(root)

    def test_test_classes_that_differ(self, picture_folder):
        root = picture_folder(
            {f"{split}/{name}": 1 for split in ("train", "val") for name in "ab"} | {"test/a": 1, "test/c": 1}
        )
        assert "classes differ between train and test (only in train: b; only in test: c)" in error_of(root)

    def test_val_without_train(self, picture_folder):
        assert "val/ has class folders, but no train/ does" in error_of(picture_folder({"val/a": 1, "val/b": 1}))

    def test_splits_without_classes(self, picture_folder):
        assert "no class folders in train/, val/" in error_of(picture_folder({"train": 3, "val": 2}))

    def test_val_without_classes(self, picture_folder):
        assert "val: no class folders" in error_of(picture_folder({"train/a": 3, "train/b": 2, "val": 1}))

    def test_two_validation_folders(self, picture_folder):
        root = picture_folder({f"{split}/{name}": 1 for split in ("train", "val", "valid") for name in "ab"})
        assert "more than one val folder: val, valid" in error_of(root)

    @pytest.mark.parametrize(("count", "test", "needed"), [(2, 0.1, 3), (1, 0, 2)])
    def test_too_few_of_a_class(self, picture_folder, count, test, needed):
        message = error_of(picture_folder({"a": 9, "b": count}), test=test)
        assert f"class 'b' has too few pictures to split: got {count}, expected at least {needed}" in message

    def test_fractions(self, picture_folder):
        root = picture_folder({"a": 9, "b": 9})
        for val in (0, 0.0, 1.0, 1.5, 5.0, -0.2, -3):
            assert f"data.val: not a fraction of the pictures: got {val}" in error_of(root, val=val)
        for test in (1.0, 1.5, -0.2, -3):
            assert f"data.test: not a fraction of the pictures: got {test}" in error_of(root, test=test)
        assert "leave nothing to train on: got 1.1" in error_of(root, val=0.6, test=0.5)
        assert "leave nothing to train on: got 1.0" in error_of(root, val=0.5, test=0.5)
        assert "too few pictures to split" in error_of(root, val=0.9, test=0.09)

    def test_numbers_of_pictures(self, picture_folder):
        splits = Counter(picture.split for picture in read(picture_folder({"a": 9, "b": 9}), val=3, test=5).pictures)
        assert splits == {"train": 10, "val": 3, "test": 5}

    def test_a_folder_that_may_not_be_read(self, picture_folder):
        root = picture_folder({"a": 3, "b": 3})
        (root / "b").chmod(0)
        try:
            if list_allowed(root / "b"):
                pytest.skip("this user may read everything")
            assert "cannot be read (Permission denied)" in error_of(root)
        finally:
            (root / "b").chmod(0o755)


def list_allowed(folder: Path) -> bool:
    try:
        return bool(list(folder.iterdir()))
    except PermissionError:
        return False


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=5),
    val=st.floats(0.01, 0.45),
    test=st.just(0.0) | st.floats(0.01, 0.45),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_split_is_stratified_or_refused(counts, val, test, seed):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    names = [str(index) for index in range(len(labels))]
    options = {"classes": [str(label) for label in range(len(counts))], "val": val, "test": test, "seed": seed}
    if any(max(1, round(val * n)) + (max(1, round(test * n)) if test else 0) >= n for n in counts):
        with pytest.raises(UserError, match="too few"):
            stratified_split(names, labels, **options)
        return
    splits = stratified_split(names, labels, **options)
    for label, count in enumerate(counts):
        mine = [split for split, other in zip(splits, labels, strict=True) if other == label]
        assert mine.count("train") >= 1
        assert mine.count("val") == max(1, round(val * count))
        assert mine.count("test") == (max(1, round(test * count)) if test else 0)
    # The order of the list plays no part.
    backwards = stratified_split(names[::-1], labels[::-1], **options)
    assert backwards[::-1] == splits


def test_one_more_picture_moves_few_others():
    names = [str(index) for index in range(1000)]
    options = {"classes": ["a"], "val": 0.2, "test": 0.1, "seed": 0}
    before = stratified_split(names, [0] * 1000, **options)
    after = stratified_split(["new", *names], [0] * 1001, **options)[1:]
    assert sum(old != new for old, new in zip(before, after, strict=True)) <= 2


@given(
    counts=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 20)), min_size=2, max_size=6),
    limit=st.integers(1, 300),
    seed=st.integers(0, 1000),
)
def test_a_limit_keeps_every_class_and_its_share(counts, limit, seed):
    pictures = tuple(
        Picture(f"{split}/{label}/{number}", label, split)
        for label, pair in enumerate(counts)
        for split, size in zip(("train", "val"), pair, strict=True)
        for number in range(size)
    )
    whole = Catalog("folder", Path(), tuple(map(str, range(len(counts)))), 3, pictures)
    training = sum(size for size, _ in counts)
    if limit < min(len(counts), training):
        with pytest.raises(UserError, match="fewer training pictures than there are classes"):
            limited(whole, limit=limit, seed=seed)
        return
    part = limited(whole, limit=limit, seed=seed)
    there = set(part.pictures)
    assert part.pictures == tuple(picture for picture in pictures if picture in there)
    kept = [picture.label for picture in part.pictures if picture.split == "train"]
    assert len(kept) == min(limit, training)
    for label, (size, validating) in enumerate(counts):
        assert kept.count(label) >= 1
        fair = size * len(kept) / training
        assert fair - len(counts) < kept.count(label) <= fair + 1
        assert any(p.split == "val" and p.label == label for p in part.pictures) == (validating > 0)
    validating = [size for _, size in counts if size]
    share = round(sum(validating) * len(kept) / training)
    assert len(part.pictures) - len(kept) == max(share, len(validating))
    assert limited(whole, limit=limit, seed=seed) == part


def test_every_data_setting_is_documented():
    docs = setting_docs(DataSettings)
    assert {"task", "pattern", "target_columns", "limit", "official_test"} <= {doc.name for doc in docs}
    assert all(doc.text.endswith(".") for doc in docs)


def test_settings_are_frozen_and_compare():
    assert replace(DataSettings(), val=0.2) == DataSettings()


def test_importing_sources_imports_no_heavy_library():
    code = "import sys, trainables.data.sources; print(*{'torch', 'sklearn', 'ray', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
