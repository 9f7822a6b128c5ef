"""What a measurement depends on: processor, cores, versions, BLAS, and the memory used so far."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np

from lenet_np.runs.threads import blas_threads


def processor() -> str:
    """Name the processor.

    Returns
    -------
    str
    """
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def blas() -> str:
    """Name the BLAS that NumPy was built with, and its threads.

    Returns
    -------
    str
    """
    config = np.show_config(mode="dicts")
    library = config["Build Dependencies"]["blas"] if config else {}
    name = " ".join(filter(None, (library.get("name"), library.get("version"))))
    switch = blas_threads()
    threads = f"{switch.get()} threads" if switch else "a number of threads that cannot be read"
    return f"{name or 'unknown'}, {threads}"


def peak_memory() -> int | None:
    """Read the most memory that this process has had at one time.

    Returns
    -------
    int, in bytes; None where the system does not tell (Windows).
    """
    try:
        import resource
    except ImportError:
        return None
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
