"""Threads: how many this machine can use, and a BLAS that does not start its own beside them."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

#: OpenBLAS's functions have these prefixes and suffixes, by whoever built it.
_BUILDS = [(prefix, suffix) for prefix in ("", "scipy_") for suffix in ("", "64_")]
#: The functions (set, get) of each BLAS that NumPy can be linked with.
_FUNCTIONS = [
    *(
        (f"{prefix}openblas_set_num_threads{suffix}", f"{prefix}openblas_get_num_threads{suffix}")
        for prefix, suffix in _BUILDS
    ),
    ("MKL_Set_Num_Threads", "MKL_Get_Max_Threads"),
    ("bli_thread_set_num_threads", "bli_thread_get_num_threads"),
]


class BlasThreads(NamedTuple):
    """The switch of the BLAS that NumPy is linked with."""

    set: Callable[[int], object]
    get: Callable[[], int]


@functools.cache
def blas_threads() -> BlasThreads | None:
    """Find the functions that set and get the number of threads of NumPy's BLAS.

    None for a BLAS that is not known (Apple's Accelerate has no such function).
    """
    for library in _blas_libraries():
        for set_name, get_name in _FUNCTIONS:
            if hasattr(library, set_name) and hasattr(library, get_name):
                return BlasThreads(getattr(library, set_name), getattr(library, get_name))
    return None


@functools.cache
def blas_kernels() -> str | None:
    """Name the processor whose kernels OpenBLAS works with; None for another BLAS.

    "Haswell" stands for AVX2, "SkylakeX" for AVX-512.
    """
    for library in _blas_libraries():
        for prefix, suffix in _BUILDS:
            function = getattr(library, f"{prefix}openblas_get_corename{suffix}", None)
            if function:
                function.restype = ctypes.c_char_p
                name: bytes = function()
                return name.decode("ascii")
    return None


def _blas_libraries() -> Iterator[ctypes.CDLL]:
    """Load the libraries that NumPy's BLAS may be in; they are loaded already."""
    import numpy as np  # Here, because cores can be counted without it.

    # Looking a name up in NumPy's own extension module finds it in the libraries behind it too;
    # Windows does not look there, so the libraries that come with NumPy's wheel are asked as well.
    extensions = [
        module.__file__
        for name, module in list(sys.modules.items())
        if name.endswith("._multiarray_umath") and getattr(module, "__file__", None)
    ]
    wheel = Path(np.__file__).parent.parent / "numpy.libs"
    for file in [*extensions, *sorted(map(str, wheel.glob("*openblas*.dll")))]:
        with suppress(OSError, TypeError):
            yield ctypes.CDLL(file)


_lock = threading.Lock()
_users: list[int] = []  # for each user at this moment, the number to give back


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold NumPy's BLAS to one thread for a while, and give it back its own number afterwards.

    Threads that each call a BLAS which starts threads of its own wait for each other. With one
    BLAS thread a product is also summed in the same order whatever the number of cores.

    The number is the whole process's. Of several users at a time, also in several threads, the
    first takes it and the last gives it back.
    """
    blas = blas_threads()
    if blas is None:
        yield
        return
    with _lock:
        if not _users:
            _users.append(blas.get())
            blas.set(1)
        else:
            _users.append(_users[0])
    try:
        yield
    finally:
        with _lock:
            number = _users.pop()
            if not _users:
                blas.set(number)


def cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """Count the cores that this process may use; 1 where the BLAS cannot be held to one thread."""
    if blas_threads() is None:
        return 1  # The BLAS then has the cores for itself.
    return cores()
