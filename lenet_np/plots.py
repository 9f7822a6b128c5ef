"""Pictures of runs: ``python -m lenet_np plot RUN [RUN ...] [--classes] --output FILE``."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES
from lenet_np.runs.folder import METRICS, RunFolderError
from lenet_np.runs.table import DEAD_UNITS, DIAGNOSTICS, RECALLS, SIGNALS
from lenet_np.runs.parser import Parser

# Okabe and Ito's colours, which colour-blind readers can tell apart; a marker each as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^v<>"


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

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        axes.plot(
            curve.epochs,
            curve.validation_accuracy,
            label=curve.name,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
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


class Health(NamedTuple):
    """The diagnostics of a run, epoch by epoch; see `lenet_np.diagnostics`."""

    epochs: NDArray[np.float64]  # (E,)
    by_class: dict[str, NDArray[np.float64]]  # recall, margin, gradient_norm: (10, E)
    signals: dict[str, NDArray[np.float64]]  # (E,)


def read_health(folder: Path) -> Health:
    """Read the diagnostics of a run.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Health

    Raises
    ------
    RunFolderError
        If there are none, or they are damaged.
    """
    try:
        with open(folder / METRICS, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        columns = {k: np.array([float(row[k]) for row in rows]) for k in (*RECALLS, *DIAGNOSTICS)}
        epochs = np.array([float(row["epoch"]) for row in rows])
    except OSError as error:
        raise RunFolderError(f"{folder} is no run: {METRICS}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{folder / METRICS} holds no diagnostics: {error}") from error
    if not rows:
        raise RunFolderError(f"{folder / METRICS} is empty: no epoch was completed")
    by_class = {
        name: np.array([columns[f"{name}_{k}"] for k in range(CLASSES)])
        for name in ("recall", "margin", "gradient_norm")
    }
    signals = {name: columns[name] for name in (*SIGNALS, *DEAD_UNITS)}
    return Health(epochs, by_class, signals)


def plot_classes(health: Health, title: str) -> Any:
    """Draw how each class fares over the epochs, and the signs of signal and of dead units.

    Parameters
    ----------
    health : Health
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 3)
    figure.suptitle(title, fontsize=11)
    edges = (health.epochs[0] - 0.5, health.epochs[-1] + 0.5, CLASSES - 0.5, -0.5)
    largest = max(float(np.nanmax(np.abs(health.by_class["margin"]))), 1e-6)
    norms = health.by_class["gradient_norm"]
    smallest_norm = max(float(np.nanmax(norms)), 1e-12) / 1e4
    maps: list[tuple[str, str, dict[str, Any]]] = [
        ("recall", "recall", {"cmap": "cividis", "vmin": 0, "vmax": 1}),
        ("margin", "mean margin / sigma", {"cmap": "RdBu", "vmin": -largest, "vmax": largest}),
        ("gradient_norm", "mean |g|", {"cmap": "cividis", "norm": LogNorm(smallest_norm)}),
    ]
    for panel, (name, label, options) in zip(panels[0], maps, strict=True):
        image = panel.imshow(
            np.maximum(health.by_class[name], smallest_norm)
            if name == "gradient_norm"
            else health.by_class[name],
            aspect="auto",
            extent=edges,
            interpolation="nearest",
            **options,
        )
        panel.set_title(label, fontsize=9)
        panel.set(xlabel="epoch", yticks=range(CLASSES))
        figure.colorbar(image, ax=panel)
    panels[0, 0].set_ylabel("class")
    lines = [
        ("signal to noise", {"|g|² / error²": "signal_to_noise"}),
        ("estimate and exact gradient", {"cosine": "cosine", "share with signal": "signal_share"}),
        ("share of dead units", {k.removeprefix("dead_"): k for k in DEAD_UNITS}),
    ]
    for panel, (label, names) in zip(panels[1], lines, strict=True):
        for number, (key, name) in enumerate(names.items()):
            panel.plot(
                health.epochs,
                health.signals[name],
                label=key,
                color=COLOURS[number],
                marker=MARKERS[number],
                markersize=3,
                linewidth=1.2,
            )
        panel.set_title(label, fontsize=9)
        panel.set_xlabel("epoch")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=7)
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
    parser = Parser(
        prog="python -m lenet_np plot",
        description="Draw the validation accuracy of runs, or how the classes of one run fare.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--classes",
        action="store_true",
        help="draw instead how each class of one run fares: recall, margin, gradient, signal",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="picture to write, .png, .svg or .pdf (default: accuracy.png, or classes.png)",
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.classes:
            if len(arguments.runs) > 1:
                parser.error("--classes draws one run at a time")
            (folder,) = arguments.runs
            output = arguments.output or Path("classes.png")
            plot_classes(read_health(folder), folder.resolve().name).savefig(output, dpi=130)
        else:
            output = arguments.output or Path("accuracy.png")
            plot_accuracy([read_curve(run) for run in arguments.runs]).savefig(output, dpi=130)
    except (RunFolderError, OSError, ValueError) as error:
        print(f"python -m lenet_np plot: {error}", file=sys.stderr)
        return 1
    print(output)
    return 0
