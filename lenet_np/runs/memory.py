"""Keeping freed memory in the process, where the next step finds it again."""

from __future__ import annotations

import ctypes
import sys

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
