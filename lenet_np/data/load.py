"""Which data set to use: MNIST, the built-in synthetic digits, or other data of MNIST's form."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from lenet_np.data.dataset import DataError, Dataset
from lenet_np.data.mnist import DATA_VARIABLE, MissingDataError, load_mnist, locate, print_notice
from lenet_np.data.others import KINDS, kind_of, load_others

DATASETS = ("auto", "mnist", "synthetic", *KINDS)
# Who did not ask for MNIST is not kept waiting: seconds for a connection and for more data,
# and for everything together.
AUTO_TIMEOUT = (2.0, 5.0)
AUTO_TIME_LIMIT = 20.0


def load_dataset(
    name: str,
    data_dir: Path | str | None = None,
    notify: Callable[[str], None] = print_notice,
) -> Dataset:
    """Load a data set by its name.

    ``"mnist"`` is an error where it cannot be had, ``"synthetic"`` is always there, and ``"auto"``
    is MNIST if it is found or downloaded within 20 seconds, else synthetic: the result's name
    tells which. It falls back only where MNIST is absent: a file in a folder that the user named
    and that is not the official one is an error here too, because a result on other data than
    the user believes is worse than none. ``"idx"`` and ``"transposed-idx"``, also with a display
    name behind them, are the user's own files, see `load_others`.

    `data_dir` is the folder of the files, see `load_mnist`; `notify` takes a line or two of text
    when ``auto`` falls back, a damaged file is replaced or images seem to lie on their side.
    DataError if the name is unknown, `data_dir` is no folder, whichever data set is asked for, or
    the data cannot be had.
    """
    kind = kind_of(name)
    if kind not in DATASETS:
        raise DataError(f"no data set is named {name!r:.60}; there are {', '.join(DATASETS)}")
    if data_dir:
        locate(data_dir)
    if kind in KINDS:
        folder, named_by = locate(data_dir)
        if not named_by:
            raise DataError(
                f"no folder is named for {name}: name that of its four files with --data-dir or "
                f"{DATA_VARIABLE}"
            )
        return load_others(kind, folder, notify)
    if name == "mnist":
        return load_mnist(data_dir, notify=notify)
    if name == "auto":
        try:
            return _load_mnist_soon(data_dir, notify)
        except MissingDataError as error:
            summary = str(error).splitlines()[0]
            notify(
                f"{summary}.\nUsing the built-in synthetic digits instead. To get MNIST, name its "
                f"folder with --data-dir or {DATA_VARIABLE}; --dataset mnist tells more."
            )
    # Imported here: who has MNIST does not need it.
    from lenet_np.data.synthetic import load_synthetic

    return load_synthetic()


def _load_mnist_soon(data_dir: Path | str | None, notify: Callable[[str], None]) -> Dataset:
    """Load MNIST from the disk, or from the network within the time limit."""
    try:
        return load_mnist(data_dir, download=False)
    except MissingDataError:
        pass

    outcome: Future[Dataset] = Future()

    def download() -> None:
        try:
            outcome.set_result(
                load_mnist(
                    data_dir, timeout=AUTO_TIMEOUT, time_limit=AUTO_TIME_LIMIT, notify=notify
                )
            )
        except BaseException as error:
            outcome.set_exception(error)

    # The time limit is checked between pieces of data, but a name server or proxy that hangs
    # cannot be interrupted, only left behind: in a thread that does not outlive the program.
    threading.Thread(target=download, daemon=True).start()
    try:
        return outcome.result(timeout=AUTO_TIME_LIMIT + 1)
    except TimeoutError:
        raise MissingDataError(
            f"MNIST could not be downloaded within {AUTO_TIME_LIMIT:.0f} seconds"
        ) from None
