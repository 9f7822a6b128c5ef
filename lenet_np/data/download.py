"""Downloading a file from mirrors, so that it appears whole and right or not at all.

The answer is streamed, hashed and moved into place only when it is exactly the expected file, so
that a broken network can never leave a broken file behind.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from lenet_np.data.dataset import DataError
from lenet_np.data.files import WriteError, write_atomically

# Bytes read at a time.
_CHUNK = 2**16


class Fingerprint(NamedTuple):
    """What identifies the content of a file."""

    size: int  # bytes
    sha256: str  # hexadecimal


class DownloadError(DataError):
    """No mirror delivered the file; the message is the last reason, then a line for each mirror."""


class _MirrorError(Exception):
    """One mirror did not deliver the file; the next may."""


def download_file(
    target: Path,
    mirrors: list[str],
    expected: Fingerprint,
    timeout: tuple[float, float],
    deadline: float,
) -> None:
    """Download a file from the first mirror that delivers it.

    Each mirror is asked once for the file of the target's name. Where the standard error stream
    is a terminal, a line on it shows the progress.

    Parameters
    ----------
    target : Path
        Where the file is put, under the name that it has on the mirrors. Its folder is created
        where it is missing, but not before a mirror answers.
    mirrors : list of str
        Addresses of folders, each with ``/`` at its end, in the order in which they are asked.
        One that fails is moved to the end of this list, so that the next file is first asked
        for where this one is found.
    expected : Fingerprint
        What the file must be; not a byte more than shows it to be too large is read.
    timeout : (connect, read)
        Seconds to wait for a connection, and for more data on it.
    deadline : float
        When to give up, in seconds on the clock of `time.monotonic`.

    Raises
    ------
    DownloadError
        If no mirror delivers the file.
    DataError
        If the file cannot be stored: no permission, read-only, disk full.
    """
    failures = []
    for mirror in tuple(mirrors):
        url = f"{mirror}{target.name}"
        try:
            _fetch(url, target, expected, timeout, deadline)
            return
        except WriteError as error:  # Another mirror does not cure a full disk.
            raise DataError(str(error)) from error
        except _MirrorError as failure:
            failures.append((url, str(failure)))
            mirrors.append(mirrors.pop(0))
    attempts = "".join(f"\n  {url}: {reason}" for url, reason in failures)
    raise DownloadError(f"{failures[-1][1]}{attempts}")


def difference(actual: Fingerprint, expected: Fingerprint) -> str:
    """Say how the fingerprint of a file differs from the one it must have.

    Parameters
    ----------
    actual, expected : Fingerprint
        A size one above the expected one is reported as that or more: nobody read further.

    Returns
    -------
    str
        A few words for an error message; empty if the two are equal.
    """
    if actual.size != expected.size:
        more = " or more" if actual.size == expected.size + 1 else ""
        return f"{actual.size:,} bytes{more}, expected {expected.size:,}"
    if actual.sha256 != expected.sha256:
        return f"SHA-256 {actual.sha256[:12]}..., expected {expected.sha256[:12]}..."
    return ""


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
            fault = difference(Fingerprint(size, digest.hexdigest()), expected)
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
