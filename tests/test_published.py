"""torchvision's sets: the table against torchvision itself, files of every format, and files that are not whole."""

import gzip
import hashlib
import pickle
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import scipy.io
from torchvision import datasets

from trainables.data import published
from trainables.data.catalog import Catalog
from trainables.data.pixels import build_store
from trainables.data.published_sets import SETS
from trainables.data.sources import DataSettings, Published, read_catalog
from trainables.errors import UserError

RAW = "FashionMNIST/raw"


def read(root: Path, source: str = "fashion_mnist", **settings) -> Catalog:
    settings = {"download": False, "val": 0.25, **settings}
    return read_catalog(DataSettings(source=source, path=str(root), **settings), base=Path("/nowhere"))


def error_of(root: Path, **settings) -> str:
    with pytest.raises(UserError) as caught:
        read(root, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def idx(array: np.ndarray) -> bytes:
    kind, values = (0x0C, array.astype(">i4")) if array.dtype != np.uint8 else (0x08, array)
    head = bytes([0, 0, kind, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape)
    return head + values.tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def grey(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    pictures = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return pictures, np.arange(count, dtype=np.uint8) % 10


@pytest.fixture
def small_set(tmp_path, monkeypatch):
    """A FashionMNIST of 40 and 20 pictures, gzipped; its checksums are those that count."""
    root = tmp_path / "sets"
    (root / RAW).mkdir(parents=True)
    files = {}
    for part, (pictures, labels) in {"train": grey(40, 0), "test": grey(20, 1)}.items():
        listed = []
        for file, array in zip(SETS["fashion_mnist"].files[part], (pictures, labels), strict=True):
            content = gzip.compress(idx(array), mtime=0)
            (root / file.path).write_bytes(content)
            listed.append(replace(file, checksum=md5(content)))
        files[part] = tuple(listed)
    monkeypatch.setitem(SETS, "fashion_mnist", replace(SETS["fashion_mnist"], files=files))
    return root


class TestTable:
    def test_settings_and_table_agree(self):
        assert get_args(Published) == tuple(SETS)

    @pytest.mark.parametrize("name", SETS)
    def test_it_is_torchvisions(self, name):
        facts = SETS[name]
        dataset = getattr(datasets, facts.dataset)
        assert issubclass(dataset, datasets.VisionDataset)
        assert len(set(facts.classes)) == len(facts.classes)
        if facts.dataset == "EMNIST":
            theirs = dataset.classes_split_dict[facts.options("train")["split"]]
            assert list(facts.classes) == theirs[facts.first_label :]
        elif hasattr(dataset, "classes"):
            assert list(facts.classes) == dataset.classes
        assert (facts.files is not None) == issubclass(dataset, datasets.MNIST)

    @pytest.mark.parametrize("name", [name for name, facts in SETS.items() if facts.files])
    def test_the_files_are_torchvisions(self, name):
        facts = SETS[name]
        dataset = getattr(datasets, facts.dataset)
        for part, files in facts.files.items():
            ours = [(Path(file.path).name, file.checksum) for file in files]
            if facts.dataset == "EMNIST":  # of which torchvision knows the checksum of the whole archive only
                prefix = f"emnist-{facts.options(part)['split']}-{part}"
                assert ours == [(f"{prefix}-images-idx3-ubyte.gz", None), (f"{prefix}-labels-idx1-ubyte.gz", None)]
                continue
            theirs = dataset.resources
            if isinstance(theirs, dict):
                theirs = [(url.rpartition("/")[2], checksum) for url, checksum in theirs[part]]
            else:
                theirs = theirs[:2] if part == "train" else theirs[2:]
            assert ours == theirs

    @pytest.mark.parametrize("name", [name for name, facts in SETS.items() if not facts.files])
    @pytest.mark.parametrize("part", ["train", "test"])
    def test_the_others_have_files_with_checksums(self, name, part):
        files = published.listed(SETS[name], part)
        assert files
        assert all(len(file.checksum) == 32 for file in files)


class TestSplits:
    def test_the_official_test_set_is_the_final_test(self, small_set):
        catalog = read(small_set)
        counts = catalog.counts()
        assert {split: sum(numbers.values()) for split, numbers in counts.items()} == {
            "train": 30,
            "val": 10,
            "test": 20,
        }
        assert set(counts["val"].values()) == {1}
        assert (catalog.channels, catalog.classes[9]) == (1, "Ankle boot")
        assert catalog.pictures[41].name == "fashion_mnist/test/1"
        assert np.array_equal(catalog.content(41), grey(20, 1)[0][1])

    def test_or_what_is_validated_on(self, small_set):
        catalog = read(small_set, official_test="val")
        assert {split: sum(n.values()) for split, n in catalog.counts().items()} == {"train": 40, "val": 20}

    def test_a_part_of_it(self, small_set):
        catalog = read(small_set, official_test="val", limit=20)
        assert {split: set(n.values()) for split, n in catalog.counts().items()} == {"train": {2}, "val": {1}}
        assert catalog.notes == ("20 of 40 training pictures are used (data.limit)",)
        whole = read(small_set)
        names = {picture.name: index for index, picture in enumerate(whole.pictures)}
        for index, picture in enumerate(catalog.pictures):
            assert np.array_equal(catalog.content(index), whole.content(names[picture.name]))
        fewer = {picture.name for picture in read(small_set, official_test="val", limit=10).pictures}
        assert fewer < {picture.name for picture in catalog.pictures}

    def test_fewer_than_there_are_classes(self, small_set):
        message = "data.limit: fewer training pictures than there are classes: got 9, expected at least 10"
        assert error_of(small_set, limit=9) == message

    def test_in_colour(self, small_set, own_cache):
        store = build_store(read(small_set, color="rgb"), short_side=28, cache=own_cache, on_bad_image="error")
        assert store[0].shape == (3, 28, 28)

    @pytest.mark.parametrize("below", ["", "FashionMNIST", RAW])
    def test_the_folder_may_be_any_of_torchvisions(self, small_set, below):
        assert len(read(small_set / below).pictures) == 60

    def test_unzipped_files_do_as_well(self, small_set):
        gzipped = read(small_set)
        for path in (small_set / RAW).iterdir():
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
        assert np.array_equal(read(small_set).arrays, gzipped.arrays)


class TestBrokenFiles:
    def images(self, root: Path) -> Path:
        return root / RAW / "t10k-images-idx3-ubyte.gz"

    def test_missing(self, small_set):
        self.images(small_set).unlink()
        assert error_of(small_set) == (
            f"data.path: {RAW}/t10k-images-idx3-ubyte.gz is missing: got '{small_set}'; put torchvision's files of"
            " FashionMNIST there, or set data.path to the folder that has them, or data.download: true"
        )
        assert error_of(small_set / "none").startswith("data.path: no such folder: got ")

    def test_missing_and_offline(self, small_set, monkeypatch):
        def offline(*_, **__):
            raise RuntimeError("Error downloading x:\nTried y, got:\n<urlopen error no way out>\n")

        monkeypatch.setattr(datasets.FashionMNIST, "__init__", offline)
        self.images(small_set).unlink()
        assert error_of(small_set, download=True) == (
            f"data.path: {RAW}/t10k-images-idx3-ubyte.gz is missing and cannot be downloaded (<urlopen error no way"
            f" out>): got '{small_set}'; put torchvision's files of FashionMNIST there, or set data.path to the folder"
            " that has them"
        )

    def test_downloaded_to_the_cache(self, small_set, monkeypatch, tmp_path):
        asked = []

        def fetched(self, root, *, download, train):
            asked.append(train)
            (Path(root) / "FashionMNIST").mkdir(exist_ok=True)
            if not (Path(root) / RAW).exists():
                (small_set / RAW).rename(Path(root) / RAW)

        monkeypatch.setattr(datasets.FashionMNIST, "__init__", fetched)
        monkeypatch.setenv("TUNEYARD_CACHE", str(tmp_path / "cache"))
        catalog = read_catalog(DataSettings(source="fashion_mnist"), base=Path("/nowhere"))
        assert catalog.root == tmp_path / "cache" / "datasets"
        assert len(catalog.pictures) == 60
        assert asked

    def test_a_truncated_gzip_file(self, small_set):
        path = self.images(small_set)
        path.write_bytes(path.read_bytes()[:-100])
        assert error_of(small_set) == f"{path}: truncated file; remove it and fetch it again"

    def test_no_gzip_file(self, small_set):
        path = self.images(small_set)
        path.write_bytes(b"<html>not found</html>")
        assert error_of(small_set).startswith(f"{path}: not a whole gzip file (Not a gzipped file")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda whole: whole[:-5], "truncated file: got '15,691 bytes', expected 15,696 bytes"),
            (lambda whole: whole[:10], "truncated file: got '10 bytes', expected 17 bytes"),
            (lambda whole: whole + b"x", "too long: got '15,697 bytes', expected 15,696 bytes"),
            (lambda whole: b"\0\0\x08\x01" + whole[4:], "wrong magic number: got '0x00000801', expected 0x00000803"),
            (lambda whole: b"", "wrong magic number: got '0x', expected 0x00000803"),
        ],
        ids=["cut", "cut in the head", "too long", "magic", "empty"],
    )
    def test_an_array_that_is_not_whole(self, small_set, change, message):
        path = self.images(small_set)
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
        assert error_of(small_set) == f"{path}: {message}; remove it and fetch it again"

    def test_another_file_of_the_same_kind(self, small_set):
        path = self.images(small_set)
        pictures, _ = grey(20, 2)
        content = gzip.compress(idx(pictures), mtime=0)
        path.write_bytes(content)
        assert error_of(small_set) == (
            f"{path}: not the file that was published: wrong MD5 checksum: got '{md5(content)}', expected"
            f" {SETS['fashion_mnist'].files['test'][0].checksum}; remove it and fetch it again"
        )

    @pytest.mark.parametrize("labels", [np.full(20, 10, dtype=np.uint8), np.zeros(19, dtype=np.uint8)])
    def test_labels_that_do_not_fit(self, small_set, labels):
        (small_set / RAW / "t10k-labels-idx1-ubyte.gz").unlink()
        (small_set / RAW / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
        assert error_of(small_set) == (
            f"{self.images(small_set)}: 20 pictures and {len(labels)} labels do not fit together: expected a label from"
            " 0 to 9 for each picture"
        )


class TestOtherFormats:
    def test_qmnist_takes_the_first_of_its_columns(self, tmp_path):
        raw = tmp_path / "QMNIST" / "raw"
        raw.mkdir(parents=True)
        for part in ("train", "test"):
            pictures, labels = grey(40, 3)
            (raw / f"qmnist-{part}-images-idx3-ubyte").write_bytes(idx(pictures))
            (raw / f"qmnist-{part}-labels-idx2-int").write_bytes(
                idx(np.stack([labels.astype(int)] + [labels * 0 + 7] * 7, 1))
            )
        catalog = read(tmp_path, "qmnist")
        assert [picture.label for picture in catalog.pictures[:12]] == [*range(10), 0, 1]

    def test_emnist_is_turned_upright(self, tmp_path):
        raw = tmp_path / "EMNIST" / "raw"
        raw.mkdir(parents=True)
        pictures, _ = grey(52, 4)
        labels = np.arange(52, dtype=np.uint8) % 26 + 1
        for part in ("train", "test"):
            (raw / f"emnist-letters-{part}-images-idx3-ubyte").write_bytes(idx(pictures))
            (raw / f"emnist-letters-{part}-labels-idx1-ubyte").write_bytes(idx(labels))
        catalog = read(tmp_path, "emnist_letters", val=0.4)
        assert catalog.classes[catalog.pictures[1].label] == "b"
        assert np.array_equal(catalog.content(1), pictures[1].T)

    @pytest.mark.parametrize(("source", "key"), [("cifar10", "labels"), ("cifar100", "fine_labels")])
    @pytest.mark.parametrize("place", ["", "base", "elsewhere"])
    def test_cifar(self, tmp_path, monkeypatch, source, key, place):
        """In torchvision's folder, the folder itself, and one of another name."""
        dataset = getattr(datasets, SETS[source].dataset)
        folder = tmp_path / ("elsewhere" if place == "elsewhere" else dataset.base_folder)
        folder.mkdir()
        count = 2 * len(SETS[source].classes)
        data = np.random.default_rng(0).integers(0, 256, (count, 3072), dtype=np.uint8)
        content = pickle.dumps({"data": data, key: [n % (count // 2) for n in range(count)]})
        meta = pickle.dumps({dataset.meta["key"]: list(SETS[source].classes)})
        for name in ("train_batch", "test_batch"):
            (folder / name).write_bytes(content)
        (folder / "names").write_bytes(meta)
        monkeypatch.setattr(dataset, "train_list", [["train_batch", md5(content)]])
        monkeypatch.setattr(dataset, "test_list", [["test_batch", md5(content)]])
        monkeypatch.setattr(dataset, "meta", {**dataset.meta, "filename": "names", "md5": md5(meta)})
        root = folder if place else tmp_path
        catalog = read(root, source)
        assert catalog.channels == 3
        assert np.array_equal(catalog.content(5), data[5].reshape(3, 32, 32).transpose(1, 2, 0))

        class Bomb:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "opened",))

        (folder / "train_batch").write_bytes(pickle.dumps(Bomb()))
        assert "wrong MD5 checksum" in error_of(root, source=source)
        assert not (tmp_path / "opened").exists()

        (folder / "test_batch").rename(tmp_path / "test_batch")  # torchvision would not find it there
        assert "_batch is missing" in error_of(root, source=source)
        assert "_batch is missing" in error_of(tmp_path, source=source)

    def test_svhn(self, tmp_path, monkeypatch):
        data = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
        scipy.io.savemat(tmp_path / "one.mat", {"X": data, "y": np.arange(20).reshape(-1, 1) % 10 + 1})
        file = ["", "one.mat", md5((tmp_path / "one.mat").read_bytes())]
        monkeypatch.setattr(datasets.SVHN, "split_list", {"train": file, "test": file})
        catalog = read(tmp_path, "svhn")
        assert np.array_equal(catalog.content(7), data[..., 7])
        assert [picture.label for picture in catalog.pictures[7:11]] == [8, 9, 0, 1]

    @pytest.mark.parametrize("flat", [False, True])
    def test_stl10(self, tmp_path, monkeypatch, flat):
        folder = tmp_path if flat else tmp_path / datasets.STL10.base_folder
        folder.mkdir(exist_ok=True)
        data = np.random.default_rng(0).integers(0, 256, (20, 3, 96, 96), dtype=np.uint8)
        contents = {"X.bin": data.tobytes(), "y.bin": bytes([n % 10 + 1 for n in range(20)]), "unlabeled.bin": b""}
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        files = [[name, md5(content)] for name, content in contents.items()]
        monkeypatch.setattr(datasets.STL10, "train_list", files)
        monkeypatch.setattr(datasets.STL10, "test_list", files[:2])
        catalog = read(tmp_path, "stl10")
        assert np.array_equal(catalog.content(3), data[3].transpose(2, 1, 0))
        assert [picture.label for picture in catalog.pictures[9:12]] == [9, 0, 1]

    def test_usps(self, tmp_path, monkeypatch):
        import bz2

        lines = [f"{n % 10 + 1} " + " ".join(f"{k}:{-1 + 2 * (k % 2)}" for k in range(1, 257)) for n in range(20)]
        content = bz2.compress("\n".join(lines).encode())
        (tmp_path / "usps.bz2").write_bytes(content)
        file = ["", "usps.bz2", md5(content)]
        monkeypatch.setattr(datasets.USPS, "split_list", {"train": file, "test": file})
        catalog = read(tmp_path, "usps")
        assert catalog.content(0)[0, :4].tolist() == [255, 0, 255, 0]
        assert catalog.pictures[12].label == 2


def test_fashion_mnist(real_data, own_cache):
    catalog = read(real_data / "fashion_mnist", limit=1000)
    assert {split: sum(n.values()) for split, n in catalog.counts().items()} == {"train": 1000, "val": 333, "test": 222}
    assert set(catalog.counts()["train"].values()) == {100}
    theirs = gzip.decompress((real_data / "fashion_mnist" / RAW / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    first = catalog.pictures[0]
    start = 784 * int(first.name.rpartition("/")[2])
    assert catalog.content(0).tobytes() == theirs[start : start + 784]
    store = build_store(catalog, short_side=28, cache=own_cache, on_bad_image="error")
    assert (store.mean[0], store.std[0]) == pytest.approx((0.286, 0.353), abs=0.01)


def test_reading_idx_files_imports_no_torch(tmp_path):
    """A report looks up single pictures in a set, and should not wait for torch."""
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "test"):
        pictures, labels = grey(40, 5)
        (raw / f"emnist-digits-{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pictures)))
        (raw / f"emnist-digits-{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    code = (
        "import sys; from pathlib import Path; from trainables.data.sources import *\n"
        f"catalog = read_catalog(DataSettings(source='emnist_digits', path={str(tmp_path)!r}), base=Path())\n"
        "print(len(catalog.pictures), *{'torch', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["80"]
