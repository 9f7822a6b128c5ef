"""MNIST: found on the disk or downloaded, and verified byte for byte on every load.

LeCun, Cortes and Burges' 70,000 handwritten digits, as four IDX files.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shlex
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data.dataset import DataError, Dataset, Split
from lenet_np.data.download import Fingerprint, difference, download_file
from lenet_np.data.files import WriteError, cache_folder
from lenet_np.data.idx import candidates, header, is_packed, read_idx

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
DATA_VARIABLE = "LENET_NP_DATA"
KERAS_FILE = "mnist.npz"
VALIDATION_SIZE = 5_000
TIMEOUT = (5.0, 20.0)  # seconds to wait for a connection, and for more data on it


class MnistFile(NamedTuple):
    """One of the four files: its name without ``.gz``, and what it must be, packed or not."""

    name: str
    packed: Fingerprint
    unpacked: Fingerprint

    @property
    def array(self) -> str:
        """The name of its values in Keras' file."""
        kind, split = "images" in self.name, "train" in self.name
        return f"{'x' if kind else 'y'}_{'train' if split else 'test'}"


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


class Found(NamedTuple):
    """The content of a file, which is the official one, and the form in which it was found."""

    values: NDArray[np.uint8]
    form: str


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
    other 55,000, both in the file's order and sharing memory; the test split is the 10,000
    images of the test file.

    One folder is looked at: `data_dir`, else the one that the environment variable LENET_NP_DATA
    names, else ``mnist`` in the project's cache folder. The files may lie there or where
    torchvision puts them below it, in any of the forms of `find_file`. Downloads go to the same
    folder; `timeout` and `time_limit` are in seconds. A damaged file is downloaded again in the
    cache folder, with a line to `notify`, but in a folder that the user named nothing is ever
    overwritten.

    MissingDataError if files are missing and cannot be downloaded or stored; DataError if a file
    in a folder that the user named is not the official one, or the folder is none.
    """
    deadline = time.monotonic() + time_limit
    folder, named_by = locate(data_dir)
    arrays: dict[str, NDArray[np.uint8]] = {}
    faults: list[str] = []
    for file in FILES:
        found, faults_of_file = find_file(folder, file)
        if found is not None:
            arrays[file.name] = found.values
        else:
            faults += faults_of_file
    if faults and named_by:
        raise DataError(
            f"not the official MNIST files, in the folder you named:\n{_listed(faults)}"
            "They were left as they are. Delete or move them, and fresh ones are downloaded; "
            f"or name another folder with --data-dir or {DATA_VARIABLE}. To train on other data of "
            "the same form, choose --dataset idx."
        )
    missing = [file for file in FILES if file.name not in arrays]
    if missing and not download:
        raise MissingDataError(
            f"{len(arrays)} of the {len(FILES)} MNIST files found in {folder}, and downloading is "
            f"switched off{':' if faults else ''}\n{_listed(faults)}{_what_to_do(folder)}"
        )
    for fault in faults:
        notify(f"{fault}; downloading it again")
    mirrors = list(MIRRORS)
    for file in missing:
        failure: Exception | None = None
        try:
            download_file(folder / f"{file.name}.gz", mirrors, file.packed, timeout, deadline)
        except (DataError, WriteError) as error:
            failure = error
        # Looked for in any case: another process may just have put the same file there, and
        # Windows does not replace a file that is being read.
        found, _ = find_file(folder, file)
        if found is None:
            raise MissingDataError(
                f"MNIST is not complete in {folder} and could not be downloaded: {failure}\n"
                f"{_what_to_do(folder)}"
            ) from failure
        arrays[file.name] = found.values

    images, labels, test_images, test_labels = (arrays[file.name] for file in FILES)
    return Dataset(
        name="mnist",
        train=Split(images[VALIDATION_SIZE:], labels[VALIDATION_SIZE:]),
        validation=Split(images[:VALIDATION_SIZE], labels[:VALIDATION_SIZE]),
        test=Split(test_images, test_labels),
    )


def locate(data_dir: Path | str | None = None) -> Place:
    """Name the one folder in which the MNIST files are looked for.

    DataError if the user named one that is none, or the cache folder is needed and unknown. The
    cache folder may not exist yet.
    """
    named = data_dir or os.environ.get(DATA_VARIABLE)
    if not named:
        return Place(cache_folder() / "mnist", None)
    folder, named_by = Path(os.path.expanduser(named)).absolute(), "--data-dir"
    if not data_dir:
        named_by = DATA_VARIABLE
    if not folder.is_dir():
        fault = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"{folder} (named by {named_by}) {fault}: name the folder of the files")
    return Place(folder, named_by)


def find_file(folder: Path, file: MnistFile) -> tuple[Found | None, list[str]]:
    """Look for a file by its content, and say in a line what is wrong with each one before it.

    It may bear its official name or one with a dot, be packed or not whatever the name says, and
    be an array of Keras' ``mnist.npz``.
    """
    names = rf"{file.name.replace('-idx', '[-.]idx')}(\.gz)?|{re.escape(KERAS_FILE)}"
    faults: list[str] = []
    try:
        for path in candidates(folder, re.compile(names)):
            try:
                values = _read(path, file)
            except DataError as fault:
                faults.append(str(fault))
                continue
            # The values and the header that belongs to them are the content, byte for byte.
            content = header(values.shape) + values.tobytes()
            actual = Fingerprint(len(content), hashlib.sha256(content).hexdigest())
            if actual == file.unpacked:
                return Found(values, _form(path, folder, file)), faults
            faults.append(f"{path}: not the official file: {difference(actual, file.unpacked)}")
    except DataError as fault:
        faults.append(str(fault))
    return None, faults


def _read(path: Path, file: MnistFile) -> NDArray[np.uint8]:
    most = file.unpacked.size
    if path.name != KERAS_FILE:
        return read_idx(path, most)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{file.array}.npy") as member:
            np.lib.format.read_magic(member)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(member)
            if dtype != np.uint8 or by_columns:
                raise DataError(f"{file.array} is {dtype}, not uint8 row by row")
            return np.frombuffer(member.read(most), np.uint8).reshape(shape)
    except Exception as error:  # where an archive is damaged decides which of a dozen it is
        raise DataError(f"{path}: damaged, or not Keras' file: {error}") from error


def _form(path: Path, folder: Path, file: MnistFile) -> str:
    """Say in which form a file was found, and where below the folder."""
    where = path.relative_to(folder)
    if path.name == KERAS_FILE:
        return f"{where}, {file.array}"
    packed = is_packed(path)
    doubt = "" if packed == path.name.endswith(".gz") else ", whatever its name says"
    return f"{where}, {'packed' if packed else 'unpacked'}{doubt}"


def _listed(lines: list[str]) -> str:
    return "".join(f"  {line}\n" for line in lines)


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
