"""One folder with the class in each file's name: patterns, splits, and what is said of names that do not fit."""

from pathlib import Path

import pytest
from PIL import Image

from trainables.data.catalog import Catalog
from trainables.data.flat import compiled
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.errors import UserError


@pytest.fixture
def flat(tmp_path):
    def make(*names: str) -> Path:
        root = tmp_path / "flat"
        root.mkdir(exist_ok=True)
        for number, name in enumerate(names):
            Image.new("RGB", (8, 8), (number % 256, 0, 0)).save(root / name)
        return root

    return make


def read(root: Path, **settings) -> Catalog:
    return read_catalog(DataSettings(source="flat", path=str(root), **settings), base=Path("/nowhere"))


def error_of(root: Path, **settings) -> str:
    with pytest.raises(UserError) as caught:
        read(root, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cats_and_dogs(count: int = 10) -> list[str]:
    return [f"{name}.{number}.png" for name in ("cat", "dog") for number in range(count)]


@pytest.mark.parametrize(
    ("pattern", "name", "label"),
    [
        ("<label>.*", "cat.17.jpg", "cat"),
        ("<label>_<number>.*", "great_dane_12.jpg", "great_dane"),
        ("*-<label>.png", "a-7-cat.png", "cat"),
        ("IMG<number> (<label>).jpg", "IMG0042 (wild boar).jpg", "wild boar"),
        ("<label><number>.*", "cat17.jpg", "cat"),
        ("<label>.*", "Ω+.1.png", "Ω+"),
        ("<label>_<number>.*", "cat_x.jpg", None),
        ("<label>.*", "cat", None),
        ("[<label>].*", "[cat].1.jpg", "cat"),
        ("[<label>].*", "c.1.jpg", None),
    ],
)
def test_a_pattern_takes_the_label_out_of_a_name(pattern, name, label):
    match = compiled(pattern).fullmatch(name)
    assert (match and match["label"]) == label


def test_each_class_gives_its_share(flat):
    catalog = read(flat(*cats_and_dogs(20)), val=0.2, test=0.1)
    assert catalog.counts() == {
        "train": {"cat": 14, "dog": 14},
        "val": {"cat": 4, "dog": 4},
        "test": {"cat": 2, "dog": 2},
    }
    assert catalog.classes == ("cat", "dog")
    assert {picture.name.split(".")[0] for picture in catalog.pictures if picture.label == 1} == {"dog"}
    assert catalog.notes == ()
    other = read(flat(*cats_and_dogs(20)), seed=1)
    assert [picture.split for picture in other.pictures] != [picture.split for picture in catalog.pictures]


def test_what_is_beside_the_pictures_is_told(flat):
    root = flat(*cats_and_dogs(), "Cat.1.png")
    flat("Cat.2.png", "Cat.3.png", "Cat.4.png")
    (root / "more").mkdir()
    (root / "labels.txt").write_text("")
    (root / ".hidden.png").write_text("")
    assert read(root).notes == (
        "not used, in the folder beside the pictures: labels.txt, more",
        "classes that differ in upper and lower case only: Cat, cat",
    )


def test_a_name_that_does_not_fit(flat):
    root = flat(*cats_and_dogs(), "holiday.png", "me.png")
    message = error_of(root, pattern="<label>.<number>.png")
    assert message == (
        "data.pattern: 2 of 22 pictures do not fit the pattern (holiday.png, me.png): got '<label>.<number>.png';"
        " change the pattern, or move them elsewhere"
    )


def test_one_class(flat):
    assert error_of(flat("cat.1.png", "cat.2.png", "cat.3.png", "cat.4.png")) == (
        "data.pattern: only one class, 'cat', in the names of 4 pictures (cat.1.png, cat.2.png, cat.3.png and 1 more):"
        " got '<label>.*', expected two or more different labels"
    )


@pytest.mark.parametrize("pattern", ["*.jpg", "<label>_<label>.*", ""])
def test_a_pattern_without_the_label_or_with_two(flat, pattern):
    assert error_of(flat("cat.1.png"), pattern=pattern) == (
        f"data.pattern: it must have <label> once: got {pattern!r}, expected a name with <label>, and <number> or * for"
        " the rest, such as <label>.*"
    )


def test_a_place_that_is_none(flat):
    assert error_of(flat("cat.1.png"), pattern="<class>.*").startswith(
        "data.pattern: no place called <class>: got '<class>.*', expected a name with <label>"
    )


def test_no_pictures(flat):
    root = flat()
    assert error_of(root) == f"data.path: no pictures in this folder: got '{root}'"
    (root / "ants").mkdir()
    assert error_of(root).endswith("; it has folders (ants): set data.source: folder")
    assert "no such folder" in error_of(root / "nothing")


def test_too_few_of_a_class(flat):
    told = error_of(flat("cat.1.png", "cat.2.png", "dog.1.png"))
    assert "class 'cat' has too few pictures to split: got 2" in told
    assert "say with data.pattern where the class stands in a name (now <label>.*)" in told


def test_cats_and_dogs(real_data, own_cache):
    catalog = read(real_data / "dogsandcats", limit=40)
    assert {split: sum(numbers.values()) for split, numbers in catalog.counts().items()} == {
        "train": 40,
        "val": 11,
        "test": 6,
    }
    store = build_store(catalog, short_side=64, cache=own_cache, on_bad_image="error")
    assert store.classes == ("cat", "dog")
    assert store.targets[store.indices("train")].tolist().count(1) == 20


def test_a_message_has_nothing_that_a_terminal_acts_on(flat):
    root = flat(*cats_and_dogs(), "\x1b[31mred.png", "line\nbreak.png")
    assert "2 of 22 pictures do not fit the pattern (\\x1b[31mred.png, line break.png)" in error_of(
        root, pattern="<label>.<number>.png"
    )
