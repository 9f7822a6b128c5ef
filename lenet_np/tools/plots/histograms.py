"""Histograms of weights and gradients along a run, as ridges one behind the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.tools.plots.style import POSITIVE, house_style, new_figure
from lenet_np.tools.runs.histograms import Histograms

#: Ridges in a panel at most: of a long run, evenly chosen ones.
RIDGES = 12
#: Bins of a ridge at most, in roots of the number of values: six biases fill no 64 bins.
BINS_PER_ROOT = 2.0
#: A ridge's height in distances between ridges: they overlap.
HEIGHT = 1.8


@house_style()
def draw_histograms(histograms: Histograms, title: str) -> Any:
    """Draw a panel of ridges for each array: the first record in front, the last one behind.

    ValueError if there is no record.
    """
    if not len(histograms.steps):
        raise ValueError("no histogram is recorded yet")
    names = list(histograms.counts)
    columns = -(-len(names) // 2)
    figure = new_figure(
        5.6,
        f"{title}\nthe height is the square root of the count, scaled to the same for every ridge",
    )
    panels = figure.subplots(2, columns, squeeze=False, sharey=True)
    # Weights above, the biases of the same layers below.
    ordered = sorted(names, key=lambda name: name.endswith("bias"))
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    for panel, name in zip(panels.flat, ordered, strict=False):
        _draw_ridges(panel, histograms, name)
    for panel in panels[:, 0]:
        panel.set_ylabel("step")
    return figure


def chosen_records(count: int) -> NDArray[np.int64]:
    """Choose at most `RIDGES` of some records, evenly, the first and the last among them."""
    chosen = np.linspace(0, count - 1, min(count, RIDGES))
    return np.unique(chosen.round().astype(np.int64))


def outline(low: float, high: float, counts: NDArray[np.int64]) -> tuple[Any, Any]:
    """Turn a histogram of equal bins into the outline, x and y, of a ridge of height 1.

    It is one upright line where all values are the same.
    """
    if low == high:
        return np.array([low, low]), np.array([0.0, 1.0])
    bins = len(counts)
    while bins % 2 == 0 and bins > BINS_PER_ROOT * np.sqrt(counts.sum()):
        bins //= 2
    heights = np.sqrt(counts.reshape(bins, -1).sum(axis=1))
    edges = np.linspace(low, high, bins + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    return np.array([low, *centres, high]), np.array([0, *(heights / heights.max()), 0])


def _draw_ridges(panel: Any, histograms: Histograms, name: str) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    records = chosen_records(len(histograms.steps))
    colours = colormaps[POSITIVE](np.linspace(0, 0.9, len(records)))
    for place, (record, colour) in enumerate(zip(records, colours, strict=True)):
        x, y = outline(
            histograms.low[name][record],
            histograms.high[name][record],
            histograms.counts[name][record],
        )
        order = len(records) - place  # what is lower stands in front
        panel.fill_between(x, place, place + HEIGHT * y, color=colour, linewidth=0, zorder=order)
        panel.plot(x, place + HEIGHT * y, color="black", linewidth=0.4, zorder=order)
    shown = range(0, len(records), -(-len(records) // 6))
    panel.set_yticks(shown, [f"{histograms.steps[records[place]]:,}" for place in shown])
    # A run that has just begun leaves room for what is to come.
    panel.set_ylim(-0.3, max(len(records), 4) - 1 + 1.1 * HEIGHT)
    panel.set_title(name)
    panel.xaxis.set_major_locator(MaxNLocator(3))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
    panel.spines["left"].set_visible(False)
    panel.tick_params(axis="y", length=0)
