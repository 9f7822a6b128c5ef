"""IDX, the format in which MNIST and its kin are published: a small header, then the values.

Numbers of more than one byte have the most significant byte first:

==========  ==========  ====================================================
offset      bytes       content
==========  ==========  ====================================================
0           2           zero
2           1           type of the values: 8 is uint8, the only one read here
3           1           number of dimensions D: 1 for labels, 3 for images
4           4 for each  the D sizes, the slowest-changing first
4 + 4 D     product     the values, row by row, nothing behind them
==========  ==========  ====================================================

Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits", "File formats".
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import DataError

GZIP_MAGIC = b"\x1f\x8b"
UINT8 = bytes([0, 0, 8])  # how a file of unsigned bytes begins
MAX_VALUES = 2**30
_CHUNK = 2**20
# Where the files lie below the folder that holds them; the last two are torchvision's.
PLACES = (".", "raw", "MNIST/raw")


def candidates(
    folder: Path, name: re.Pattern[str], places: Sequence[str] = PLACES
) -> Iterator[Path]:
    """Find the files of a name, also where a folder of that name holds the file.

    DataError if a folder cannot be read.
    """
    for place in places:
        for path in _listed(folder / place, name):
            yield from (_listed(path, name) if os.path.isdir(path) else None) or [path]


def _listed(folder: Path, name: re.Pattern[str]) -> list[Path]:
    try:
        return [folder / entry for entry in sorted(os.listdir(folder)) if name.fullmatch(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror or error}") from error


def is_packed(path: Path) -> bool:
    """Tell a file packed with gzip by its first two bytes."""
    with open(path, "rb") as file:
        return file.read(2) == GZIP_MAGIC


def header(shape: tuple[int, ...]) -> bytes:
    """Write the header of a file of unsigned bytes."""
    return UINT8 + struct.pack(f">B{len(shape)}I", len(shape), *shape)


def read_idx(path: Path, most: int = MAX_VALUES) -> NDArray[np.uint8]:
    """Read a file of unsigned bytes, packed with gzip or not, whatever its name says.

    DataError if it cannot be read, is something else, damaged or cut off, or if its header
    promises more than `most` values. Memory is taken only for bytes that are there, and nothing
    is unpacked beyond what the header promises.
    """
    try:
        with gzip.open(path) if is_packed(path) else open(path, "rb") as file:
            return _parse(cast(BinaryIO, file), most)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        fault = f"the gzip compression is damaged or cut off ({error}); get the file again"
        raise DataError(f"{path}: {fault}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except DataError as fault:
        raise DataError(f"{path}: {fault}") from fault


def _parse(file: BinaryIO, most: int) -> NDArray[np.uint8]:
    magic = file.read(4)
    if magic[:3] != UINT8 or magic[3:] not in (b"\1", b"\2", b"\3"):
        raise DataError(
            f"not an IDX file of bytes: it begins with {magic.hex(' ') or 'nothing'}, expected "
            "00 00 08 and the number of dimensions, 01 (labels) or 03 (images)"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"cut off inside the header, after {4 + len(sizes)} bytes")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    promised = math.prod(shape)
    promise = f"the header promises {promised:,} values of shape {shape}"
    if promised > most:
        raise DataError(f"{promise}, more than the {most:,} that are plausible")
    values = bytearray()
    # One byte more than promised: it shows trailing bytes, and makes gzip check its checksum.
    while chunk := file.read(min(_CHUNK, promised + 1 - len(values))):
        values += chunk
    if len(values) < promised:
        raise DataError(f"{promise}, but the file holds {len(values):,}; it is cut off")
    if len(values) > promised:
        raise DataError(f"{promise}, but more bytes follow them; the file is damaged")
    return np.frombuffer(values, np.uint8).reshape(shape)
