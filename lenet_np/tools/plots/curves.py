"""Learning curves: validation accuracy and training loss of runs over their epochs."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from lenet_np.settings import Settings
from lenet_np.tools.plots.captions import differing, effective, unusual, words
from lenet_np.tools.plots.style import (
    COLOURS,
    LINES,
    MARKERS,
    count_in_integers,
    house_style,
    new_figure,
)
from lenet_np.tools.runs.history import History

#: What the training loss counts.
UNITS = {"zero-one": "share of errors under noise", "cross-entropy": "cross-entropy in nats"}
#: Markers on a curve, at most about so many.
MARKED = 10


class Group(NamedTuple):
    """Runs that differ in nothing but their seed."""

    name: str  # what the legend says
    runs: list[History]


def group_by_settings(histories: Sequence[History]) -> tuple[list[Group], str]:
    """Put runs that differ only in their seed together, and name what differs.

    Beside the groups, in the order of the runs, it returns the title: what all have in common.
    """
    found: dict[tuple[str, Settings], list[History]] = defaultdict(list)
    for history in histories:
        settings = effective(history.config.settings)
        found[history.config.dataset, Settings.recorded(asdict(settings) | {"seed": 0})].append(
            history
        )
    datasets = list(dict.fromkeys(dataset for dataset, _ in found))
    alike = [settings for _, settings in found]
    names = differing(alike)
    one_seed = len({history.config.settings.seed for history in histories}) == 1
    groups = []
    for (dataset, settings), runs in found.items():
        seeds = sorted({run.config.settings.seed for run in runs})
        parts = [words(settings, names)]
        if len(datasets) > 1:
            parts.append(f"on {dataset}")
        if len(runs) > 1:
            all_differ = len(seeds) == len(runs)
            parts.append(f"mean and range of {len(runs)} {'seeds' if all_differ else 'runs'}")
            if len({len(run.epochs) for run in runs}) > 1:
                parts[-1] += " (thin: one)"
        elif not one_seed:
            parts.append(f"seed {seeds[0]}")
        groups.append(Group(", ".join(filter(None, parts)), runs))
    shared = words(alike[0], [name for name in unusual(alike[0]) if name not in names])
    if one_seed:
        shared = ", ".join(filter(None, [shared, f"seed {histories[0].config.settings.seed}"]))
    on = ", ".join(datasets)
    return groups, f"{on}: {shared}" if shared else f"learning curves on {on}"


@house_style()
def draw_curves(histories: Sequence[History]) -> Any:
    """Draw the validation accuracy and the training loss of runs, those of several seeds as one."""
    groups, title = group_by_settings(histories)
    legend = [] if len(histories) == 1 else [textwrap.fill(group.name, 115) for group in groups]
    columns = 2 if len(legend) > 1 and max(map(len, legend)) < 50 else 1
    lines = sum(name.count("\n") + 1 for name in legend) / columns
    figure = new_figure(3.3 + 0.18 * lines, title)
    accuracy, loss = figure.subplots(1, 2)
    units = {UNITS.get(one.config.settings.loss, "your loss under noise") for one in histories}
    for panel, column in ((accuracy, "validation_accuracy"), (loss, "train_loss")):
        for number, group in enumerate(groups):
            _draw_group(panel, group, column, number)
        panel.set_xlabel("epoch")
        panel.grid(True)
        count_in_integers(panel.xaxis)
    accuracy.set(title="validation accuracy", ylabel="share of images read right")
    loss.set(title="training loss", ylabel=",\nor ".join(sorted(units, reverse=True)))
    loss.set_ylim(bottom=0)
    if legend:
        handles, _ = accuracy.get_legend_handles_labels()
        figure.legend(handles, legend, loc="outside lower center", ncols=columns)
    return figure


def _draw_group(panel: Any, group: Group, column: str, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    look = {"color": colour, "linestyle": LINES[number // len(COLOURS) % len(LINES)]}
    shared = min(len(run.epochs) for run in group.runs)
    values = np.array([run.columns[column][:shared] for run in group.runs])
    epochs = group.runs[0].epochs[:shared]
    longest = max(len(run.epochs) for run in group.runs)
    panel.plot(
        epochs,
        values.mean(axis=0),
        label=group.name,
        marker=MARKERS[number % len(MARKERS)],
        markevery=-(-longest // MARKED),
        **look,
    )
    if len(group.runs) > 1:
        # The outline is what is seen of a band of one epoch.
        panel.fill_between(
            epochs,
            values.min(axis=0),
            values.max(axis=0),
            facecolor=(colour, 0.2),
            edgecolor=(colour, 0.35),
            linewidth=0.8,
        )
        # A mean over fewer and fewer runs would jump: what goes beyond goes by itself.
        for run in group.runs:
            panel.plot(
                run.epochs[shared - 1 :],
                run.columns[column][shared - 1 :],
                linewidth=0.8,
                alpha=0.6,
                **look,
            )
