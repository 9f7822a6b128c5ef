"""What this machine has: its processor, its BLAS, and the memory that is used and free."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

from lenet_np.threads import blas_kernels, blas_threads


def processor() -> str:
    """Name the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def blas() -> str:
    """Name the BLAS that NumPy was built with, its threads, and the kernels that it chose."""
    import numpy as np  # Here, because the doctor works without it.

    config = np.show_config(mode="dicts")
    library = config["Build Dependencies"]["blas"] if config else {}
    name = " ".join(filter(None, (library.get("name"), library.get("version"))))
    switch = blas_threads()
    threads = f"{switch.get()} threads" if switch else "a number of threads that cannot be read"
    kernels = f", kernels for {blas_kernels()}" if blas_kernels() else ""
    return f"{name or 'unknown'}, {threads}{kernels}"


def peak_memory() -> int | None:
    """Read the most memory, in bytes, that this process has had at one time; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource  # Windows has no such module.

    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory() -> int | None:
    """Read how much memory, in bytes, a new process can have before the machine swaps.

    On Linux that is what the kernel estimates, or the limit of the container; on macOS, all
    memory of the machine; on Windows None.
    """
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
        # The word "max" stands there where nothing is limited.
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        found += [int(limit)] if limit.isdigit() else []
    except (OSError, ValueError):
        pass  # not Linux, or not all of its files
    if not found and hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


# --- keeping freed memory in the process, where the next step finds it again ----------------------

# The numbers of the two options in <malloc.h>.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
ONE_GIBIBYTE = 1 << 30


def keep_freed_memory() -> None:
    """Ask the C library's allocator not to give arrays of megabytes back to the kernel.

    Each training step frees the same arrays that the next one needs. By default glibc returns
    them, and every page must then be cleared and mapped again: a third of the step. Where
    there is no glibc, nothing happens. No result depends on it.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, ONE_GIBIBYTE)
    mallopt(M_TRIM_THRESHOLD, ONE_GIBIBYTE)
