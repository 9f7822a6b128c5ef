"""The pictures of the studies, drawn from their tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lenet_np.tools.plots.style import (
    COLOURS,
    MARKERS,
    count_in_integers,
    house_style,
    write_figure,
)
from lenet_np.tools.runs.table import Row


def _figure(panels: int, width: float = 3.6, height: float = 3.4, **kwargs: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # A figure of its own needs no screen and no pyplot.

    figure = Figure(figsize=(0.8 + width * panels, height), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, **kwargs)[0]
    for panel in axes:
        panel.grid(True)
    return figure, axes


def _by_run(rows: Sequence[Row]) -> dict[str, list[Row]]:
    runs: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        runs[row["run"]].append(row)
    return dict(runs)


def _column(rows: Sequence[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows]


def _look(number: int) -> dict[str, str]:
    return {"color": COLOURS[number], "marker": MARKERS[number]}


def _fate(run: list[Row]) -> dict[str, str]:
    """Choose the look of a run by whether a class is dead at its end."""
    dead = bool(run[-1]["dead_classes"])
    return {"color": COLOURS[dead], "linestyle": "--" if dead else "-"}


def _name_fates(axes: Any, place: str) -> None:
    axes.plot([], [], color=COLOURS[0], label="every class is predicted at the end")
    axes.plot([], [], color=COLOURS[1], linestyle="--", label="a class never is")
    axes.legend(loc=place)


def _draw_seeds(axes: Any, runs: Sequence[list[Row]], title: str) -> None:
    """Draw the validation accuracy of each seed; its colour tells whether a class is dead."""
    alive = 0
    for rows in runs:
        alive += not rows[-1]["dead_classes"]
        axes.plot(_column(rows, "epoch"), _column(rows, "validation_accuracy"), **_fate(rows))
    count_in_integers(axes.xaxis)
    axes.set_title(f"{title}\nall classes alive at the end: {alive} of {len(runs)}")
    axes.set_xlabel("epoch")


def _draw_panels(rows: Sequence[Row], key: Callable[[Row], str]) -> Any:
    panels: dict[str, list[list[Row]]] = defaultdict(list)
    for run in _by_run(rows).values():
        panels[key(run[0])].append(run)
    figure, axes = _figure(len(panels), sharey=True)
    for panel, (title, runs) in zip(axes, panels.items(), strict=True):
        _draw_seeds(panel, runs, title)
    axes[0].set_ylabel("validation accuracy")
    _name_fates(axes[0], "lower right")
    return figure


def long(rows: Sequence[Row]) -> Any:
    """Draw the validation accuracy of every run; its colour tells what was minimised."""
    figure, (axes,) = _figure(1, width=6.2, height=3.8)
    kinds: dict[str, list[list[Row]]] = defaultdict(list)
    for run in _by_run(rows).values():
        first = run[0]
        kind = "cross-entropy"
        if first["loss"] == "zero-one":
            kind = f"0-1 loss, {first['objective']}"
        kinds[f"{kind}, rate {float(first['learning_rate']):.2g}"].append(run)
    for number, (kind, runs) in enumerate(kinds.items()):
        alive = sum(not run[-1]["dead_classes"] for run in runs)
        for run in runs:
            label = f"{kind}: {alive} of {len(runs)} seeds predict every digit"
            accuracy = _column(run, "validation_accuracy")
            axes.plot(_column(run, "epoch"), accuracy, **_look(number), markevery=5, label=label)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))  # one for all seeds of a kind
    axes.legend(entries.values(), entries, loc="lower right")
    return figure


def lottery(rows: Sequence[Row]) -> Any:
    """Draw accuracy and dead classes over the epochs, a line for each seed."""
    figure, (left, right) = _figure(2)
    runs = list(_by_run(rows).values())
    _draw_seeds(left, runs, "notebook's settings, a line for each seed")
    left.set_ylabel("validation accuracy")
    for number, run in enumerate(runs):
        dead = [len(row["dead_classes"].split()) for row in run]
        shift = 0.04 * (number - len(runs) / 2)
        right.plot(_column(run, "epoch"), np.add(dead, shift), **_fate(run))
    _name_fates(right, "upper right")
    right.set_title("classes that are never predicted\n(lines of one level drawn a little apart)")
    right.set(xlabel="epoch", ylabel="number of classes")
    count_in_integers(right.yaxis)
    return figure


def noise(rows: Sequence[Row]) -> Any:
    """Draw a panel for each estimator."""
    return _draw_panels(rows, lambda row: row["estimator"])


def cure(rows: Sequence[Row]) -> Any:
    """Draw a panel for each learning rate."""
    return _draw_panels(
        rows, lambda row: f"{row['objective']}, rate {float(row['learning_rate']):.2g}"
    )


def best(rows: Sequence[Row]) -> Any:
    """Draw the test accuracy of each objective over the learning rate: mean and range."""
    figure, (axes,) = _figure(1, width=5)
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in _by_run(rows).values():
        last = run[-1]
        if not last["test_accuracy"]:
            continue  # stopped before its last epoch
        kind = last["loss"] if last["loss"] == "cross-entropy" else last["objective"]
        found[kind][float(last["learning_rate"])].append(float(last["test_accuracy"]))
    for number, (kind, accuracies) in enumerate(found.items()):
        x = sorted(accuracies)
        mean = np.array([np.mean(accuracies[rate]) for rate in x])
        low = mean - [min(accuracies[rate]) for rate in x]
        high = [max(accuracies[rate]) for rate in x] - mean
        axes.errorbar(x, mean, [low, high], **_look(number), capsize=3, label=kind)
    rates = sorted({rate for kind in found.values() for rate in kind})
    axes.set_xscale("log")
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.minorticks_off()
    axes.set(xlabel="learning rate", ylabel="test accuracy after 50 epochs")
    axes.legend()
    return figure


def grid(rows: Sequence[Row]) -> Any:
    """Draw validation accuracy over sigma and samples as a map for each objective."""
    objectives = list(dict.fromkeys(row["objective"] for row in rows))
    figure, axes = _figure(len(objectives), width=3.9)
    last = [run[-1] for run in _by_run(rows).values()]
    sigmas = sorted({float(row["sigma"]) for row in last})
    samples = sorted({int(row["samples"]) for row in last})
    for panel, objective in zip(axes, objectives, strict=True):
        values = np.full((len(sigmas), len(samples)), np.nan)
        for row in last:
            if row["objective"] == objective:
                place = sigmas.index(float(row["sigma"])), samples.index(int(row["samples"]))
                values[place] = float(row["validation_accuracy"])
        panel.grid(False)
        panel.imshow(values, cmap="cividis", vmin=0.1, vmax=1, aspect="auto", origin="lower")
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if value < 0.6 else "black"
                panel.text(j, i, f"{value:.3f}", ha="center", va="center", color=colour, fontsize=7)
        panel.set_xticks(range(len(samples)), [str(n) for n in samples])
        panel.set_yticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas])
        panel.set_title(f"{objective}: validation accuracy after 5 epochs")
        panel.set(xlabel="samples", ylabel="sigma")
    return figure


def variance(rows: Sequence[Row]) -> Any:
    """Draw each estimator's variance, relative to plain, over the epochs."""
    objectives = list(dict.fromkeys(row["objective"] for row in rows))
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    figure, axes = _figure(len(objectives), sharey=True)
    for panel, objective in zip(axes, objectives, strict=True):
        for number, name in enumerate(names):
            own = [r for r in rows if (r["objective"], r["estimator"]) == (objective, name)]
            ratio = _column(own, "relative_variance")
            panel.plot(_column(own, "epoch"), ratio, **_look(number), label=name)
        panel.set_yscale("log")
        panel.set_title(objective)
        panel.set_xlabel("epoch")
    axes[0].set_ylabel("variance relative to plain")
    axes[-1].legend(fontsize=7, loc="lower right")
    return figure


#: By the name of the study.
FIGURES = {f.__name__: f for f in (long, lottery, noise, cure, best, grid, variance)}


def draw(study: str, rows: Sequence[Row], file: Path) -> None:
    """Draw the figure of a study from its table; WriteError if it cannot be written."""
    with house_style():
        figure = FIGURES[study](rows)
    write_figure(figure, file)
