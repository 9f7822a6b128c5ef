"""Downloading a file from mirrors, so that it appears whole and right or not at all.

The answer is held in memory, 10 MB at most, and written when it is exactly the expected file, so
that a broken network can never leave a broken file behind.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lenet_np.data.dataset import DataError
from lenet_np.data.files import write_atomically

_CHUNK = 2**16  # bytes read at a time


class Fingerprint(NamedTuple):
    """What identifies the content of a file."""

    size: int  # bytes
    sha256: str  # hexadecimal


def download_file(
    target: Path,
    mirrors: list[str],
    expected: Fingerprint,
    timeout: tuple[float, float],
    deadline: float,
) -> None:
    """Download a file from the first mirror that delivers it.

    Each mirror, the address of a folder with ``/`` at its end, is asked once for the file of the
    target's name; one that fails is moved to the end of `mirrors`, so that the next file is first
    asked for where this one is found. The target's folder is created where it is missing, but not
    before there is something to put there. Not a byte more than shows the file to be too large is
    read. `timeout` is the seconds to wait for a connection and for more data on it; `deadline`, on
    the clock of `time.monotonic`, is when to give up.

    DataError if no mirror delivers the file, with a line for each; WriteError if it cannot be
    stored.
    """
    failures = []
    for mirror in tuple(mirrors):
        url = f"{mirror}{target.name}"
        try:
            content = _receive(url, expected.size + 1, timeout, deadline)
            actual = Fingerprint(len(content), hashlib.sha256(content).hexdigest())
            if actual != expected:
                raise DataError(f"not the official file: {difference(actual, expected)}")
        # Networks fail in many ways, and not all of them as a RequestException.
        except Exception as error:
            failures.append((url, _reason(error)))
            mirrors.append(mirrors.pop(0))
        else:
            with write_atomically(target) as file:
                file.write(content)
            return
    attempts = "".join(f"\n  {url}: {reason}" for url, reason in failures)
    raise DataError(f"{failures[-1][1]}{attempts}")


def difference(actual: Fingerprint, expected: Fingerprint) -> str:
    """Say in a few words how a fingerprint differs from the expected one.

    A size one above the expected one is called that or more: nobody read further.
    """
    if actual.size != expected.size:
        more = " or more" if actual.size == expected.size + 1 else ""
        return f"{actual.size:,} bytes{more}, expected {expected.size:,}"
    return f"SHA-256 {actual.sha256[:12]}..., expected {expected.sha256[:12]}..."


def _receive(url: str, limit: int, timeout: tuple[float, float], deadline: float) -> bytearray:
    """Read the first `limit` bytes of the answer; a terminal on standard error shows progress."""
    # Imported here because it takes a tenth of a second, and most runs download nothing.
    import requests

    remaining = _time_left(deadline)
    content = bytearray()
    shown = sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None
    try:
        with requests.get(
            url,
            stream=True,
            timeout=(min(timeout[0], remaining), min(timeout[1], remaining)),
            headers={"Accept-Encoding": "identity"},
        ) as response:
            response.raise_for_status()
            # From the raw stream: `iter_content` would unpack what a server labels as gzip.
            while rest := min(limit - len(content), _CHUNK):
                if not (chunk := response.raw.read(rest, decode_content=False)):
                    break
                _time_left(deadline)
                content += chunk
                if shown:
                    received = f"{url.rpartition('/')[2]}: {len(content) / 1e6:.1f} MB"
                    print(f"\rdownloading {received}", end="", file=shown, flush=True)
    finally:
        if shown:
            print(file=shown)
    return content


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
