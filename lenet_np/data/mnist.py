"""MNIST: found on the disk or downloaded, and verified byte for byte on every load.

LeCun, Cortes and Burges' 70,000 handwritten digits, as four IDX files.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import shlex
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import DataError, Dataset, Split
from lenet_np.data.download import DownloadError, Fingerprint, difference, download_file
from lenet_np.data.files import cache_folder

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
DATA_VARIABLE = "LENET_NP_DATA"
VALIDATION_SIZE = 5_000
# Seconds to wait for a connection, and for more data on it.
TIMEOUT = (5.0, 20.0)


class MnistFile(NamedTuple):
    """One of the four files: its name without ``.gz``, and what it must be, packed or not."""

    name: str
    packed: Fingerprint
    unpacked: Fingerprint


# Images and labels to learn from, images and labels to test with.
FILES = (
    MnistFile(
        "train-images-idx3-ubyte",
        Fingerprint(9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        Fingerprint(47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    ),
    MnistFile(
        "train-labels-idx1-ubyte",
        Fingerprint(28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        Fingerprint(60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ),
    MnistFile(
        "t10k-images-idx3-ubyte",
        Fingerprint(1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        Fingerprint(7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ),
    MnistFile(
        "t10k-labels-idx1-ubyte",
        Fingerprint(4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        Fingerprint(10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
)


class MissingDataError(DataError):
    """MNIST is not there and cannot be fetched; its message's first line is a summary."""


class Place(NamedTuple):
    """The folder of the MNIST files, and what named it: nothing did for the cache folder."""

    folder: Path
    named_by: str | None


def print_notice(text: str) -> None:
    """Print a notice to the standard error stream."""
    print(text, file=sys.stderr)


def load_mnist(
    data_dir: Path | str | None = None,
    *,
    download: bool = True,
    timeout: tuple[float, float] = TIMEOUT,
    time_limit: float = math.inf,
    notify: Callable[[str], None] = print_notice,
) -> Dataset:
    """Load MNIST, downloading the files that are missing.

    The validation split is the first 5,000 images of the training file, the training split the
    other 55,000, both in the file's order; the test split is the 10,000 images of the test file.

    One folder is looked at: `data_dir`, else the one that the environment variable LENET_NP_DATA
    names, else ``mnist`` in the project's cache folder. The files may lie there or, as
    torchvision puts them, in ``MNIST/raw`` below it, packed (``.gz``) or unpacked. Downloads go
    to the same folder, which is created where it is missing. A damaged file is downloaded again
    in the cache folder, but in a folder that the user named nothing is ever overwritten.

    Parameters
    ----------
    data_dir : Path or str, optional
    download : bool
        Whether missing files may be fetched from the network.
    timeout : (connect, read)
        Seconds to wait for a connection, and for more data on it.
    time_limit : float
        Seconds after which downloading is given up.
    notify : function of a str
        Called with a line of text when a damaged file is replaced.

    Returns
    -------
    Dataset
        Named ``"mnist"``; training and validation share memory.

    Raises
    ------
    MissingDataError
        If files are missing and cannot be downloaded or stored.
    DataError
        If a file in a folder the user named is not the official one, or the folder is a file.
    """
    deadline = time.monotonic() + time_limit
    folder, named_by = locate(data_dir)
    paths: dict[MnistFile, Path] = {}
    faults: list[str] = []
    for file in FILES:
        path, faults_of_file = find_file(folder, file)
        if path is not None:
            paths[file] = path
        else:
            faults += faults_of_file
    if faults and named_by:
        raise DataError(
            f"not the official MNIST files, in the folder you named:\n{_listed(faults)}\n"
            "They were left as they are. Delete or move them, and fresh ones are downloaded; "
            f"or name another folder with --data-dir or {DATA_VARIABLE}."
        )
    missing = [file for file in FILES if file not in paths]
    if missing and not download:
        found = f"{len(paths)} of the {len(FILES)} MNIST files found"
        raise MissingDataError(
            f"{found} in {folder}, and downloading is switched off"
            + (f":\n{_listed(faults)}" if faults else "")
            + f"\n{_what_to_do(folder)}"
        )
    for fault in faults:
        notify(f"{fault}; downloading it again")
    mirrors = list(MIRRORS)
    for file in missing:
        paths[file] = _download(file, folder, mirrors, timeout, deadline)

    train_images, train_labels, test_images, test_labels = (paths[file] for file in FILES)
    train = _read_pair(train_images, train_labels)
    return Dataset(
        name="mnist",
        train=Split(train.pixels[VALIDATION_SIZE:], train.classes[VALIDATION_SIZE:]),
        validation=Split(train.pixels[:VALIDATION_SIZE], train.classes[:VALIDATION_SIZE]),
        test=_read_pair(test_images, test_labels),
    )


def locate(data_dir: Path | str | None = None) -> Place:
    """Name the one folder in which the MNIST files are looked for; it may not exist yet.

    Parameters
    ----------
    data_dir : Path or str, optional
        Taken if given; else LENET_NP_DATA; else the cache folder.

    Returns
    -------
    Place

    Raises
    ------
    DataError
        If it is a file, or the cache folder is needed and unknown.
    """
    named = data_dir or os.environ.get(DATA_VARIABLE)
    folder = Path(os.path.expanduser(named)).absolute() if named else cache_folder() / "mnist"
    if os.path.isfile(folder):
        raise DataError(f"{folder} is a file: name the folder that holds the MNIST files instead")
    return Place(folder, ("--data-dir" if data_dir else DATA_VARIABLE) if named else None)


def _read_pair(images: Path, labels: Path) -> Split:
    """Read a file of images and the file of their labels."""
    try:
        return Split(read_idx(images), read_idx(labels))
    except DataError as error:
        raise DataError(f"{images} and {labels}: {error}") from error


def find_file(folder: Path, file: MnistFile) -> tuple[Path | None, list[str]]:
    """Look for the first good copy of a file, and list what is wrong with the others before it.

    Parameters
    ----------
    folder : Path
    file : MnistFile

    Returns
    -------
    (Path, list of str) : where the good copy is, None if there is none; a line for each other one.
    """
    faults: list[str] = []
    for place in (folder, folder / "MNIST" / "raw"):
        for name, expected in ((f"{file.name}.gz", file.packed), (file.name, file.unpacked)):
            try:
                _verify(place / name, expected)
                return place / name, faults
            except (FileNotFoundError, NotADirectoryError):
                continue
            except DataError as fault:
                faults.append(str(fault))
    return None, faults


def _verify(path: Path, expected: Fingerprint) -> None:
    """Refuse a file that is not the expected one; a missing file is a FileNotFoundError."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            # The size first: it says more, and a file that is far too large is never read.
            sha256 = (
                hashlib.file_digest(file, "sha256").hexdigest() if size == expected.size else ""
            )
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    fault = difference(Fingerprint(size, sha256), expected)
    if fault:
        raise DataError(f"{path} is damaged or another file: {fault}")


def _download(
    file: MnistFile,
    folder: Path,
    mirrors: list[str],
    timeout: tuple[float, float],
    deadline: float,
) -> Path:
    """Download one of the files, packed, into the folder."""
    target = folder / f"{file.name}.gz"
    try:
        download_file(target, mirrors, file.packed, timeout, deadline)
        return target
    except DownloadError as failure:
        raise MissingDataError(
            f"MNIST is not complete in {folder} and could not be downloaded: {failure}\n"
            f"{_what_to_do(folder)}"
        ) from failure
    except DataError as failure:
        # Another process may just have put the same file there, and Windows does not replace
        # a file that is being read.
        path, _ = find_file(folder, file)
        if path is not None:
            return path
        raise MissingDataError(
            f"MNIST could not be stored: {failure}\n{_what_to_do(folder)}"
        ) from failure


def _listed(lines: list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _what_to_do(folder: Path) -> str:
    """List the ways out for a user without MNIST."""
    # Curl itself expands {a,b}, and puts what it stands for in place of #1.
    names = ",".join(file.name for file in FILES)
    url, target = f"{MIRRORS[0]}{{{names}}}.gz", str(folder / "#1.gz")
    # Windows' shells know no single quotes.
    quoted = f'"{target}"' if sys.platform == "win32" else shlex.quote(target)
    return (
        "To fetch the four files by hand:\n"
        f'  curl -fL --create-dirs -o {quoted} "{url}"\n'
        f"To use files you have, name their folder with --data-dir or {DATA_VARIABLE}.\n"
        "To go on without MNIST, use the built-in synthetic digits: --dataset synthetic"
    )


# --- the IDX file format, in which MNIST is published: a small header, then the values ------------

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
