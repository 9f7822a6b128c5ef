"""How each class fares over the epochs, and how strong the signal is that it learns from."""

from __future__ import annotations

from typing import Any

import numpy as np

from lenet_np.data import CLASSES
from lenet_np.ops import Float64
from lenet_np.tools.plots.captions import title
from lenet_np.tools.plots.style import (
    COLOURS,
    MARKERS,
    POSITIVE,
    SIGNED,
    count_in_integers,
    house_style,
    new_figure,
)
from lenet_np.tools.runs.history import History
from lenet_np.tools.runs.table import DEAD_UNITS

#: Gradients are shown over so many powers of ten; smaller ones look like the smallest.
DECADES = 10
_NO_VALUE, _BEHIND = "#d9d9d9", "#B2182B"


@house_style()
def draw_classes(history: History) -> Any:
    """Draw recall, margin and gradient of each class, the gradient's signal, and the dead units."""
    from matplotlib.colors import ListedColormap, LogNorm

    figure = new_figure(5.2, title(history.config))
    maps, lines = figure.subplots(2, 3)
    margin, norm = history.by_class("margin"), history.by_class("gradient_norm")
    widest = _largest(np.abs(margin)) or 1.0
    at_logits = history.config.settings.perturb == "logits"
    unit = "mean margin / sigma" if at_logits else "mean margin of the logits"
    strongest = _largest(norm) or 1.0
    weakest = strongest / 10**DECADES
    _draw_map(maps[0], history, history.by_class("recall"), "recall", vmin=0, vmax=1)
    _draw_map(maps[1], history, margin, unit, cmap=SIGNED, vmin=-widest, vmax=widest)
    _draw_map(
        maps[2],
        history,
        np.maximum(norm, weakest),
        "mean |gradient of the logits|\nred: vanishes, and the margin is below 0",
        norm=LogNorm(weakest, strongest),
    )
    # A class that is safely ahead has no gradient either; but it needs none.
    behind = np.where((norm <= weakest) & (margin < 0), 1.0, np.nan)
    extent = maps[2].images[0].get_extent()
    maps[2].imshow(behind, aspect="auto", extent=extent, cmap=ListedColormap([_BEHIND]))
    maps[0].set_ylabel("class")
    _draw_lines(
        lines[0], history, "signal to noise of the estimate", {"|g|² / error²": "signal_to_noise"}
    )
    _draw_lines(
        lines[1],
        history,
        "estimate and exact gradient",
        {"cosine": "cosine", "share with signal": "signal_share"},
    )
    _draw_lines(
        lines[2],
        history,
        "share of dead units",
        {name.removeprefix("dead_"): name for name in DEAD_UNITS},
    )
    return figure


def _largest(values: Float64) -> float:
    """Find the largest value that is a number; 0 if there is none."""
    return float(values.max(where=np.isfinite(values), initial=0.0))


def _draw_map(panel: Any, history: History, values: Float64, name: str, **options: Any) -> None:
    first, last = history.epochs[0], history.epochs[-1]
    image = panel.imshow(
        values,
        aspect="auto",
        extent=(first - 0.5, last + 0.5, CLASSES - 0.5, -0.5),
        **{"cmap": POSITIVE, **options},
    )
    panel.set_facecolor(_NO_VALUE)  # seen where a value is NaN: a class without images
    panel.set(title=name, xlabel="epoch", yticks=range(CLASSES))
    panel.spines[:].set_visible(False)
    count_in_integers(panel.xaxis, 5)
    panel.figure.colorbar(image, ax=panel, pad=0.02)


def _draw_lines(panel: Any, history: History, name: str, columns: dict[str, str]) -> None:
    panel.set(title=name, xlabel="epoch")
    count_in_integers(panel.xaxis, 5)
    drawn = {key: history.columns[column] for key, column in columns.items()}
    if not any(np.isfinite(values).any() for values in drawn.values()):
        panel.text(
            0.5, 0.5, "no noise:\nthe gradient is exact", ha="center", transform=panel.transAxes
        )
        panel.set(xticks=[], yticks=[], xlabel="")
        panel.spines[:].set_visible(False)
        return
    for number, (key, values) in enumerate(drawn.items()):
        panel.plot(
            history.epochs,
            values,
            label=key,
            color=COLOURS[number],
            marker=MARKERS[number],
            markevery=-(-len(values) // 10),
        )
    # Room for the legend above the curves.
    panel.set_ylim(0, 1.35 * max(max(map(_largest, drawn.values())), 1e-3))
    panel.grid(True)
    panel.legend(loc="upper right", ncols=2 if len(drawn) > 2 else 1)
