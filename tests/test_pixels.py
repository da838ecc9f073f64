"""Pictures of every kind decode right, and the store of them is shared, whole, and named by its content."""

import contextlib
import errno
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data import digests
from trainables.data import pixels as pixels_module
from trainables.data.cache import cache_folder, clear, entries, kind_folder, size_of
from trainables.data.catalog import Catalog
from trainables.data.decode import BadPictureError, decode
from trainables.data.digests import Digests
from trainables.data.parallel import ordered_map
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import DamagedStoreError, PixelStore
from trainables.errors import UserError

FOUR = {"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2}


def catalog_of(root: Path, **settings) -> Catalog:
    return read_catalog(DataSettings(source="folder", path=str(root), **settings), base=Path())


def build(root: Path, cache: Path, *, short_side: int = 16, on_bad_image: str = "error", progress=None, **settings):
    catalog = catalog_of(root, **settings)
    return build_store(catalog, short_side=short_side, cache=cache, on_bad_image=on_bad_image, progress=progress)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were just written count as long settled."""
    monkeypatch.setattr(digests, "SETTLED_NS", -1_000_000_000)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(height: int = 40, width: int = 60) -> Image.Image:
    """Dark at the top left, bright at the bottom right, red more to the right."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 255 // width, rows * 255 // height, (rows + columns) * 255 // (height + width)], -1)
    return Image.fromarray(pixels.astype(np.uint8))


class TestDecode:
    def test_shape_and_type(self):
        pixels = decode(encoded(gradient(), "PNG"), channels=3, short_side=100)
        assert (pixels.shape, pixels.dtype) == ((3, 40, 60), np.uint8)
        assert np.array_equal(pixels, np.asarray(gradient()).transpose(2, 0, 1))

    @pytest.mark.parametrize(
        ("size", "expected"), [((40, 60), (20, 30)), ((60, 40), (30, 20)), ((41, 61), (20, 29)), ((10, 60), (10, 60))]
    )
    def test_the_shorter_side_shrinks_and_nothing_grows(self, size, expected):
        assert decode(encoded(gradient(*size), "PNG"), channels=3, short_side=20).shape == (3, *expected)

    def test_a_file_its_bytes_and_its_pixels_are_the_same(self, tmp_path):
        content = encoded(gradient(), "PNG")
        (tmp_path / "x.png").write_bytes(content)
        from_file, from_bytes, from_pixels = (
            decode(source, channels=3, short_side=20)
            for source in (tmp_path / "x.png", content, np.asarray(gradient()))
        )
        assert np.array_equal(from_file, from_bytes)
        assert np.array_equal(from_file, from_pixels)

    def test_a_large_jpeg_is_close_to_the_full_decoding(self):
        image = gradient(800, 1200)
        reference = np.asarray(image.resize((96, 64), Image.Resampling.BOX)).transpose(2, 0, 1).astype(int)
        pixels = decode(encoded(image, "JPEG", quality=95), channels=3, short_side=64)
        assert np.abs(pixels - reference).mean() < 2

    @pytest.mark.parametrize("size", [(374, 313), (800, 1201), (999, 257)])
    def test_a_jpeg_has_the_sides_of_any_other_file(self, size):
        jpeg, png = (decode(encoded(gradient(*size), kind), channels=3, short_side=64) for kind in ("JPEG", "PNG"))
        assert jpeg.shape == png.shape
        assert np.abs(jpeg.astype(int) - png).mean() < 2

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_formats(self, kind, channels):
        options = {"lossless": True} if kind == "WEBP" else {}
        pixels = decode(encoded(gradient(), kind, **options), channels=channels, short_side=40).astype(int)
        reference = np.asarray(gradient().convert("L" if channels == 1 else "RGB"), dtype=int)
        reference = reference[None] if channels == 1 else reference.transpose(2, 0, 1)
        assert np.abs(pixels - reference).mean() < (12 if kind == "GIF" else 3)

    def test_grey_becomes_rgb_and_rgb_becomes_luminance(self):
        red = Image.new("RGB", (4, 4), (255, 0, 0))
        assert decode(encoded(red, "PNG"), channels=1, short_side=4)[0, 0, 0] == 76  # 0.299 × 255
        grey = decode(encoded(Image.new("L", (4, 4), 90), "PNG"), channels=3, short_side=4)
        assert grey[:, 0, 0].tolist() == [90, 90, 90]

    def test_transparent_is_white(self):
        half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
        assert decode(encoded(half, "PNG"), channels=3, short_side=4)[:, 0, 0].tolist() == [127, 127, 127]
        clear_red = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
        assert decode(encoded(clear_red, "PNG"), channels=3, short_side=4)[:, 0, 0].tolist() == [255, 255, 255]
        grey = Image.new("LA", (4, 4), (0, 0))
        assert decode(encoded(grey, "PNG"), channels=1, short_side=4)[0, 0, 0] == 255

    def test_a_clear_grey_of_16_bits_is_white(self):
        grey = Image.fromarray(np.array([[700, 701]], dtype=np.uint16))
        pixels = decode(encoded(grey, "PNG", transparency=700), channels=3, short_side=4)
        assert pixels[:, 0].tolist() == [[255, 3]] * 3
        assert decode(encoded(grey, "PNG"), channels=1, short_side=4)[0, 0].tolist() == [3, 3]

    def test_palette_and_its_transparency(self):
        palette = Image.new("P", (4, 4), 1)
        palette.putpalette([255, 0, 0, 0, 128, 0])
        assert decode(encoded(palette, "PNG"), channels=3, short_side=4)[:, 0, 0].tolist() == [0, 128, 0]
        assert decode(encoded(palette, "PNG", transparency=1), channels=3, short_side=4)[:, 0, 0].tolist() == [255] * 3
        assert decode(encoded(palette, "GIF", transparency=1), channels=3, short_side=4)[:, 0, 0].tolist() == [255] * 3

    def test_a_transparent_colour_of_rgb_and_grey(self):
        red = encoded(Image.new("RGB", (4, 4), (255, 0, 0)), "PNG", transparency=(255, 0, 0))
        assert decode(red, channels=3, short_side=4)[:, 0, 0].tolist() == [255, 255, 255]
        black = encoded(Image.new("L", (4, 4), 0), "PNG", transparency=0)
        assert decode(black, channels=1, short_side=4)[0, 0, 0] == 255

    def test_cmyk(self):
        cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
        assert decode(encoded(cyan, "TIFF"), channels=3, short_side=8)[:, 0, 0].tolist() == [0, 255, 255]
        red, green, blue = decode(encoded(cyan, "JPEG", quality=100), channels=3, short_side=8)[:, 0, 0].tolist()
        assert (red < 10, green > 245, blue > 245) == (True, True, True)

    def test_sixteen_bits_use_their_full_range(self):
        values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
        for kind in ("PNG", "TIFF"):
            assert decode(encoded(Image.fromarray(values), kind), channels=1, short_side=9)[0, 0].tolist() == [
                0,
                1,
                128,
                255,
            ]
        assert decode(encoded(Image.fromarray(values), "PNG"), channels=3, short_side=9)[:, 0, 3].tolist() == [255] * 3

    def test_one_bit(self):
        assert decode(encoded(Image.new("1", (4, 4), 1), "PNG"), channels=1, short_side=4).max() == 255

    def test_the_first_frame_of_an_animation(self):
        frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
        content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert decode(content, channels=3, short_side=4)[:, 0, 0].tolist() == [255, 0, 0]

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
    def test_exif_orientation(self, orientation, kind):
        upright = gradient()
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = decode(encoded(_stored_as(upright, orientation), kind, exif=exif), channels=3, short_side=40)
        assert turned.shape == (3, 40, 60)
        assert np.abs(turned.astype(int) - np.asarray(upright).transpose(2, 0, 1)).mean() < 3

    def test_garbage_for_exif_is_no_orientation(self):
        content = encoded(gradient(), "JPEG", exif=b"Exif\x00\x00" + b"\xff" * 40)
        assert decode(content, channels=3, short_side=40).shape == (3, 40, 60)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "empty file"),
            (b"no picture at all", "not a picture of a known format"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "not a picture of a known format"),
            (encoded(gradient(200, 200), "JPEG")[:2000], "truncated file"),
            (encoded(gradient(200, 200), "PNG")[:400], "truncated file"),
            (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "floating-point"),
            (encoded(Image.fromarray(np.full((4, 4), 70000, dtype=np.int32)), "TIFF"), "32-bit"),
        ],
    )
    def test_bad_pictures_have_a_reason(self, content, reason):
        with pytest.raises(BadPictureError, match=reason):
            decode(content, channels=3, short_side=16)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(BadPictureError, match="No such file"):
            decode(tmp_path / "x.png", channels=3, short_side=16)

    def test_a_decompression_bomb(self, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        with pytest.raises(BadPictureError, match="more than 2,000 pixels"):
            decode(encoded(gradient(60, 60), "PNG"), channels=3, short_side=16)

    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
    def test_damage_anywhere_is_read_or_refused(self, kind):
        content = bytearray(encoded(gradient(), kind))
        random = np.random.default_rng(0)
        for _ in range(60):
            damaged = content.copy()
            for place in random.integers(0, len(content), 4):
                damaged[place] = random.integers(256)
            with contextlib.suppress(BadPictureError):  # and nothing else
                assert decode(bytes(damaged), channels=3, short_side=16).shape[0] == 3


def _stored_as(upright: Image.Image, orientation: int) -> Image.Image:
    """The stored pixels that EXIF's `orientation` turns into `upright` (EXIF 2.3, table of tag 274)."""
    # By orientation: the upright side that the stored row 0 and column 0 are.
    pixels = np.asarray(upright)
    row, column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    if row in ("left", "right"):
        pixels = pixels.transpose(1, 0, 2)
    if row in ("bottom", "right"):
        pixels = pixels[::-1]
    if column in ("bottom", "right"):
        pixels = pixels[:, ::-1]
    return Image.fromarray(np.ascontiguousarray(pixels))


class TestStore:
    def test_what_it_holds(self, picture_folder, tmp_path):
        root = picture_folder(FOUR)
        store = build(root, tmp_path / "cache")
        assert (len(store), store.classes, store.channels, store.short_side) == (10, ("a", "b"), 3, 16)
        assert store.targets.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
        assert store.targets.dtype == torch.int64
        assert store.indices("train").tolist() == [0, 1, 2, 3, 4, 5]
        assert store.indices("val").tolist() == [6, 7, 8, 9]
        assert store.indices("test").tolist() == []
        assert store.names[6] == "val/a/0.png"
        assert store.skipped == []
        assert store.counts() == catalog_of(root).counts()
        for index, name in enumerate(store.names):
            picture = store[index]
            assert (picture.dtype, tuple(picture.shape)) == (torch.uint8, (3, 16, 21))
            assert np.array_equal(picture.numpy(), decode(root / name, channels=3, short_side=16))

    def test_a_picture_is_the_callers_own(self, picture_folder, tmp_path):
        store = build(picture_folder(FOUR), tmp_path / "cache")
        before = store[0].clone()
        store[0].zero_()
        assert torch.equal(store[0], before)

    def test_pictures_of_different_sizes(self, picture_folder, tmp_path):
        root = picture_folder(FOUR)
        picture_folder({"train/a/wide": 1}, size=(10, 90))
        picture_folder({"train/b/tall": 1}, size=(50, 20))
        store = build(root, tmp_path / "cache")
        shapes = {name: tuple(store[index].shape) for index, name in enumerate(store.names)}
        assert shapes["train/a/wide/0.png"] == (3, 10, 90)
        assert shapes["train/b/tall/0.png"] == (3, 40, 16)

    def test_digits_stay_as_they_are(self, tmp_path):
        catalog = read_catalog(DataSettings(), base=Path())
        store = build_store(catalog, short_side=37, cache=tmp_path, on_bad_image="error")
        assert store[17].shape == (1, 8, 8)
        assert np.array_equal(store[17][0].numpy(), catalog.content(17))
        rgb = read_catalog(DataSettings(color="rgb"), base=Path())
        assert build_store(rgb, short_side=37, cache=tmp_path, on_bad_image="error")[17].shape == (3, 8, 8)

    def test_it_pickles_as_its_path(self, picture_folder, tmp_path):
        store = build(picture_folder(FOUR), tmp_path / "cache")
        content = pickle.dumps(store)
        assert len(content) < 500
        assert torch.equal(pickle.loads(content)[3], store[3])

    def test_it_is_built_once(self, picture_folder, tmp_path, monkeypatch):
        root = picture_folder(FOUR)
        calls = []
        first = build(root, tmp_path / "cache", progress=lambda done, total: calls.append((done, total)))
        assert calls[-1] == (20, 20)  # ten files read, ten pictures decoded
        monkeypatch.setattr(pixels_module, "decode", None)
        assert build(root, tmp_path / "cache").path == first.path

    def test_files_are_not_read_again(self, picture_folder, tmp_path, settled):
        root = picture_folder(FOUR)
        build(root, tmp_path / "cache")
        calls = []
        build(root, tmp_path / "cache", progress=lambda *step: calls.append(step))
        assert calls == []

    def test_two_at_once_build_one(self, picture_folder, tmp_path, monkeypatch):
        root = picture_folder(FOUR)
        decoded = []
        real = pixels_module.decode
        monkeypatch.setattr(pixels_module, "decode", lambda *a, **k: (decoded.append(1), real(*a, **k))[1])
        stores = []
        threads = [threading.Thread(target=lambda: stores.append(build(root, tmp_path / "cache"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(decoded) == 10
        assert {store.path for store in stores} == {stores[0].path}

    def test_work_of_a_killed_process_is_cleared_away(self, picture_folder, tmp_path):
        root = picture_folder(FOUR)
        path = build(root, tmp_path / "cache").path
        path.rename(path.with_name(f".{path.name}.partial"))
        assert len(build(root, tmp_path / "cache")) == 10
        assert not path.with_name(f".{path.name}.partial").exists()


class TestDamage:
    @pytest.mark.parametrize("file", ["pixels.bin", "index.npy", "targets.npy", "header.json", "seal.json"])
    @pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
    def test_a_damaged_store_is_built_again(self, picture_folder, tmp_path, file, harm):
        root = picture_folder(FOUR)
        store = build(root, tmp_path / "cache")
        expected = [store[index].clone() for index in range(len(store))]
        path = store.path / file
        content = bytearray(path.read_bytes())
        if harm == "cut":
            path.write_bytes(content[:-1])
        elif harm == "remove":
            path.unlink()
        else:
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        if (file, harm) != ("pixels.bin", "flip"):  # found by its checksum, when a sweep starts
            with pytest.raises(DamagedStoreError):
                PixelStore.open(store.path)
        with pytest.warns(UserWarning, match="damaged and made again"):
            again = build(root, tmp_path / "cache")
        assert all(torch.equal(again[index], picture) for index, picture in enumerate(expected))

    def test_an_index_with_pickles_is_not_opened(self, picture_folder, tmp_path):
        store = build(picture_folder(FOUR), tmp_path / "cache")
        np.save(store.path / "index.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        seal = json.loads((store.path / "seal.json").read_text())
        seal["index.npy"] = pixels_module.content_digest((store.path / "index.npy").read_bytes())
        (store.path / "seal.json").write_text(json.dumps(seal))
        with pytest.raises(DamagedStoreError, match="allow_pickle"):
            PixelStore.open(store.path)


class TestFingerprint:
    def test_a_copy_elsewhere_is_the_same(self, picture_folder, tmp_path):
        root = picture_folder(FOUR)
        shutil.copytree(root, tmp_path / "copy")  # other path, other times
        first, second = build(root, tmp_path / "one"), build(tmp_path / "copy", tmp_path / "two", short_side=12)
        assert first.fingerprint == second.fingerprint

    def test_it_is_a_fixed_function_of_the_content(self, tmp_path):
        catalog = read_catalog(DataSettings(), base=Path())
        store = build_store(catalog, short_side=8, cache=tmp_path, on_bad_image="error")
        # A change here gives every store and every recorded sweep another fingerprint; it should be meant.
        assert store.fingerprint == "e52cd5866e0102c920ac918ce8add33b39eda917b70c58372701cc92408fa849"

    def test_every_change_of_content_changes_it(self, picture_folder, tmp_path):
        root = picture_folder(FOUR)
        cache = tmp_path / "cache"
        seen = {build(root, cache).fingerprint}

        (root / "train/a/0.png").write_bytes((root / "train/a/1.png").read_bytes())
        seen.add(build(root, cache).fingerprint)  # bytes
        (root / "train/a/0.png").rename(root / "train/a/9.png")
        seen.add(build(root, cache).fingerprint)  # name
        (root / "train/a/9.png").rename(root / "train/b/9.png")
        seen.add(build(root, cache).fingerprint)  # label
        (root / "train/b/9.png").rename(root / "val/b/9.png")
        seen.add(build(root, cache).fingerprint)  # split
        for split in ("train", "val"):
            (root / split / "a").rename(root / split / "aa")
        seen.add(build(root, cache).fingerprint)  # class
        (root / "val/b/9.png").unlink()
        seen.add(build(root, cache).fingerprint)  # one fewer
        seen.add(build(root, cache, color="grey").fingerprint)  # channels
        assert len(seen) == 8

    def test_the_seed_of_a_split_changes_it(self, picture_folder, tmp_path):
        root = picture_folder({"a": 20, "b": 20})
        assert build(root, tmp_path, seed=0).fingerprint != build(root, tmp_path, seed=1).fingerprint

    def test_a_file_changed_at_once_is_noticed(self, picture_folder, tmp_path):
        """Same size, same time of change: a digest is not remembered while the clock could hide a change."""
        root = picture_folder(FOUR)
        path = root / "train/a/0.png"
        before = build(root, tmp_path / "cache").fingerprint
        facts = path.stat()
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert build(root, tmp_path / "cache", on_bad_image="skip").fingerprint != before

    def test_files_that_change_places_are_noticed(self, picture_folder, tmp_path, settled):
        """Of one size and one time of change."""
        root = picture_folder({"train/a": 1, "train/b": 1, "val/a": 1, "val/b": 1}, suffix=".bmp")
        for path in root.rglob("*.bmp"):
            os.utime(path, (1, 1))
        before = build(root, tmp_path / "cache")
        one, other, aside = root / "train/a/0.bmp", root / "train/b/0.bmp", root / "aside"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
        after = build(root, tmp_path / "cache")
        assert after.fingerprint != before.fingerprint
        assert torch.equal(after[after.names.index("train/a/0.bmp")], before[before.names.index("train/b/0.bmp")])

    def test_damaged_digests_are_computed_again(self, picture_folder, tmp_path, settled):
        root = picture_folder(FOUR)
        before = build(root, tmp_path / "cache").fingerprint
        (remembered,) = (tmp_path / "cache" / "digests").glob("*.json")
        for content in ("", "[]", '{"files": {"train/a/0.png": [1]}}', '{"files": 3}', "\x00"):
            remembered.write_text(content)
            assert Digests(tmp_path / "cache", root).known("train/a/0.png") is None
            assert build(root, tmp_path / "cache").fingerprint == before


class TestBadPictures:
    def spoiled(self, picture_folder) -> Path:
        root = picture_folder(FOUR)
        (root / "train/a/0.png").write_bytes(b"")
        (root / "val/b/1.png").write_text("no picture")
        (root / "train/b/gone.jpg").symlink_to(root / "nowhere.jpg")
        return root

    def test_all_are_listed_by_path(self, picture_folder, tmp_path):
        root = self.spoiled(picture_folder)
        for _ in range(2):  # built, then found
            with pytest.raises(UserError) as caught:
                build(root, tmp_path / "cache")
            message = str(caught.value)
            assert message.startswith(
                "data.path: 3 pictures of 11 cannot be read (train/a/0.png: empty file; train/b/gone.jpg: No"
            )
            assert "val/b/1.png: not a picture of a known format" in message
            assert message.endswith("set data.on_bad_image: skip")
            assert "\n" not in message

    def test_they_are_left_out(self, picture_folder, tmp_path):
        store = build(self.spoiled(picture_folder), tmp_path / "cache", on_bad_image="skip")
        assert [name for name, _ in store.skipped] == ["train/a/0.png", "train/b/gone.jpg", "val/b/1.png"]
        assert store.counts() == {"train": {"a": 2, "b": 3}, "val": {"a": 2, "b": 1}}
        assert store.targets.tolist() == [0, 0, 1, 1, 1, 0, 0, 1]

    def test_a_repaired_picture_is_taken(self, picture_folder, tmp_path):
        root = self.spoiled(picture_folder)
        build(root, tmp_path / "cache", on_bad_image="skip")
        Image.new("RGB", (20, 20)).save(root / "nowhere.jpg")
        assert len(build(root, tmp_path / "cache", on_bad_image="skip").skipped) == 2

    def test_many_are_counted(self, picture_folder, tmp_path):
        root = picture_folder({"train/a": 30, "train/b": 2, "val/a": 1, "val/b": 1})
        for number in range(25):
            (root / f"train/a/{number}.png").write_bytes(b"")
        with pytest.raises(UserError, match=r"25 pictures of 34 cannot be read .*; and 15 more\)"):
            build(root, tmp_path / "cache")

    def test_a_class_without_a_readable_picture(self, picture_folder, tmp_path):
        root = picture_folder({"train/a": 3, "train/b": 3, "val/a": 1, "val/b": 1})
        (root / "val/b/0.png").write_bytes(b"")
        with pytest.raises(UserError, match="val: not one picture of class 'b' can be read"):
            build(root, tmp_path / "cache", on_bad_image="skip")

    def test_not_one_readable_picture(self, picture_folder, tmp_path):
        root = picture_folder(FOUR)
        for path in root.rglob("*.png"):
            path.write_bytes(b"")
        with pytest.raises(UserError, match="none of the 10 pictures can be read"):
            build(root, tmp_path / "cache", on_bad_image="skip")
        assert entries(tmp_path / "cache") == []

    def test_a_picture_that_changes_meanwhile(self, picture_folder, tmp_path, monkeypatch):
        root = picture_folder(FOUR)
        monkeypatch.setattr(pixels_module.Digests, "compute", lambda self, name: "0" * 64)
        with pytest.raises(UserError, match="changed while it was read"):
            build(root, tmp_path / "cache")


class TestCache:
    def test_where_it_is(self, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
        monkeypatch.setenv("TUNEYARD_CACHE", "/there")
        assert cache_folder() == Path("/there")
        monkeypatch.delenv("TUNEYARD_CACHE")
        assert cache_folder() == Path("/shared/tuneyard")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == Path.home() / ".cache" / "tuneyard"

    def test_entries_and_clearing(self, picture_folder, tmp_path, settled):
        cache = tmp_path / "cache"
        assert entries(cache) == []
        assert clear(cache) == 0
        root = picture_folder(FOUR)
        store = build(root, cache)
        kinds = {entry.kind: entry for entry in entries(cache)}
        assert set(kinds) == {"digests", "pixels"}
        assert kinds["pixels"].path == store.path
        assert kinds["pixels"].bytes > 10 * 16 * 21 * 3
        assert clear(cache) == sum(entry.bytes for entry in kinds.values())
        assert entries(cache) == []
        assert len(build(root, cache)) == 10

    def test_only_marked_folders_are_cleared(self, tmp_path):
        (tmp_path / "pixels").mkdir()
        (tmp_path / "pixels" / "mine.txt").write_text("x")
        assert entries(tmp_path) == []
        clear(tmp_path)
        assert (tmp_path / "pixels" / "mine.txt").exists()

    def test_what_is_being_built_is_left(self, picture_folder, tmp_path):
        store = build(picture_folder(FOUR), tmp_path)
        with pixels_module.locked(store.path):
            clear(tmp_path)
        assert len(PixelStore.open(store.path)) == 10

    @pytest.mark.parametrize("code", [errno.ENOENT, errno.ENOTEMPTY, errno.EACCES])
    def test_what_others_do_meanwhile_is_no_failure(self, code, tmp_path, monkeypatch):
        for name in ("a", "b"):
            (kind_folder(tmp_path, "features") / name).mkdir()
            (tmp_path / "features" / name / "rows").write_bytes(bytes(10))

        def disturbed(path: Path) -> None:
            if path.name == "a":
                raise OSError(code, os.strerror(code), path)
            rmtree(path)

        rmtree = shutil.rmtree
        monkeypatch.setattr(shutil, "rmtree", disturbed)
        if code == errno.EACCES:
            with pytest.raises(UserError, match="the cache cannot be written"):
                clear(tmp_path)
        else:
            clear(tmp_path)
            assert [entry.path.name for entry in entries(tmp_path)] == ["a"]

    def test_what_goes_while_it_is_measured_counts_for_nothing(self, tmp_path, monkeypatch):
        (tmp_path / "there").write_bytes(bytes(10))
        monkeypatch.setattr(os, "walk", lambda folder: [(folder, [], ["gone", "there"])])
        assert size_of(tmp_path) == 10

    def test_a_cache_that_cannot_be_written(self, picture_folder, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(UserError, match=r"the cache cannot be written \(Not a directory\).*TUNEYARD_CACHE"):
            build(picture_folder(FOUR), tmp_path / "file")

    def test_a_full_disk(self, picture_folder, tmp_path, monkeypatch):
        def full(self, *_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pixels_module.StoreWriter, "add", full)
        with pytest.raises(UserError, match="No space left on device"):
            build(picture_folder(FOUR), tmp_path / "cache")
        assert [entry for entry in entries(tmp_path / "cache") if entry.kind == "pixels"] == []
        assert not list((tmp_path / "cache" / "pixels").glob(".*.partial"))


class TestOrderedMap:
    def test_results_keep_the_order_and_few_wait(self):
        begun = []

        def work(number: int) -> int:
            begun.append(number)
            return number * number

        results = ordered_map(work, range(1000), threads=2)
        assert [next(results) for _ in range(10)] == [number * number for number in range(10)]
        assert len(begun) <= 10 + 4 * 2
        results.close()
        assert len(begun) < 30

    def test_an_error_ends_it(self):
        with pytest.raises(ZeroDivisionError):
            list(ordered_map(lambda number: 1 // number, [1, 0, 1], threads=2))


def test_hymenoptera_with_its_gif(real_data, own_cache):
    catalog = catalog_of(real_data / "hymenoptera_data")
    store = build_store(catalog, short_side=64, cache=own_cache, on_bad_image="error")
    assert (len(store), store.skipped) == (398, [])
    assert {min(store[index].shape[1:]) for index in range(len(store))} == {64}


MEMORY = """
import resource, sys
from pathlib import Path
from trainables.data.parallel import ordered_map
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
catalog = read_catalog(DataSettings(source="folder", path=sys.argv[1]), base=Path())
before = peak()
store = build_store(catalog, short_side=400, cache=Path(sys.argv[2]), on_bad_image="error")
print(peak() - before, (store.path / "pixels.bin").stat().st_size // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux")
def test_building_keeps_memory_flat(picture_folder, tmp_path):
    root = picture_folder({"a": 1, "b": 1}, size=(400, 600), suffix=".jpg")
    for number in range(140):
        for name in "ab":
            (root / name / f"link{number}.jpg").symlink_to(root / name / "0.jpg")
    command = [sys.executable, "-c", MEMORY, str(root), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, written = map(int, done.stdout.split())
    assert written > 180 * 1024  # kB
    assert grown < written / 2
