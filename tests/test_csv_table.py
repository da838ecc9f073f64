"""Pictures listed in a CSV file: the three tasks, the splits, and each mistake with its line."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from trainables.data.catalog import Catalog
from trainables.data.loaders import evaluation_batches, training_batches
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.errors import UserError
from trainables.settings import TrialSettings


@pytest.fixture
def table(tmp_path):
    """Writes a CSV file, with ten small pictures beside it: `pics/0.png` to `pics/9.png`."""
    (tmp_path / "pics").mkdir()
    for number in range(10):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(tmp_path / "pics" / f"{number}.png")

    def write(text: str, *, encoding: str = "utf-8") -> Path:
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def read(path: Path, **settings) -> Catalog:
    return read_catalog(DataSettings(source="csv", path=str(path), **settings), base=Path("/nowhere"))


def rows(*cells: str, header: str = "image,label") -> str:
    return "\n".join([header, *(f"pics/{number}.png,{cell}" for number, cell in enumerate(cells))]) + "\n"


class TestTasks:
    def test_classes(self, table):
        catalog = read(table(rows(*["cat", "dog"] * 5)))
        assert (catalog.task, catalog.classes) == ("classification", ("cat", "dog"))
        assert catalog.counts() == {
            "train": {"cat": 3, "dog": 3},
            "val": {"cat": 1, "dog": 1},
            "test": {"cat": 1, "dog": 1},
        }
        assert catalog.pictures[3].name == "pics/3.png"
        assert catalog.content(3).is_file()

    def test_labels_that_differ_in_case(self, table):
        catalog = read(table(rows(*["cat", "Cat"] * 5)))
        assert catalog.notes == ("classes that differ in upper and lower case only: Cat, cat",)

    def test_whole_numbers_as_classes_are_in_their_order(self, table):
        catalog = read(table(rows(*["10", "2", "-"] * 3)), test=0)
        assert catalog.classes == ("2", "10", "-")

    def test_labels_by_column(self, table, own_cache):
        text = "file,cat,dog\n" + "".join(f"{n}.png,{n % 2},{int(n > 4)}\n" for n in range(10))
        settings = {"task": "multilabel", "image_column": "file", "target_columns": ["cat", "dog"]}
        path = table(text)
        catalog = read(path, root=str(path.parent / "pics"), **settings)
        assert (catalog.task, catalog.classes) == ("multilabel", ("cat", "dog"))
        assert catalog.pictures[7].values == (1.0, 1.0)
        assert _sizes(catalog) == {"train": 7, "val": 2, "test": 1}
        assert sum(numbers["cat"] for numbers in catalog.counts().values()) == 5
        store = build_store(catalog, short_side=8, cache=own_cache, on_bad_image="error")
        assert (store.task, store.classes) == ("multilabel", ("cat", "dog"))
        assert store.targets.dtype == torch.float32
        assert store.targets.tolist() == [[n % 2, int(n > 4)] for n in range(10)]
        assert store.counts() == catalog.counts()

    def test_labels_in_one_cell(self, table):
        catalog = read(table(rows("cat;dog", "", "dog", "cat; bird ", *["bird"] * 6)), task="multilabel")
        assert catalog.classes == ("bird", "cat", "dog")
        assert [picture.values for picture in catalog.pictures[:4]] == [(0, 1, 1), (0, 0, 0), (0, 0, 1), (1, 1, 0)]
        other = read(table(rows("a|b", *["b"] * 9)), task="multilabel", separator="|")
        assert other.classes == ("a", "b")

    def test_numbers(self, table, own_cache):
        text = "image,age,height\n" + "".join(f"pics/{n}.png,{n / 2},-1e{n % 3}\n" for n in range(10))
        catalog = read(table(text), task="regression", target_columns=["age", "height"])
        assert (catalog.task, catalog.classes) == ("regression", ("age", "height"))
        assert catalog.counts() == {"train": {"pictures": 7}, "val": {"pictures": 2}, "test": {"pictures": 1}}
        store = build_store(catalog, short_side=8, cache=own_cache, on_bad_image="error")
        assert store.targets[5].tolist() == [2.5, -100.0]
        settings = TrialSettings(image_size=8, batch_size=4, center_crop=1.0)
        found = [targets for _, targets in training_batches(store, settings=settings, data_seed=0, epoch=1)]
        assert [tuple(targets.shape) for targets in found] == [(4, 2), (3, 2)]
        found = [targets for _, targets in evaluation_batches(store, "val", settings=settings, batch_size=4)]
        assert torch.equal(found[0], store.targets[store.indices("val")])

    def test_the_targets_are_in_the_fingerprint(self, table, own_cache):
        texts = [rows(*map(str, range(10))), rows(*map(str, range(1, 11)))]
        stores = [
            build_store(read(table(text), task="regression"), short_side=8, cache=own_cache, on_bad_image="error")
            for text in texts
        ]
        assert stores[0].fingerprint != stores[1].fingerprint
        assert stores[1].targets[0].item() == 1.0


class TestFiles:
    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    def test_separators_encodings_and_line_ends(self, table, separator, encoding, newline):
        text = rows(*["größe", "dog"] * 5).replace(",", separator).replace("\n", newline)
        assert read(table(text, encoding=encoding)).classes == ("dog", "größe")

    def test_quotes_and_empty_lines(self, table):
        text = 'label,image\n"a, b",pics/1.png\n\n"c\nd",pics/2.png\n' + "".join(
            f'"{"a, b" if n % 2 else "c" + chr(10) + "d"}",pics/{n}.png\n' for n in range(3, 9)
        )
        assert read(table(text), test=0).classes == ("a, b", "c\nd")

    def test_pictures_named_without_their_extension(self, table):
        text = rows(*["cat", "dog"] * 5).replace(".png", "")
        assert read(table(text)).pictures[4].name == "pics/4.png"

    def test_a_path_from_the_root_of_the_machine(self, table):
        path = table("")
        text = rows(*["cat", "dog"] * 5).replace("pics/", f"{path.parent}/pics/")
        catalog = read(table(text))
        assert catalog.content(0) == path.parent / "pics/0.png"
        assert [picture.name for picture in catalog.pictures] == [f"pics/{n}.png" for n in range(10)]
        assert catalog.notes == ()

    def test_such_a_path_by_way_of_a_link(self, table, tmp_path):
        text = rows(*["cat", "dog"] * 5).replace("pics/", f"{tmp_path}/pics/")
        table(text)
        (tmp_path / "link").symlink_to(tmp_path)
        catalog = read(tmp_path / "link" / "labels.csv")
        assert catalog.pictures[0].name == "pics/0.png"
        assert catalog.content(0).is_file()

    def test_pictures_outside_the_root_are_told_of(self, table, tmp_path):
        text = rows(*["cat", "dog"] * 5).replace("pics/", f"{tmp_path}/pics/")
        (tmp_path / "other").mkdir()
        catalog = read(table(text), root=str(tmp_path / "other"))
        assert catalog.content(0) == tmp_path / "pics/0.png"
        assert catalog.notes == (
            f"pictures not below {tmp_path}/other keep their whole paths, also in an exported model"
            f" ({tmp_path}/pics/0.png, {tmp_path}/pics/1.png and 8 more); data.root may be a folder above them",
        )

    @pytest.mark.parametrize("again", ["pics/../pics/0.png", "./pics//0.png", "FOLDER/pics/0.png"])
    def test_one_picture_in_two_words(self, table, again):
        again = again.replace("FOLDER", str(table("").parent))
        path = table(rows("cat", "dog") + f"{again},cat\n")
        with pytest.raises(UserError, match=rf"^{path}:4: the picture of line 2 again: got '.*pics/0.png'$"):
            read(path)


class TestSplits:
    def test_by_column(self, table):
        lines = ["cat,train", "dog,Train", "cat,valid", "dog,val", "cat,test", "dog,test"]
        catalog = read(table(rows(*lines, header="image,label,part")), split_column="part")
        assert [picture.split for picture in catalog.pictures] == ["train", "train", "val", "val", "test", "test"]
        assert catalog.notes == ()

    def test_without_validation_it_is_split_off(self, table):
        lines = [*["cat,train", "dog,train"] * 4, "cat,test", "dog,test"]
        catalog = read(table(rows(*lines, header="image,label,part")), split_column="part", val=0.25)
        assert _sizes(catalog) == {"train": 6, "val": 2, "test": 2}
        assert catalog.notes == (
            "no picture is given for validation: 0.25 of those for training are kept for it (data.val)",
        )

    def test_limit(self, table):
        catalog = read(table(rows(*["cat", "dog"] * 5)), limit=2, test=0)
        assert catalog.counts() == {"train": {"cat": 1, "dog": 1}, "val": {"cat": 1, "dog": 1}}


def _sizes(catalog: Catalog) -> dict[str, int]:
    splits = [picture.split for picture in catalog.pictures]
    return {split: splits.count(split) for split in ("train", "val", "test") if split in splits}


GOOD = [*["cat", "dog"] * 4]
# name, the file, settings, the message with PATH for the file and FOLDER for its folder
BROKEN = [
    ("empty", "", {}, "data.path: the file is empty: got 'PATH'"),
    ("only a header", "image,label\n", {}, "data.path: no pictures: only a header: got 'PATH'"),
    (
        "no image column",
        rows(*GOOD, header="file,label"),
        {},
        "data.image_column: no such column in PATH: got 'image', expected one of file, label",
    ),
    (
        "no target column",
        rows(*GOOD, header="image,class"),
        {},
        "data.target_columns: no such column in PATH: got 'label', expected one of image, class",
    ),
    (
        "no split column",
        rows(*GOOD),
        {"split_column": "part"},
        "data.split_column: no such column in PATH: got 'part', expected one of image, label",
    ),
    (
        "two columns of a name",
        rows(*[f"{word},x" for word in GOOD], header="image,label,label"),
        {},
        "data.target_columns: more than one such column in PATH: got 'label', expected one of image, label, label",
    ),
    ("no label", rows("cat", "", *GOOD[2:]), {}, "PATH:3: nothing in 'label'"),
    (
        "no such file",
        rows(*GOOD).replace("pics/4.png", "pics/none.png"),
        {},
        "PATH:6: no such picture: got 'pics/none.png'; paths are seen from FOLDER (data.root)",
    ),
    ("no file's name", "image,label\n,cat\n", {}, "PATH:2: no picture in 'image'"),
    ("a picture twice", rows(*GOOD) + "pics/1.png,dog\n", {}, "PATH:10: the picture of line 3 again: got 'pics/1.png'"),
    (
        "too many cells",
        rows("cat", "dog,dog"),
        {},
        "PATH:3: 3 cells: expected 2, as in the header",
    ),
    ("one class", rows("cat", "cat", "cat"), {}, "data.target_columns: only one class: cat: got 'label'"),
    (
        "several columns for classes",
        rows(*[f"{word},x" for word in GOOD], header="image,a,b"),
        {"target_columns": ["a", "b"]},
        "data.target_columns: classification has one target column: got ['a', 'b']; several are for data.task:"
        " multilabel or regression",
    ),
    (
        "a half",
        rows(*["0,1"] * 3, "0.5,1", header="image,a,b"),
        {"task": "multilabel", "target_columns": ["a", "b"]},
        "PATH:5: 'a' does not say whether the label applies: got '0.5', expected 0 or 1",
    ),
    (
        "one label only",
        rows(*["cat"] * 8),
        {"task": "multilabel"},
        "data.target_columns: fewer than two labels (cat) parted by ';': got 'label'; data.separator says what parts"
        " them",
    ),
    (
        "an empty label",
        rows("cat;dog", "cat;;dog"),
        {"task": "multilabel"},
        "PATH:3: an empty label: got 'cat;;dog', expected labels parted by ;",
    ),
    (
        "a label twice",
        rows("cat;dog", "cat;cat"),
        {"task": "multilabel"},
        "PATH:3: a label twice: got 'cat;cat', expected labels parted by ;",
    ),
    (
        "a word for a number",
        rows("1", "2", "tall"),
        {"task": "regression"},
        "PATH:4: 'label' is no number: got 'tall', expected a finite number such as 3.5",
    ),
    (
        "not a number",
        rows("1", "nan"),
        {"task": "regression"},
        "PATH:3: 'label' is no number: got 'nan', expected a finite number such as 3.5",
    ),
    (
        "a split that is none",
        rows("cat,train", "dog,dev", header="image,label,part"),
        {"split_column": "part"},
        "PATH:3: no such split in 'part': got 'dev', expected one of train, val, test",
    ),
    (
        "nothing to train on",
        rows("cat,val", "dog,val", header="image,label,part"),
        {"split_column": "part"},
        "data.split_column: no picture is for training: got 'PATH'",
    ),
    (
        "a class that is not trained",
        rows("cat,train", "cow,train", "dog,val", header="image,label,part"),
        {"split_column": "part"},
        "PATH:4: class 'dog' has no picture for training",
    ),
    (
        "a quote left open",
        'image,label\n"pics/1.png,cat\n',
        {},
        "data.path: not a CSV file (unexpected end of data): got 'PATH'",
    ),
    (
        "no such root",
        rows(*GOOD),
        {"root": "/nowhere/at/all"},
        "data.root: no such folder: got '/nowhere/at/all'",
    ),
    (
        "too few for three splits",
        rows(*map(str, range(2))),
        {"task": "regression"},
        "data.path: too few pictures to split: got 2, expected at least 3; add pictures, or say the splits"
        " in a column (data.split_column); data.test: 0 needs one less",
    ),
    (
        "a label mistyped",
        rows("catt", *["cat"] * 9),
        {},
        "data.path: class 'catt' has too few pictures to split: got 1, expected at least 3; add pictures, or say the"
        " splits in a column (data.split_column); data.test: 0 needs one less",
    ),
]


@pytest.mark.parametrize(
    ("text", "settings", "message"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN]
)
def test_a_mistake_is_told_in_one_line(table, text, settings, message):
    path = table(text)
    with pytest.raises(UserError) as caught:
        read(path, **settings)
    assert str(caught.value) == message.replace("PATH", str(path)).replace("FOLDER", str(path.parent))


def test_what_is_not_utf_8(table):
    path = table(rows("größe"), encoding="latin-1")
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == f"data.path: not UTF-8 text: got '{path}'; save it as CSV UTF-8"


def test_no_such_file(tmp_path):
    with pytest.raises(
        UserError, match=r"^data\.path: cannot be read \(No such file or directory\): got '.*/none.csv'$"
    ):
        read(tmp_path / "none.csv")
