"""The drawings of the pages in docs/; every number in them is computed by the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lenet_np import ops
from lenet_np.data import CLASSES
from lenet_np.es import estimate_gradient, sample_noise
from lenet_np.losses import zero_one_loss
from lenet_np.ops import Array
from lenet_np.smoothed import smoothed_zero_one
from lenet_np.tools.plots.style import COLOURS, house_style, write_figure

#: The image on docs/network.md whose windows are lined up, and the one whose maxima are found.
IMAGE = np.arange(1.0, 17.0).reshape(4, 4)
POOLED = np.array([[1.0, 3, 2, 0], [2, 0, 2, 1], [4, 1, 0, 5], [0, 4, 3, 1]])
UPSTREAM = np.array([[10.0, 20], [30, 40]])
WINDOW_COLOURS = COLOURS[:4]
SIGMAS = (1.0, 2.0, 4.0, 8.0)
LINES = ("-", "--", "-", "-.")


def layers() -> Any:
    """Draw im2col of a 4x4 image and the way of max-pool's gradient."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 7.0), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(9, 5))
    _draw_im2col(halves[0])
    _draw_max_pool(halves[1])
    return figure


def _draw_im2col(figure: Any) -> None:
    columns = ops.im2col(IMAGE[np.newaxis, :, :, np.newaxis], (3, 3))[:, :, 0, :, :, 0]
    figure.suptitle("im2col: each 3x3 window of a 4x4 image becomes a column", fontsize=11)
    image, *parts = figure.subplots(1, 3, width_ratios=(4, 3, 3))
    table(image, IMAGE)
    image.set_title("the image, and its four windows")
    for number, colour in enumerate(WINDOW_COLOURS):
        p, q = divmod(number, 2)
        inset = 0.06 + 0.07 * number
        outline(image, p + inset, q + inset, 3 - 2 * inset, 3 - 2 * inset, colour)
    for p, axes in enumerate(parts):
        matrix = columns[:, p].reshape(9, 2)  # rows (i, j), columns q
        table(axes, matrix)
        axes.set_title(f"columns of output row p = {p}")
        for q in range(2):
            outline(axes, 0.05, q + 0.05, 8.9, 0.9, WINDOW_COLOURS[2 * p + q])
            axes.text(q + 0.5, 9.2, f"q = {q}", ha="center", va="top", fontsize=8)
        for i, j in np.ndindex(3, 3):
            axes.text(-0.15, 3 * i + j + 0.5, f"i={i}, j={j}", ha="right", va="center", fontsize=7)


def _draw_max_pool(figure: Any) -> None:
    x = POOLED[np.newaxis, :, :, np.newaxis]
    y, cache = ops.max_pool2d_forward(x, 2, 2)
    dx = ops.max_pool2d_backward(UPSTREAM[np.newaxis, :, :, np.newaxis], cache)[0, :, :, 0]
    figure.suptitle("max-pool: the gradient goes back to the pixel that won", fontsize=11)
    panels = figure.subplots(1, 4, width_ratios=(4, 2, 2, 4))
    for axes, values, title in zip(
        panels,
        (POOLED, y[0, :, :, 0], UPSTREAM, dx),
        ("x", "y, the maxima", "dy", "dx"),
        strict=True,
    ):
        table(axes, values)
        axes.set_title(title)
    for number, colour in enumerate(WINDOW_COLOURS):
        p, q = divmod(number, 2)
        for axes, size in zip(panels, (2, 1, 1, 2), strict=True):
            outline(axes, size * p + 0.06, size * q + 0.06, size - 0.12, size - 0.12, colour)
    for axes in (panels[0], panels[3]):
        for row, column in np.argwhere(dx != 0):
            outline(axes, row + 0.2, column + 0.2, 0.6, 0.6, "black", 1.0)


def table(axes: Any, values: Array) -> None:
    """Write an array as a grid of numbers, row 0 at the top."""
    rows, columns = values.shape
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    axes.set_axis_off()
    axes.hlines(range(rows + 1), 0, columns, color="0.8", linewidth=0.6, clip_on=False)
    axes.vlines(range(columns + 1), 0, rows, color="0.8", linewidth=0.6, clip_on=False)
    for (row, column), value in np.ndenumerate(values):
        axes.text(column + 0.5, row + 0.5, f"{value:g}", ha="center", va="center")


def outline(
    axes: Any, top: float, left: float, height: float, width: float, colour: str, line: float = 2.0
) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=line)
    )


def smoothing() -> Any:
    """Draw the 0-1 loss of one image under noise, and its gradient, over the label's logit.

    Lines are exact; dots are estimates from 200 samples at sigma 4.
    """
    from matplotlib.figure import Figure

    labels = np.eye(CLASSES)[:, :1]  # the label is class 0, all rivals have logit 0
    leads = np.linspace(-16, 16, 257)
    logits = labels * leads
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.step(leads, leads < 0, where="mid", color="black", linewidth=1.0, label="0-1 loss")
    for number, sigma in enumerate(SIGMAS):
        exact = smoothed_zero_one(logits, np.broadcast_to(labels, logits.shape), sigma)
        look = {"color": COLOURS[number], "linestyle": LINES[number], "label": f"sigma {sigma:g}"}
        left.plot(leads, exact.loss, **look)
        right.plot(leads, exact.gradient[0], **look)
    dots = np.linspace(-16, 16, 33)
    noise = sample_noise(np.random.default_rng(0), CLASSES, 200, len(dots), np.float64)
    of_dots = np.broadcast_to(labels, (CLASSES, len(dots)))
    estimate = estimate_gradient(zero_one_loss, labels * dots, of_dots, noise, 4.0)
    style = {"s": 12, "color": COLOURS[SIGMAS.index(4.0)], "label": "estimates, sigma 4, n = 200"}
    left.scatter(dots, estimate.loss, **style)
    right.scatter(dots, estimate.gradient[0], **style)
    left.set_title("J, the probability of an error under noise")
    right.set_title("its derivative by the logit of the label")
    for axes in (left, right):
        axes.set_xlabel("lead of the label over nine equal rivals")
        axes.grid(True)
        axes.legend(fontsize=7)
    return figure


FIGURES = {"layers": layers, "smoothing": smoothing}


def draw_diagrams(folder: Path) -> list[Path]:
    """Draw the figures of docs/network.md and docs/evolution-strategies.md; name their files."""
    files = []
    for name, draw in FIGURES.items():
        with house_style():
            figure = draw()
        files.append(folder / f"{name}.png")
        write_figure(figure, files[-1])
    return files
