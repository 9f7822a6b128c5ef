"""The command ``python -m lenet_np evaluate``."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lenet_np.runs.options import add_data_dir, add_network, add_split, check_network
from lenet_np.runs.parser import Parser, at_least
from lenet_np.runs.screen import fail, say

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

    from lenet_np.checkpoint import CheckpointError
    from lenet_np.data import DataError, load_dataset
    from lenet_np.evaluate import evaluate
    from lenet_np.reading.report import as_json, as_text
    from lenet_np.reading.saved import load_network
    from lenet_np.runs.folder import RunFolderError

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
