"""Learning curves: validation accuracy and training loss of runs over their epochs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lenet_np.plots.describe import differing, effective, unusual, words
from lenet_np.plots.history import History, common_epochs
from lenet_np.plots.style import COLOURS, LINES, MARKERS, count_in_integers, house_style, new_figure
from lenet_np.state import Settings

#: Markers on a curve, at most about so many.
MARKED = 10


class Group(NamedTuple):
    """Runs that differ in nothing but their seed."""

    name: str  # what the legend says
    runs: list[History]


def group_by_settings(histories: Sequence[History]) -> tuple[list[Group], str]:
    """Put runs that differ only in their seed together, and name what differs.

    Parameters
    ----------
    histories : sequence of History

    Returns
    -------
    groups : list of Group
        In the order of the runs.
    common : str
        The title: what all have in common.
    """
    found: dict[tuple[str, Settings], list[History]] = defaultdict(list)
    for history in histories:
        settings = effective(history.config.settings)
        found[history.config.dataset, replace(settings, seed=0)].append(history)
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
        if len(seeds) > 1:
            parts.append(f"mean and range of {len(seeds)} seeds")
        elif not one_seed:
            parts.append(f"seed {seeds[0]}")
        groups.append(Group(", ".join(filter(None, parts)), runs))
    shared = words(alike[0], [name for name in unusual(alike[0]) if name not in names])
    if one_seed:
        shared = ", ".join(filter(None, [shared, f"seed {histories[0].config.settings.seed}"]))
    return groups, f"{', '.join(datasets)}: {shared}".removesuffix(": ")


@house_style()
def draw_curves(histories: Sequence[History]) -> Any:
    """Draw the validation accuracy and the training loss of runs, those of several seeds as one.

    Parameters
    ----------
    histories : sequence of History
        At least one.

    Returns
    -------
    matplotlib.figure.Figure
    """
    groups, title = group_by_settings(histories)
    rows = -(-len(groups) // 2) if len(groups) > 1 or len(histories) > 1 else 0
    figure = new_figure(3.4 + 0.2 * rows, title)
    losses = {history.config.settings.loss for history in histories}
    units = {"zero-one": "errors under noise, share", "cross-entropy": "cross-entropy, nats"}
    labels = {
        "validation_accuracy": "validation accuracy",
        "train_loss": f"training loss ({'; '.join(units[name] for name in sorted(losses))})",
    }
    panels = figure.subplots(1, 2)
    for panel, (column, label) in zip(panels, labels.items(), strict=True):
        for number, group in enumerate(groups):
            _draw_group(panel, group, column, number)
        panel.set(xlabel="epoch", ylabel=label)
        panel.grid(True)
        count_in_integers(panel.xaxis)
    panels[1].set_ylim(bottom=0)
    if rows:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_group(panel: Any, group: Group, column: str, number: int) -> None:
    colour = COLOURS[number % len(COLOURS)]
    look = {"color": colour, "linestyle": LINES[number // len(COLOURS) % len(LINES)]}
    shared = common_epochs(group.runs)
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
        # With one epoch a band has no width; the bar has.
        panel.fill_between(
            epochs, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0.8
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
