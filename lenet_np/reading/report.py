"""What an evaluation says, as text of at most 80 columns and as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES
from lenet_np.evaluate import Evaluation
from lenet_np.reading.interval import wilson


def as_text(evaluation: Evaluation) -> str:
    """Write accuracy, the table of the classes and the confusion matrix.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    str of several lines
    """
    confusion = evaluation.confusion
    right, total = int(np.trace(confusion)), int(confusion.sum())
    low, high = wilson(right, total)
    lines = [
        f"accuracy {evaluation.accuracy:.4f}: {right} of {total} images",
        f"95 % interval {low:.4f} to {high:.4f} (Wilson)",
        "",
        "class  images  recall  precision  most often taken for",
    ]
    for k in range(CLASSES):
        wrong, times = most_frequent_error(confusion, k)
        taken = "-" if wrong is None else f"{wrong} ({times} of {confusion[k].sum()})"
        lines.append(
            f"{k:5}  {confusion[k].sum():6}  {_share(evaluation.recall[k]):>6}  "
            f"{_share(evaluation.precision[k]):>9}  {taken}"
        )
    dead = evaluation.dead_classes()
    if dead:
        lines.append(f"never the answer (dead classes): {', '.join(map(str, dead))}")
    width = max(4, len(str(confusion.max())))
    lines += ["", "label " + "".join(f" {k:{width}}" for k in range(CLASSES)) + "   <- answer"]
    for k, row in enumerate(confusion):
        # A dot for nothing lets the mistakes stand out.
        lines.append(f"{k:5} " + "".join(f" {n or '.':>{width}}" for n in row))
    return "\n".join(lines)


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Collect the same for JSON; what cannot be computed is None.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    dict
    """
    confusion = evaluation.confusion
    right, total = int(np.trace(confusion)), int(confusion.sum())
    classes = []
    for k in range(CLASSES):
        wrong, times = most_frequent_error(confusion, k)
        classes.append(
            {
                "class": k,
                "images": int(confusion[k].sum()),
                "recall": _number(evaluation.recall[k]),
                "precision": _number(evaluation.precision[k]),
                "most_frequent_error": wrong,
                "times": times,
            }
        )
    return {
        "images": total,
        "right": right,
        "accuracy": evaluation.accuracy,
        "wilson_95": list(wilson(right, total)),
        "classes": classes,
        "dead_classes": evaluation.dead_classes(),
        "confusion": confusion.tolist(),
    }


def most_frequent_error(confusion: NDArray[np.int64], k: int) -> tuple[int | None, int]:
    """Find what class k is most often taken for: (class, how often), the first one on ties.

    Parameters
    ----------
    confusion : (10, 10), labels by answers
    k : int

    Returns
    -------
    (int, int), or (None, 0) without a mistake.
    """
    wrong = confusion[k].copy()
    wrong[k] = 0
    times = int(wrong.max())
    return (int(wrong.argmax()), times) if times else (None, 0)


def _share(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
