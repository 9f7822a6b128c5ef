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
from lenet_np.tools.studies.gradients import by_method


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
    axes.set_xticks(rates, [f"{rate:.2g}" for rate in rates])
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


def _readings(rows: Sequence[Row]) -> list[float]:
    """Count the images that were read by then, in millions; a sample of weight noise reads one."""
    samples = [int(row["samples"]) if row["perturb"] == "weights" else 1 for row in rows]
    images = 0.055 * np.array(samples)  # millions in an epoch
    return list(images * _column(rows, "epoch"))


def _kind_of(row: Row) -> str:
    """Name what the studies of noise in the weights tell apart."""
    if row["perturb"] == "logits":
        return "cross-entropy" if row["loss"] == "cross-entropy" else "noise at the logits"
    if row["rank"] == "full":
        return f"{row['samples']} networks, shared by {row['batch_size']} images"
    samples = f"{row['samples']} samples of {row['batch_size']} images"
    falling = f", decay {row['decay']}" if float(row["decay"]) < 1 else ""
    return f"{row['objective']}, rank {row['rank']}, {samples}{falling}"


def weights(rows: Sequence[Row]) -> Any:
    """Draw accuracy and dead classes over the readings, a line for each seed at its kind's best."""
    kinds: dict[str, list[list[Row]]] = defaultdict(list)
    for run in _by_run(rows).values():
        kinds[_kind_of(run[0])].append(run)
    figure, (left, right) = _figure(2, width=4.6, height=4.4)
    for number, (kind, runs) in enumerate(kinds.items()):
        # The best of the grid is the one that has more seeds.
        settings = [(run[0]["sigma"], run[0]["learning_rate"]) for run in runs]
        best = [run for run, own in zip(runs, settings, strict=True) if own == settings[-1]]
        for run in best:
            x, label = _readings(run), kind if run is best[0] else None
            accuracy = _column(run, "validation_accuracy")
            dead = [len(row["dead_classes"].split()) for row in run]
            left.plot(x, accuracy, **_look(number), label=label)
            right.plot(x, np.add(dead, 0.05 * number), **_look(number))
    left.set(ylabel="validation accuracy")
    right.set(ylabel="classes that are never predicted")
    count_in_integers(right.yaxis)
    for axes in (left, right):
        axes.set(xlabel="readings of an image, millions")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def weights_long(rows: Sequence[Row]) -> Any:
    """Draw accuracy over the images that were read, on one axis for all ways of learning."""
    figure, (axes,) = _figure(1, width=6.2, height=3.8)
    for number, run in enumerate(_by_run(rows).values()):
        axes.plot(
            _readings(run),
            _column(run, "validation_accuracy"),
            **_look(number),
            label=_kind_of(run[0]),
        )
    axes.set_xscale("log")
    axes.set(xlabel="images read, millions", ylabel="validation accuracy")
    axes.legend(loc="lower right")
    return figure


def weights_cosine(rows: Sequence[Row]) -> Any:
    """Draw the cosine of estimate and gradient over the samples, and the law for straight lines."""
    kinds = list(dict.fromkeys(row["noise"] for row in rows))
    figure, axes = _figure(len(kinds), width=4.2, sharey=True)
    for panel, kind in zip(axes, kinds, strict=True):
        of_kind = [row for row in rows if row["noise"] == kind]
        for number, epoch in enumerate(dict.fromkeys(row["epoch"] for row in of_kind)):
            own = [row for row in of_kind if row["epoch"] == epoch]
            x, cosine = _column(own, "samples"), _column(own, "cosine")
            panel.plot(x, cosine, **_look(number), label=f"after {epoch} epochs")
            panel.plot(x, _column(own, "law"), color=COLOURS[number], linestyle="--")
        panel.plot([], [], color="black", linestyle="--", label="the law")
        panel.set(xscale="log", yscale="log", title=kind, xlabel="independent samples")
    axes[0].set_ylabel("cosine with the gradient")
    axes[0].legend()
    return figure


def gradients(rows: Sequence[Row]) -> Any:
    """Draw the validation errors of each method over the epochs, and over the time."""
    figure, axes = _figure(2, width=4.4, height=4.2, sharey=True)
    bases: list[str] = []
    for name, runs in by_method(rows).items():
        base, _, objective = name.partition(" ")
        bases += [base] if base not in bases else []
        twin = {"linestyle": "--", "markerfacecolor": "white"} if objective == "error" else {}
        epochs = np.array(_column(runs[0], "epoch"))
        errors = 1 - np.mean([_column(run, "validation_accuracy") for run in runs], axis=0)
        look = {**_look(bases.index(base)), **twin, "label": name}
        axes[0].plot(epochs, errors, **look)
        axes[1].plot(epochs[1:] * float(runs[0][0]["milliseconds"]), errors[1:], **look)
    axes[0].set(xlabel="epoch", ylabel="validation errors, mean of the seeds", yscale="log")
    axes[1].set(xlabel="time: epochs x milliseconds for a minibatch", xscale="log")
    axes[1].tick_params(axis="x", which="minor", labelbottom=False)
    axes[0].legend(fontsize=7)
    return figure


def costs(rows: Sequence[Row]) -> Any:
    """Draw the cost on the test set over the epochs, the mean and the range of the seeds."""
    figure, (axes,) = _figure(1, width=5)
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["stage"] == "seeds" and float(row["epoch"]):
            kinds[f"{row['trained']}, {row['decision']}"].append(row)
    for number, (kind, own) in enumerate(kinds.items()):
        epochs = sorted({float(row["epoch"]) for row in own})
        paid = [_column([r for r in own if float(r["epoch"]) == e], "test_cost") for e in epochs]
        mean = np.mean(paid, axis=1)
        spread = [mean - np.min(paid, axis=1), np.max(paid, axis=1) - mean]
        beside = np.add(epochs, 0.06 * number)  # so that the ranges do not cover each other
        axes.errorbar(beside, mean, spread, **_look(number), capsize=3, label=kind)
    axes.set(xlabel="epoch", ylabel="cost on the test set", yscale="log")
    count_in_integers(axes.xaxis)
    axes.legend()
    return figure


#: By the name of the study.
FIGURES = {
    **{f.__name__: f for f in (long, lottery, noise, cure, best, grid, variance, gradients, costs)},
    **dict.fromkeys(("weights-cure", "weights-rank", "weights-samples"), weights),
    "weights-long": weights_long,
    "weights-cosine": weights_cosine,
}


def draw(study: str, rows: Sequence[Row], file: Path) -> None:
    """Draw the figure of a study from its table; WriteError if it cannot be written."""
    with house_style():
        figure = FIGURES[study](rows)
    write_figure(figure, file)
