"""Fixtures for all tests: a cache of their own, small folders of pictures, and the real data where it is at hand."""

import os

# Before torch is imported: threads of tests that run side by side would only fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
PictureFolder = Callable[..., Path]

# A loaded machine is no bug: how long an example takes is not what property tests are for.
hypothesis.settings.register_profile("tuneyard", deadline=None)
hypothesis.settings.load_profile("tuneyard")


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs from all but the tests of a GPU: numbers that others compare to the last bit are a CPU's."""
    chosen = config.option.markexpr
    if chosen and "gpu" not in chosen.replace("not gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEYARD_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real pictures and weights; the test is skipped where it is absent."""
    folder = Path(os.environ.get("TUNE_TEST_DATA") or PROJECT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there (set TUNE_TEST_DATA)")
    return folder


@pytest.fixture
def picture_folder(tmp_path: Path) -> PictureFolder:
    """Makes class folders of small pictures that a network can tell apart.

    `picture_folder({"train/ants": 3, "val/ants": 2})` writes that many PNG files, `0.png` and so on, into each folder
    and returns the root. A class's pictures share a colour, with noise by picture.
    """

    def make(counts: Mapping[str, int], *, name: str = "pictures", **options: object) -> Path:
        return make_pictures(tmp_path / name, counts, **options)

    return make


def make_pictures(
    root: Path, counts: Mapping[str, int], *, size: tuple[int, int] = (24, 32), suffix: str = ".png", seed: int = 0
) -> Path:
    """Writes the pictures of `picture_folder` under `root`."""
    classes = sorted({folder.rpartition("/")[2] for folder in counts})
    for folder, count in counts.items():
        place = root / folder
        place.mkdir(parents=True, exist_ok=True)
        label = classes.index(folder.rpartition("/")[2])
        for number in range(count):
            # A seed from the file's own place, so that one more folder does not change the others.
            noise = np.random.default_rng([seed, number, *folder.encode()])
            colour = np.array([[60, 120, 200], [200, 120, 60], [120, 200, 60]])[label % 3]
            pixels = np.clip(colour + noise.integers(-40, 40, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number}{suffix}")
    return root


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk: what would make a file larger than so many bytes cannot be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
