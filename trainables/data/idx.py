"""Arrays in IDX files, the format of MNIST and its kin, plain or gzipped.

    pictures = read_idx(Path("raw/train-images-idx3-ubyte.gz"), dimensions=3, checksum=None)  # uint8 [N, H, W]

The format is told at the end of http://yann.lecun.com/exdb/mnist/: two zero bytes, a type, the number of dimensions,
each dimension as a big-endian 32-bit number, then the values.
"""

import gzip
import math
import zlib
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import UserError

TYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype("u1"), 0x0C: np.dtype(">i4")}


def read_idx(path: Path, *, dimensions: int, kind: int = 0x08, checksum: str | None) -> np.ndarray:
    """The array in a file, which must be of that type (a key of `TYPES`) and number of dimensions.

    checksum: the MD5 of the gzipped file as it was published; a plain file is not compared. `UserError` for a file
    that is cut short, too long, of another kind, or not the one that was published.
    """
    try:
        published = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", where=str(path)) from error
    gzipped = path.suffix == ".gz"
    content = _unzipped(published, path) if gzipped else published
    array = _array(content, path, dimensions=dimensions, kind=kind)
    if gzipped and checksum and (got := md5(published, usedforsecurity=False).hexdigest()) != checksum:
        raise _broken("not the file that was published: wrong MD5 checksum", path, got=got, expected=checksum)
    return array


def _unzipped(content: bytes, path: Path) -> bytes:
    try:
        return gzip.decompress(content)
    except EOFError:
        raise _broken("truncated file", path) from None
    except (OSError, zlib.error) as error:
        raise _broken(f"not a whole gzip file ({error})", path) from error


def _array(content: bytes, path: Path, *, dimensions: int, kind: int) -> np.ndarray:
    magic = bytes([0, 0, kind, dimensions])
    if content[:4] != magic:
        raise _broken("wrong magic number", path, got=f"0x{content[:4].hex()}", expected=f"0x{magic.hex()}")
    start = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:start], ">u4").tolist() if len(content) >= start else []
    expected = start + math.prod(shape) * TYPES[kind].itemsize
    if len(content) < expected or len(shape) < dimensions:
        raise _broken("truncated file", path, got=f"{len(content):,} bytes", expected=f"{expected:,} bytes")
    if len(content) > expected:
        raise _broken("too long", path, got=f"{len(content):,} bytes", expected=f"{expected:,} bytes")
    return np.frombuffer(content, TYPES[kind], offset=start).reshape(shape)


def _broken(what: str, path: Path, *, got: str | None = None, expected: str | None = None) -> UserError:
    return UserError(what, where=str(path), got=got, expected=expected, hint="remove it and fetch it again")
