"""What is taken for what: the confusion matrix, and the images that are most clearly misread."""

from __future__ import annotations

from typing import Any

import numpy as np

from lenet_np.data import CLASSES, Split
from lenet_np.data.dataset import one_hot
from lenet_np.evaluate import count_answers
from lenet_np.losses import margin, predict
from lenet_np.ops import Array
from lenet_np.tools.plots.style import POSITIVE, house_style, new_figure

ROWS, COLUMNS = 5, 4


@house_style()
def draw_confusion(logits: Array, split: Split, title: str) -> Any:
    """Draw the confusion matrix, and beside it the errors with the worst margins."""
    answers = predict(logits)
    result = count_answers(split.classes, answers)
    figure = new_figure(
        4.5, f"{title}: {100 * result.accuracy:.2f} % of {len(split):,} images read right"
    )
    left, right = figure.subfigures(1, 2, width_ratios=(1.3, 1))
    _draw_matrix(left.subplots(), result.confusion)

    lead = margin(logits, one_hot(split.classes).T)
    errors = np.flatnonzero(answers != split.classes)
    worst = errors[np.argsort(lead[errors], kind="stable")][: ROWS * COLUMNS]
    right.suptitle(
        f"The clearest of {len(errors):,} errors: label → answer,\nby how much its logit wins",
        fontsize=9,
    )
    for panel in right.subplots(ROWS, COLUMNS).flat:
        panel.set_axis_off()
    for panel, index in zip(right.axes, worst, strict=False):
        panel.imshow(split.pixels[index], cmap="gray_r", vmin=0, vmax=255)
        panel.set_title(
            f"{split.classes[index]} → {answers[index]}  {-lead[index]:.1f}", fontsize=8, pad=2
        )
    return figure


def _draw_matrix(panel: Any, confusion: Any) -> None:
    from matplotlib.colors import PowerNorm

    # The root makes a handful of errors visible beside a thousand right answers.
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = panel.imshow(shares, cmap=POSITIVE, norm=PowerNorm(0.4, 0, 1), aspect="auto")
    for (label, answer), count in np.ndenumerate(confusion):
        if count:
            colour = "white" if image.norm(shares[label, answer]) < 0.55 else "black"
            panel.text(
                answer, label, f"{count}", ha="center", va="center", color=colour, fontsize=7
            )
    panel.set(
        xlabel="answer",
        ylabel="label",
        xticks=range(CLASSES),
        yticks=range(CLASSES),
        title="images of each label by answer",
    )
    panel.spines[:].set_visible(False)
    bar = panel.figure.colorbar(image, ax=panel, pad=0.02, ticks=(0, 0.01, 0.05, 0.2, 0.5, 1))
    bar.ax.set_yticklabels(("0", "1 %", "5 %", "20 %", "50 %", "100 %"))
    bar.set_label("share of the label's images")
