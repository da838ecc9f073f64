"""Mean and standard deviation of pictures, gathered one at a time.

moments = Moments()
moments.add(pixels)                          # uint8 [C, H, W]
mean, std = moments.mean_and_std(channels=3)
"""

import numpy as np

SQUARES = np.arange(256, dtype=np.uint16) ** 2
# Pictures of one grey level have no deviation to divide by.
LEAST_STD = 1 / 255


class Moments:
    """By channel, of values 0 to 1; each picture weighs the same, however large it is."""

    def __init__(self) -> None:
        self._count = 0
        self._means: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, pixels: np.ndarray) -> None:
        """Adds a picture, uint8 [C, H, W]."""
        flat = pixels.reshape(len(pixels), -1)
        self._count += 1
        self._means += flat.sum(axis=1, dtype=np.int64) / (255 * flat.shape[1])
        self._squares += SQUARES[flat].sum(axis=1, dtype=np.int64) / (255**2 * flat.shape[1])

    def mean_and_std(self, *, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of the pictures so far, to six digits; 0.5 and 0.5 when there are none."""
        if not self._count:
            return (0.5,) * channels, (0.5,) * channels
        mean = np.asarray(self._means) / self._count
        variance = np.asarray(self._squares) / self._count - mean**2
        std = np.sqrt(np.maximum(variance, LEAST_STD**2))
        return tuple(mean.round(6).tolist()), tuple(std.round(6).tolist())
