"""MNIST: found on the disk or downloaded, and verified byte for byte on every load.

LeCun, Cortes and Burges' 70,000 handwritten digits, as four IDX files. A download is streamed,
hashed and moved into place only when it is exactly the official file, so that a broken network
can never leave a broken data set behind.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from lenet_np.data.cache import cache_folder, write_atomically
from lenet_np.data.dataset import DataError, Dataset, Split
from lenet_np.data.idx import read_idx

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
DATA_VARIABLE = "LENET_NP_DATA"
VALIDATION_SIZE = 5_000
# Seconds to wait for a connection, and for more data on it.
TIMEOUT = (5.0, 20.0)
_CHUNK = 2**16


class Fingerprint(NamedTuple):
    """What identifies the content of a file."""

    size: int  # bytes
    sha256: str  # hexadecimal


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


class _MirrorError(Exception):
    """One mirror did not deliver the file; the next may."""


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
    named = data_dir or os.environ.get(DATA_VARIABLE)
    folder = Path(os.path.expanduser(named)).absolute() if named else cache_folder() / "mnist"
    if os.path.isfile(folder):
        raise DataError(f"{folder} is a file: name the folder that holds the MNIST files instead")

    paths: dict[MnistFile, Path] = {}
    faults: list[str] = []
    for file in FILES:
        path, faults_of_file = _find(folder, file)
        if path is not None:
            paths[file] = path
        else:
            faults += faults_of_file
    if faults and named:
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


def _read_pair(images: Path, labels: Path) -> Split:
    """Read a file of images and the file of their labels."""
    try:
        return Split(read_idx(images), read_idx(labels))
    except DataError as error:
        raise DataError(f"{images} and {labels}: {error}") from error


def _find(folder: Path, file: MnistFile) -> tuple[Path | None, list[str]]:
    """Look for the first good copy of a file; list what is wrong with the others before it."""
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
    fault = _difference(Fingerprint(size, sha256), expected)
    if fault:
        raise DataError(f"{path} is damaged or another file: {fault}")


def _difference(actual: Fingerprint, expected: Fingerprint) -> str:
    """Say how two fingerprints differ; an empty string if they do not."""
    if actual.size != expected.size:
        more = " or more" if actual.size == expected.size + 1 else ""
        return f"{actual.size:,} bytes{more}, expected {expected.size:,}"
    if actual.sha256 != expected.sha256:
        return f"SHA-256 {actual.sha256[:12]}..., expected {expected.sha256[:12]}..."
    return ""


def _download(
    file: MnistFile,
    folder: Path,
    mirrors: list[str],
    timeout: tuple[float, float],
    deadline: float,
) -> Path:
    """Fetch one file from the first mirror that delivers it."""
    target = folder / f"{file.name}.gz"
    failures = []
    for mirror in tuple(mirrors):
        url = f"{mirror}{target.name}"
        try:
            _fetch(url, target, file.packed, timeout, deadline)
            return target
        except _MirrorError as failure:
            failures.append((url, str(failure)))
            # The next file is first asked for where this one is found.
            mirrors.append(mirrors.pop(0))
        except DataError as failure:
            # Another mirror does not cure a full disk, but another process may just have put
            # the same file there, and Windows does not replace a file that is being read.
            path, _ = _find(folder, file)
            if path is not None:
                return path
            raise MissingDataError(
                f"MNIST could not be stored: {failure}\n{_what_to_do(folder)}"
            ) from failure
    raise MissingDataError(
        f"MNIST is not complete in {folder} and could not be downloaded: {failures[-1][1]}\n"
        f"{_listed([f'{url}: {reason}' for url, reason in failures])}\n{_what_to_do(folder)}"
    )


def _fetch(
    url: str, target: Path, expected: Fingerprint, timeout: tuple[float, float], deadline: float
) -> None:
    """Stream a URL into a file that appears only if it is the expected one."""
    received = _receive(url, expected.size + 1, timeout, deadline)
    with closing(_with_progress(target.name, received)) as chunks:
        # Wait for the first bytes before the file is opened: no answer, no file and no folder.
        first = next(chunks, b"")
        with write_atomically(target) as file:
            size, digest = 0, hashlib.sha256()
            for chunk in itertools.chain([first], chunks):
                file.write(chunk)
                size += len(chunk)
                digest.update(chunk)
            fault = _difference(Fingerprint(size, digest.hexdigest()), expected)
            if fault:
                raise _MirrorError(f"not the official file: {fault}")


def _receive(
    url: str, limit: int, timeout: tuple[float, float], deadline: float
) -> Generator[bytes, None, None]:
    """Yield the first `limit` bytes of the answer; whatever goes wrong is a _MirrorError."""
    try:
        # Imported here because it takes a tenth of a second, and most runs download nothing.
        import requests

        remaining = _time_left(deadline)
        with requests.get(
            url,
            stream=True,
            timeout=(min(timeout[0], remaining), min(timeout[1], remaining)),
            headers={"Accept-Encoding": "identity"},
        ) as response:
            response.raise_for_status()
            # From the raw stream: `iter_content` would unpack what a server labels as gzip.
            while limit and (chunk := response.raw.read(min(limit, _CHUNK), decode_content=False)):
                _time_left(deadline)
                limit -= len(chunk)
                yield chunk
    # Networks fail in many ways, and not all of them as a RequestException.
    except Exception as error:
        raise _MirrorError(_reason(error)) from error


def _time_left(deadline: float) -> float:
    """Return the seconds before the deadline; refuse when there are none."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("given up: the time limit is reached")
    return remaining


def _reason(error: BaseException) -> str:
    """Put into a few words what `requests` wraps into several exceptions."""
    through_proxy = False
    # The wrapped exception is the `reason` or one of the arguments.
    while True:
        through_proxy |= type(error).__name__ == "ProxyError"
        candidates = (getattr(error, "reason", None), *error.args)
        inner = next((part for part in candidates if isinstance(part, BaseException)), None)
        if inner is None:
            break
        error = inner
    texts = [part for part in error.args if isinstance(part, str)]
    # An OSError and an HTTP status have their own way to put all arguments into words.
    text = texts[-1] if texts and not isinstance(error, OSError) else str(error)
    # Without the "HTTPSConnectionPool(host=...): " in front and the address behind.
    text = re.sub(r"^\S*Connection(Pool)?\(.*?\): |^<.*?>: | for url: .*", "", text)
    return ("proxy: " if through_proxy else "") + (text or type(error).__name__)


def _with_progress(name: str, chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Pass the chunks on, with a progress line where the standard error stream is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield from chunks
        return
    received = 0
    try:
        print(f"downloading {name}", end="", file=sys.stderr, flush=True)
        for chunk in chunks:
            received += len(chunk)
            progress = f"\rdownloading {name}: {received / 1e6:.1f} MB"
            print(progress, end="", file=sys.stderr, flush=True)
            yield chunk
    finally:
        print(file=sys.stderr)


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
