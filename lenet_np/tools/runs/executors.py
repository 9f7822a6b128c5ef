"""Where the steps of a run are worked on: in threads, in processes, or on a Dask cluster."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

SECONDS = 10  # that a scheduler is waited for


class WorkersError(RuntimeError):
    """The workers cannot be had, or are gone; the message says why."""


@contextmanager
def executor(processes: int | None, dask: str | None) -> Iterator[Executor | None]:
    """Give what `loop.train` takes as its executor; None where threads are to do the work.

    ``dask`` is the address of a scheduler. WorkersError if the workers cannot be had or go away:
    a process that is killed breaks its pool; Dask gives the work of a lost worker to another.
    """
    try:
        if dask is not None:
            with _dask(dask) as pool:
                yield pool
        elif processes is not None:
            # Started anew: a fork of a process with threads may hang.
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
                yield pool
        else:
            yield None
    except (BrokenExecutor, CancelledError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WorkersError(f"the workers are gone ({reason})") from error


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise WorkersError(
            "Dask is not installed: python -m pip install 'lenet_np[dask]'"
        ) from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # What matters is said here.
    try:
        client = distributed.Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WorkersError(f"no Dask scheduler answers at {address} ({reason})") from error
    with client:
        yield client.get_executor(pure=False)
