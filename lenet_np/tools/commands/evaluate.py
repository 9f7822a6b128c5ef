"""The command ``python -m lenet_np evaluate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from lenet_np.data import CLASSES
from lenet_np.data.load import DATASETS
from lenet_np.evaluate import Evaluation, evaluate
from lenet_np.tools.cli.parser import (
    Parser,
    add_data_dir,
    add_network,
    add_split,
    at_least,
    open_network,
)
from lenet_np.tools.cli.screen import fail, say

PROGRAM = "python -m lenet_np evaluate"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, which ``--help`` explains."""
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
    parser.add_argument(
        "--dataset",
        choices=DATASETS[1:],
        help="data set to read (default: the one that the network was trained on)",
    )
    add_data_dir(parser)
    parser.add_argument(
        "--threads",
        type=at_least(1),
        metavar="N",
        help="threads to work with; the results do not depend on it (default: one per core)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of the tables"
    )
    arguments = parser.parse_args(argv)
    saved = open_network(parser, arguments)
    if saved is None:
        return 1
    from lenet_np.data import DataError, load_dataset

    trained_on = saved.checkpoint.dataset
    try:
        data = load_dataset(arguments.dataset or trained_on, arguments.data_dir)
    except DataError as error:
        return fail(PROGRAM, 3, f"this network was trained on {trained_on}: {error}")
    split = getattr(data, arguments.split)
    parameters = saved.checkpoint.state.parameters
    summary = summarise(evaluate(saved.network, parameters, split, threads=arguments.threads))
    if arguments.json:
        about = {
            "checkpoint": str(saved.file),
            "epoch": saved.checkpoint.epoch,
            "trained_on": trained_on,
            "dataset": data.name,
            "split": arguments.split,
        }
        say(json.dumps(about | summary))
    else:
        say(f"{saved}\nread: {arguments.split} images of {data.name}\n\n{as_text(summary)}")
    return 0


def summarise(evaluation: Evaluation) -> dict[str, Any]:
    """Collect what is said, ready for JSON: what cannot be computed is None.

    The interval is Wilson's: those shares of right answers that do not contradict what was seen.
    Unlike p ± z sqrt(p (1 - p)/n) it stays within 0 and 1, and holds near them.
    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    from scipy.stats import binomtest  # Here, because it takes half a second.

    confusion = evaluation.confusion
    right, total = int(np.trace(confusion)), int(confusion.sum())
    classes = []
    for k in range(CLASSES):
        wrong = confusion[k].copy()
        wrong[k] = 0
        times = int(wrong.max())
        classes.append(
            {
                "class": k,
                "images": int(confusion[k].sum()),
                "recall": _number(evaluation.recall[k]),
                "precision": _number(evaluation.precision[k]),
                "most_frequent_error": int(wrong.argmax()) if times else None,
                "times": times,
            }
        )
    return {
        "images": total,
        "right": right,
        "accuracy": evaluation.accuracy,
        "wilson_95": list(binomtest(right, total).proportion_ci(method="wilson")),
        "classes": classes,
        "dead_classes": evaluation.dead_classes(),
        "confusion": confusion.tolist(),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def as_text(summary: dict[str, Any]) -> str:
    """Write accuracy, the table of the classes and the confusion matrix, in 80 columns."""
    low, high = summary["wilson_95"]
    lines = [
        f"accuracy {summary['accuracy']:.4f}: {summary['right']} of {summary['images']} images",
        f"95 % interval {low:.4f} to {high:.4f} (Wilson)",
        "",
        "class  images  recall  precision  most often taken for",
    ]
    for k, images, recall, precision, error, times in map(dict.values, summary["classes"]):
        taken = "-" if error is None else f"{error} ({times} of {images})"
        recall, precision = ("-" if x is None else f"{x:.4f}" for x in (recall, precision))
        lines.append(f"{k:5}  {images:6}  {recall:>6}  {precision:>9}  {taken}")
    if summary["dead_classes"]:
        dead = ", ".join(map(str, summary["dead_classes"]))
        lines.append(f"never the answer (dead classes): {dead}")
    width = max(4, *(len(str(count)) for row in summary["confusion"] for count in row))
    lines += ["", "label " + "".join(f" {k:{width}}" for k in range(CLASSES)) + "   <- answer"]
    for k, row in enumerate(summary["confusion"]):
        # A dot for nothing lets the mistakes stand out.
        lines.append(f"{k:5} " + "".join(f" {n or '.':>{width}}" for n in row))
    return "\n".join(lines)
