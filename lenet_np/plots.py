"""Pictures of finished runs: ``python -m lenet_np plot RUN [RUN ...] --output FILE``."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lenet_np.runs.folder import METRICS, RunFolderError


class Curve(NamedTuple):
    """How one run went, epoch by epoch."""

    name: str
    dataset: str
    epochs: list[int]
    validation_accuracy: list[float]


def read_curve(folder: Path) -> Curve:
    """Read the metrics of a run.

    Parameters
    ----------
    folder : Path
        As written by ``python -m lenet_np.train --out``.

    Returns
    -------
    Curve

    Raises
    ------
    RunFolderError
        If there are no metrics, or they are damaged.
    """
    try:
        with open(folder / METRICS, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        epochs = [int(row["epoch"]) for row in rows]
        accuracy = [float(row["validation_accuracy"]) for row in rows]
        dataset = rows[0]["dataset"]
    except OSError as error:
        raise RunFolderError(f"{folder} is no run: {METRICS}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RunFolderError(f"{folder / METRICS} is empty or damaged: {error}") from error
    return Curve(folder.resolve().name, dataset, epochs, accuracy)


def plot_accuracy(curves: Sequence[Curve]) -> Any:
    """Draw the validation accuracy of several runs over their epochs.

    Parameters
    ----------
    curves : sequence of Curve

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure  # A figure of its own needs no screen and no pyplot.

    # Okabe and Ito's colours, which colour-blind readers can tell apart; a marker each as well.
    colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        axes.plot(
            curve.epochs,
            curve.validation_accuracy,
            label=curve.name,
            color=colours[number % len(colours)],
            marker="osD^v<>"[number % 7],
            markersize=3.5,
            markevery=5,
            linewidth=1.4,
        )
    datasets = ", ".join(sorted({curve.dataset for curve in curves}))
    axes.set(xlabel="epoch", ylabel=f"validation accuracy on {datasets}")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``python -m lenet_np plot``.

    Parameters
    ----------
    argv : sequence of str, optional

    Returns
    -------
    int : the exit status. 0 done; 1 a run cannot be read or the picture not written; 2 usage.
    """
    parser = argparse.ArgumentParser(
        prog="python -m lenet_np plot", description="Draw the validation accuracy of runs."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("accuracy.png"),
        metavar="FILE",
        help="picture to write, .png, .svg or .pdf (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    try:
        curves = [read_curve(folder) for folder in arguments.runs]
        plot_accuracy(curves).savefig(arguments.output, dpi=130)
    except (RunFolderError, OSError, ValueError) as error:
        print(f"python -m lenet_np plot: {error}", file=sys.stderr)
        return 1
    print(arguments.output)
    return 0
