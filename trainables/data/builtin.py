"""Pictures that come with an installed library, so that a first sweep needs no download.

catalog = digits_catalog(val=0.2, test=0.1, seed=0, channels=1)
"""

import numpy as np

from trainables.data.catalog import Catalog, Picture
from trainables.data.splits import stratified_split


def digits_catalog(*, val: float, test: float, seed: int, channels: int) -> Catalog:
    """scikit-learn's 1,797 handwritten digits, 8×8 grey, split into train, val and test.

    The source is the test part of the UCI "Optical Recognition of Handwritten Digits" set (Alpaydin and Kaynak,
    1998), whose values run from 0 to 16.
    """
    # Here and not above: a second that only a sweep on the digits should pay, not every reader of a sweep file.
    from sklearn.datasets import load_digits

    digits = load_digits()
    arrays = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    classes = tuple(str(name) for name in digits.target_names)
    labels = [int(label) for label in digits.target]
    names = [f"digits/{index}" for index in range(len(labels))]
    splits = stratified_split(names, labels, classes=classes, val=val, test=test, seed=seed)
    pictures = tuple(Picture(*facts) for facts in zip(names, labels, splits, strict=True))
    return Catalog("digits", None, classes, channels, pictures, arrays=arrays)
