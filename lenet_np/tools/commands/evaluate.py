"""The command ``python -m lenet_np evaluate``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES
from lenet_np.evaluate import Evaluation
from lenet_np.tools.cli.parser import (
    Parser,
    add_data_dir,
    add_network,
    add_split,
    at_least,
    check_network,
)
from lenet_np.tools.cli.screen import fail, say

PROGRAM = "python -m lenet_np evaluate"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after the command's name; the program's own by default.

    Returns
    -------
    int : the exit status. 0 done; 1 there is no such network; 2 usage; 3 the data cannot be had.
    """
    parser = Parser(
        prog=PROGRAM,
        description="Say how well a trained network reads: accuracy, recall and precision of "
        "each class, and what is taken for what.",
        epilog="Exit status: 0 done; 1 there is no such network; 2 usage; 3 the data cannot be "
        "had.",
        allow_abbrev=False,
    )
    add_network(parser)
    add_split(parser, "images to read")
    add = parser.add_argument
    add(
        "--dataset",
        choices=("mnist", "synthetic"),
        help="data set to read (default: the one that the network was trained on)",
    )
    add_data_dir(parser)
    add(
        "--threads",
        type=at_least(1),
        metavar="N",
        help="threads to work with; the results do not depend on it (default: one per core)",
    )
    add("--json", action="store_true", help="print one JSON object instead of the tables")
    arguments = parser.parse_args(argv)
    check_network(parser, arguments)

    from lenet_np.data import DataError, load_dataset
    from lenet_np.evaluate import evaluate
    from lenet_np.tools.runs.checkpoint import CheckpointError, load_network
    from lenet_np.tools.runs.folder import RunFolderError

    try:
        saved = load_network(arguments.run, arguments.checkpoint)
    except (RunFolderError, CheckpointError) as error:
        return fail(PROGRAM, 1, error)
    trained_on = saved.checkpoint.dataset
    try:
        data = load_dataset(arguments.dataset or trained_on, arguments.data_dir)
    except DataError as error:
        return fail(PROGRAM, 3, f"this network was trained on {trained_on}: {error}")
    split = getattr(data, arguments.split)
    result = evaluate(
        saved.network, saved.checkpoint.state.parameters, split, threads=arguments.threads
    )
    if arguments.json:
        about = {
            "checkpoint": str(saved.file),
            "epoch": saved.checkpoint.epoch,
            "trained_on": trained_on,
            "dataset": data.name,
            "split": arguments.split,
        }
        say(json.dumps(about | as_json(result)))
    else:
        say(f"{saved}\nread: {arguments.split} images of {data.name}\n\n{as_text(result)}")
    return 0


# --- how far an accuracy measured on a sample can be trusted --------------------------------------

#: The standard normal quantile of 0.975: 95 % lie within.
Z_95 = 1.959964


def wilson(right: int, total: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share: those p that do not contradict what was seen.

    (p̂ + z²/2n ± z sqrt(p̂ (1 - p̂)/n + z²/4n²)) / (1 + z²/n)

    Unlike p̂ ± z sqrt(p̂ (1 - p̂)/n) it stays within 0 and 1, and holds near them.
    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.

    Parameters
    ----------
    right, total : int

    Returns
    -------
    (float, float)

    Raises
    ------
    ValueError
        If there is nothing, or less than nothing, to count.
    """
    if not 0 <= right <= total or total == 0:
        raise ValueError(f"expected 0 to {total} of at least 1, got {right} of {total}")
    share, extra = right / total, Z_95**2 / total
    middle = share + extra / 2
    half = math.sqrt(extra * (share * (1 - share) + extra / 4))
    return max(0.0, (middle - half) / (1 + extra)), min(1.0, (middle + half) / (1 + extra))


# --- what an evaluation says, as text of at most 80 columns and as JSON ---------------------------


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
