"""What is known of the published sets of small pictures that torchvision can fetch: their classes and their parts.

    SETS["fashion_mnist"].classes[9]              # "Ankle boot"
    SETS["svhn"].options("test")                  # {"split": "test"}: how torchvision is asked for its test pictures

The tests compare this with torchvision's own. Importing this module imports no torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any, Literal

Part = Literal["train", "test"]
PARTS: tuple[Part, ...] = ("train", "test")
DIGITS = tuple("0123456789")
LOWER = tuple("abcdefghijklmnopqrstuvwxyz")
UPPER = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class Listed:
    """A file of a set: where torchvision has it below its root, and its MD5, where that was published."""

    path: str
    checksum: str | None = None

    def place(self, root: Path) -> Path | None:
        """The file, as it is or unzipped, in torchvision's folders or without them; `None` where it is missing."""
        whole = PurePosixPath(self.path)
        for below in (whole, PurePosixPath(*whole.parts[1:]), PurePosixPath(whole.name)):
            for candidate in (root / below, root / below.with_suffix("")):  # all of them end in .gz
                if candidate.is_file():
                    return candidate
        return None


@dataclass(frozen=True, kw_only=True)
class PublishedSet:
    """What is known of a set. `options` are torchvision's for one part of it.

    `files` are the pictures and the labels of each part of a set in IDX files, gzipped; None for a set in others.
    """

    dataset: str  # torchvision's class
    channels: int
    classes: tuple[str, ...]
    options: Callable[[Part], dict[str, Any]] = lambda part: {"train": part == "train"}
    first_label: int = 0  # what the files call the first class
    upright: bool = True  # else rows and columns are exchanged in the files
    files: Mapping[Part, tuple[Listed, Listed]] | None = None


def _split(part: Part) -> dict[str, Any]:
    return {"split": part}


def _mnist(dataset: str, classes: tuple[str, ...], *checksums: str) -> PublishedSet:
    """One of MNIST's kin, all of which name their files alike."""
    files = [
        Listed(f"{dataset}/raw/{part}-{kind}-ubyte.gz", checksum)
        for (part, kind), checksum in zip(
            product(("train", "t10k"), ("images-idx3", "labels-idx1")), checksums, strict=True
        )
    ]
    pairs: dict[Part, tuple[Listed, Listed]] = {"train": (files[0], files[1]), "test": (files[2], files[3])}
    return PublishedSet(dataset=dataset, channels=1, classes=classes, files=pairs)


def _emnist(split: str, classes: tuple[str, ...], *, first_label: int = 0) -> PublishedSet:
    stem = f"EMNIST/raw/emnist-{split}"
    return PublishedSet(
        files={
            part: (Listed(f"{stem}-{part}-images-idx3-ubyte.gz"), Listed(f"{stem}-{part}-labels-idx1-ubyte.gz"))
            for part in PARTS
        },
        dataset="EMNIST",
        channels=1,
        classes=classes,
        options=lambda part: {"split": split, "train": part == "train"},
        first_label=first_label,
        upright=False,
    )


# Letters that EMNIST takes together with their capitals.
_MERGED = tuple(sorted({*DIGITS, *UPPER, *LOWER} - set("cijklmopsuvwxyz")))
_DIGIT_WORDS = tuple(
    f"{digit} - {word}"
    for digit, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
)

# fmt: off
SETS: dict[str, PublishedSet] = {
    "mnist": _mnist(
        "MNIST", _DIGIT_WORDS,
        "f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion_mnist": _mnist(
        "FashionMNIST",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "kmnist": _mnist(
        "KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134",
    ),
    "qmnist": PublishedSet(dataset="QMNIST", channels=1, classes=_DIGIT_WORDS, files={
        "train": (
            Listed("QMNIST/raw/qmnist-train-images-idx3-ubyte.gz", "ed72d4157d28c017586c42bc6afe6370"),
            Listed("QMNIST/raw/qmnist-train-labels-idx2-int.gz", "0058f8dd561b90ffdd0f734c6a30e5e4"),
        ),
        "test": (
            Listed("QMNIST/raw/qmnist-test-images-idx3-ubyte.gz", "1394631089c404de565df7b7aeaf9412"),
            Listed("QMNIST/raw/qmnist-test-labels-idx2-int.gz", "5b5b05890a5e13444e108efe57b788aa"),
        ),
    }),
    "emnist_balanced": _emnist("balanced", _MERGED),
    "emnist_letters": _emnist("letters", LOWER, first_label=1),
    "emnist_digits": _emnist("digits", DIGITS),
    "usps": PublishedSet(dataset="USPS", channels=1, classes=DIGITS),
    "cifar10": PublishedSet(dataset="CIFAR10", channels=3, classes=(
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )),
    "cifar100": PublishedSet(dataset="CIFAR100", channels=3, classes=(
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
        "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee",
        "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant",
        "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower",
        "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
        "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate",
        "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark",
        "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower",
        "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip",
        "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    )),
    "svhn": PublishedSet(dataset="SVHN", channels=3, classes=DIGITS, options=_split),
    "stl10": PublishedSet(dataset="STL10", channels=3, options=_split, classes=(
        "airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck",
    )),
}
# fmt: on
