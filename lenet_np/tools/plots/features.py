"""What the network sees: its first filters, and one digit on its way through every layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES
from lenet_np.layers import Sequential
from lenet_np.ops import Array, Parameters
from lenet_np.tools.plots.style import COLOURS, GREY, SIGNED, house_style, new_figure

#: The layers in each row of the picture, and its height in pixels of a map.
ROWS = (
    (("conv1",), 28),
    (("pool1", "relu1"), 14),
    (("conv2",), 10),
    (("pool2", "relu2"), 6),
    (("dense1", "relu3"), 4),
    (("dense2", "relu4"), 4),
)


def outputs_of(network: Sequential, parameters: Parameters, image: Array) -> dict[str, Array]:
    """Collect what every layer makes of one image, (1, 32, 32, 1), without the batch axis."""
    outputs = {}
    for number, (name, _) in enumerate(network.layers):
        beginning = replace(network, layers=network.layers[: number + 1])
        outputs[name] = beginning.forward(parameters, image)[0][..., 0]
    return outputs


@house_style()
def draw_features(
    network: Sequential, parameters: Parameters, image: Array, label: int, title: str
) -> Any:
    """Draw the filters of the first layer, and the output of every layer for one image."""
    outputs = outputs_of(network, parameters, image)
    logits = outputs["logits"]
    answer = int(logits.argmax())
    figure = new_figure(
        7.0,
        f"{title}: a {label}, read as {answer}\n"
        "blue above 0, white 0, red below; each layer has its own scale",
    )
    top, *rows = figure.subfigures(len(ROWS) + 1, 1, height_ratios=[32, *(h + 9 for _, h in ROWS)])
    first, filters, bars = top.subplots(1, 3, width_ratios=(1, 2.2, 2))
    first.imshow(image[0, ..., 0], cmap="gray_r")
    first.set_title("input: 32 x 32")
    first.set(xticks=[], yticks=[])
    first.spines[:].set_visible(True)
    weight = parameters["conv1.weight"]
    _draw_maps(filters, weight[:, 0], _name("filters of conv1", weight[:, 0]))
    _draw_logits(bars, logits, label, answer)
    for row, (names, _) in zip(rows, ROWS, strict=True):
        for panel, name in zip(np.atleast_1d(row.subplots(1, len(names))), names, strict=True):
            # The same scale before and behind a ReLU: what was red turns white.
            before = outputs[names[0]]
            _draw_maps(panel, outputs[name], _name(name, outputs[name]), np.abs(before).max())
    return figure


def _name(name: str, values: Array) -> str:
    return f"{name}: {' x '.join(map(str, values.shape))}"


def montage(maps: Array) -> NDArray[np.float64]:
    """Put maps (C, H, W) side by side, a pixel of NaN between them: (H, C W + C - 1)."""
    count, height, width = maps.shape
    side_by_side = np.full((height, count, width + 1), np.nan)
    side_by_side[:, :, :width] = maps.transpose(1, 0, 2)
    return side_by_side.reshape(height, -1)[:, :-1]


def _draw_maps(panel: Any, values: Array, name: str, largest: float | None = None) -> None:
    """Draw feature maps, or a vector as one strip, from red over white at 0 to blue."""
    largest = float(np.abs(values).max() if largest is None else largest) or 1.0
    strip = values.ndim == 1
    panel.imshow(
        values[np.newaxis] if strip else montage(values),
        cmap=SIGNED,
        vmin=-largest,
        vmax=largest,
        aspect="auto" if strip else "equal",
    )
    panel.set_title(name)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(strip)
    panel.set_facecolor(GREY)


def _draw_logits(panel: Any, logits: Array, label: int, answer: int) -> None:
    colours = [GREY] * CLASSES
    colours[answer] = COLOURS[1]
    colours[label] = COLOURS[0]
    panel.bar(range(CLASSES), logits, color=colours)
    panel.axhline(0, color="black", linewidth=0.6)
    panel.set_xticks(range(CLASSES))
    panel.set_title("logits: the label blue" + (", the answer red" if answer != label else ""))
