"""The IDX file format, in which MNIST is published: a small header, then the values."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import DataError

GZIP_MAGIC = b"\x1f\x8b"
UINT8 = 0x08
MAX_DIMENSIONS = 3
MAX_VALUES = 2**30
_CHUNK = 2**20


def read_idx(path: Path | str) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, compressed with gzip or not.

    The layout; numbers of more than one byte have the most significant byte first:

    ==========  =========  ====================================================
    offset      bytes      content
    ==========  =========  ====================================================
    0           2          zero
    2           1          type of the values: 8 is uint8, the only one read here
    3           1          number of dimensions D: 1 for labels, 3 for images
    4           4 for each the D sizes, the slowest-changing first
    4 + 4 D     product    the values, row by row, nothing behind them
    ==========  =========  ====================================================

    The header is not trusted: memory is taken only for bytes that are there, and a compressed
    file is unpacked no further than the header promises.

    Parameters
    ----------
    path : Path or str
        Whether the file is compressed is seen from its first two bytes, not from its name.

    Returns
    -------
    Array of the D sizes, uint8: (N,) for labels, (N, 28, 28) for MNIST's images.

    Raises
    ------
    DataError
        If the file cannot be read, is not IDX of uint8, is cut off or damaged, or goes on
        behind its values.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits",
    section "File formats".
    """
    try:
        with open(path, "rb") as file:
            compressed = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if not compressed:
                return _parse(file, path)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(cast(BinaryIO, unpacked), path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip compression is damaged or cut off ({error}); get the file again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parse(file: BinaryIO, path: Path | str) -> NDArray[np.uint8]:
    """Read header and values from an open, unpacked IDX file."""
    magic = _read_up_to(file, 4)
    if len(magic) < 4:
        raise DataError(f"{path}: {len(magic)} bytes are too short for an IDX header")
    dimensions = magic[3]
    if magic[:3] != bytes([0, 0, UINT8]):
        raise DataError(
            f"{path}: not an IDX file of uint8: it begins with the bytes {magic.hex(' ')}, "
            f"expected 00 00 08 and the number of dimensions"
        )
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise DataError(
            f"{path}: the header speaks of {dimensions} dimensions, "
            f"expected 1 (labels) to {MAX_DIMENSIONS} (images)"
        )
    header = _read_up_to(file, 4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError(
            f"{path}: cut off inside the header: {4 + len(header)} bytes "
            f"of {4 + 4 * dimensions}; get the file again"
        )
    shape = tuple(int(size) for size in np.frombuffer(header, dtype=">u4"))
    # The product of Python's integers cannot overflow.
    promised = math.prod(shape)
    if promised > MAX_VALUES:
        raise DataError(
            f"{path}: the header promises {promised:,} values of shape {shape}, "
            f"more than the {MAX_VALUES:,} that are plausible; the file is damaged"
        )
    # One byte more than promised: it tells trailing bytes, and it makes gzip check its checksum.
    values = _read_up_to(file, promised + 1)
    if len(values) < promised:
        raise DataError(
            f"{path}: the header promises {promised:,} values of shape {shape}, "
            f"but the file holds {len(values):,}; it is cut off, get it again"
        )
    if len(values) > promised:
        raise DataError(
            f"{path}: there are bytes behind the {promised:,} values of shape {shape} "
            "that the header promises; the file is damaged, get it again"
        )
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _read_up_to(file: BinaryIO, count: int) -> bytearray:
    """Read `count` bytes, or as many as there are, a chunk at a time."""
    content = bytearray()
    while len(content) < count:
        chunk = file.read(min(_CHUNK, count - len(content)))
        if not chunk:
            break
        content += chunk
    return content
