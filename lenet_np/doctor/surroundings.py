"""What surrounds a run: BLAS and threads, memory, folders, the MNIST files, the terminal."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from lenet_np.doctor.check import FAIL, OK, WARN, Check
from lenet_np.runs import machine
from lenet_np.runs.threads import blas_threads, cores, default_threads

RUN_MEMORY = 200_000_000  # bytes; measured: 170 MB
RUN_DISK = 20_000_000  # bytes; a checkpoint has 0.75 MB
CACHE_DISK = 70_000_000  # bytes: MNIST has 11.6 MB, the synthetic digits 55 MB


def check_blas() -> Iterator[Check]:
    """Name NumPy's BLAS, and say whether it can be held to one thread.

    Yields
    ------
    Check
    """
    if blas_threads() is None:
        yield Check(
            WARN,
            "BLAS",
            f"{machine.blas()}; it cannot be held to one thread, so by default lenet_np starts "
            "no threads beside it",
        )
    else:
        yield Check(OK, "BLAS", f"{machine.blas()}; held to one thread while training")
    yield Check(OK, "threads", f"{default_threads()} by default")


def check_processor() -> Check:
    """Name the processor and count its cores.

    Returns
    -------
    Check
    """
    return Check(OK, "processor", f"{machine.processor()}, {cores()} cores to use")


def check_memory() -> Check:
    """Compare the free memory with what a run needs.

    Returns
    -------
    Check
    """
    available = machine.available_memory()
    need = f"a run needs {RUN_MEMORY / 1e6:.0f} MB"
    if available is None:
        return Check(OK, "memory", f"unknown; {need}")
    status = OK if available >= RUN_MEMORY else WARN
    return Check(status, "memory", f"{available / 1e6:,.0f} MB available, {need}")


def check_runs() -> Check:
    """Look at the folder that holds the runs, below the current one.

    Returns
    -------
    Check
    """
    return _check_folder("runs", Path("runs"), RUN_DISK, FAIL)


def check_cache() -> Check:
    """Look at the cache folder, which keeps the data between runs.

    Returns
    -------
    Check
    """
    from lenet_np.data import DataError
    from lenet_np.data.cache import cache_folder

    try:
        return _check_folder("cache", cache_folder(), CACHE_DISK, WARN)
    except DataError as error:
        return Check(WARN, "cache", str(error))


def check_mnist(data_dir: Path | None) -> Iterator[Check]:
    """Say where MNIST would come from, and whether each file there is whole.

    Parameters
    ----------
    data_dir : Path or None
        The folder that the user names on the command line.

    Yields
    ------
    Check
    """
    # Here, because these modules need NumPy, which may be missing.
    from lenet_np.data import DataError
    from lenet_np.data.mnist import FILES, find_file, locate

    try:
        folder, named_by = locate(data_dir)
    except DataError as error:
        yield Check(FAIL, "MNIST", str(error))
        return
    where = f"{folder} ({f'named by {named_by}' if named_by else 'the cache folder'})"
    to_fetch, damaged = 0, False
    lines = []
    for file in FILES:
        path, faults = find_file(folder, file)
        if path is not None:
            lines.append(Check(OK, file.name, f"whole: {path.relative_to(folder)}"))
            continue
        to_fetch += file.packed.size
        damaged = damaged or bool(faults)
        status = FAIL if faults and named_by else WARN
        lines.append(Check(status, file.name, faults[0] if faults else "missing"))
    if not to_fetch:
        yield Check(OK, "MNIST", f"in {where}")
    elif damaged and named_by:
        yield Check(
            FAIL,
            "MNIST",
            f"in {where}: files that are not the official ones are never used nor replaced; move "
            "them away, name another folder, or train with --dataset synthetic",
        )
    else:
        yield Check(
            WARN,
            "MNIST",
            f"not complete in {where}: training would try to download {to_fetch / 1e6:.1f} MB, "
            "and else use the synthetic digits",
        )
    yield from lines


def check_terminal(stream: TextIO | None) -> Check:
    """Say what the terminal can show.

    Parameters
    ----------
    stream : text stream or None
        Standard output; None where it is closed.

    Returns
    -------
    Check
    """
    if stream is None:
        return Check(OK, "terminal", "standard output is closed")
    facts = [
        "standard output is a terminal" if stream.isatty() else "standard output is no terminal",
        f"encoding {stream.encoding}",
        f"TERM {os.environ.get('TERM', 'not set')}",
        f"NO_COLOR {'set' if os.environ.get('NO_COLOR') else 'not set'}",
    ]
    return Check(OK, "terminal", ", ".join(facts))


def _check_folder(name: str, folder: Path, need: int, status: str) -> Check:
    """Try to write in a folder, or where it would be made; `status` is what a failure means."""
    try:
        folder = folder.absolute()
        existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
        probe = existing / f".{uuid.uuid4().hex}.part"
        # Permissions do not tell all, say of a disk that is mounted for reading.
        with open(probe, "xb"):
            pass
        probe.unlink()
        free = shutil.disk_usage(existing).free
    except OSError as error:
        return Check(status, name, f"cannot write in {folder}: {error.strerror or error}")
    return Check(
        OK if free >= need else status,
        name,
        f"{folder} can be written, {free / 1e6:,.0f} MB free, {need / 1e6:.0f} MB needed",
    )
