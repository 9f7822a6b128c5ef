"""The command ``python -m lenet_np plot``: it draws what it can, and says what it cannot."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lenet_np.data import CLASSES, Split, load_dataset
from lenet_np.data.minibatch import gather
from lenet_np.data.mnist import MissingDataError
from lenet_np.evaluate import logits_of
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.ops import Parameters
from lenet_np.tools.cli.parser import (
    Parser,
    add_checkpoint,
    add_data_dir,
    add_split,
    at_least,
    folder,
)
from lenet_np.tools.cli.screen import complain, say
from lenet_np.tools.plots.captions import title
from lenet_np.tools.plots.classes import draw_classes
from lenet_np.tools.plots.confusion import draw_confusion
from lenet_np.tools.plots.curves import draw_curves
from lenet_np.tools.plots.features import draw_features
from lenet_np.tools.plots.histograms import draw_histograms
from lenet_np.tools.plots.style import remove_leftovers, write_figure
from lenet_np.tools.runs.checkpoint import load
from lenet_np.tools.runs.folder import Config, checkpoint_file, read_config, same_data
from lenet_np.tools.runs.histograms import read_histograms
from lenet_np.tools.runs.history import read_history

PROGRAM = "python -m lenet_np plot"
PICTURES = ("curves", "classes", "confusion", "features", "histograms")
T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0 done; 1 a run cannot be read, or a picture not be drawn or written (the others are); 2 usage.
    """
    arguments = parse(argv)
    for name in PICTURES:
        remove_leftovers(arguments.out, name)
    attempt = Attempts(PROGRAM)
    if len(arguments.runs) > 1:
        _draw_several(arguments, attempt)
    else:
        (run,) = arguments.runs
        config = attempt("", partial(read_config, run))
        if config is not None:
            draw_run(run, config, arguments, attempt, partial(_write, arguments=arguments))
    return int(bool(attempt.failures))


def parse(argv: Sequence[str] | None = None) -> Namespace:
    """Read the command line; SystemExit with status 2 and one line for what makes no sense."""
    parser = Parser(
        prog=PROGRAM,
        description="Draw pictures of a run: learning curves; how each class fares, and how strong "
        "the gradient's signal is; the confusion matrix; filters and feature maps; histograms of "
        "weights and gradients. Of several runs, draw the learning curves together: those that "
        "differ only in their seed as mean and range.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", nargs="+", type=folder, metavar="RUN", help="folder of a run")
    add(
        "--only",
        nargs="+",
        choices=PICTURES,
        metavar="NAME",
        help=f"which pictures: {', '.join(PICTURES)} (default: all; of several runs, curves)",
    )
    add(
        "--out",
        type=folder,
        metavar="DIR",
        help="where to write them (default: RUN/plots; of several runs, the current folder)",
    )
    add(
        "--format",
        choices=("png", "svg", "pdf"),
        default="png",
        help="kind of picture (default: %(default)s)",
    )
    add_checkpoint(parser)
    add_split(parser, "images of the confusion matrix and the feature maps")
    add_data_dir(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--digit",
        type=int,
        choices=range(CLASSES),
        metavar="K",
        help="feature maps of the first image of this digit, 0 to 9",
    )
    which.add_argument(
        "--image",
        type=at_least(0),
        default=0,
        metavar="N",
        help="feature maps of this image, counted from 0 (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    runs, several = arguments.runs, len(arguments.runs) > 1
    for name in arguments.only or ():
        if several and name != "curves":
            parser.error(f"argument --only: {name} draws one run at a time, got {len(runs)} runs")
    arguments.only = arguments.only or (["curves"] if several else list(PICTURES))
    arguments.out = arguments.out or (Path() if several else runs[0] / "plots")
    return arguments


class Attempts:
    """Tries pieces of work of which each may fail without holding up the next."""

    def __init__(self, program: str) -> None:
        self._program = program
        self.failures: list[str] = []  # what was said, without the program's name

    def __call__(self, what: str, work: Callable[[], T]) -> T | None:
        """Return what the work returns, or None after a line that says why not."""
        try:
            return work()
        except (ValueError, OSError, ImportError) as error:
            self.failures.append(what + str(error).partition("\n")[0])
            complain(f"{self._program}: {self.failures[-1]}")
            return None


def _draw_several(arguments: Namespace, attempt: Attempts) -> None:
    """Draw the runs that can be read."""
    found = [attempt("curves: ", partial(read_history, run)) for run in arguments.runs]
    histories = [history for history in found if history is not None]
    if histories:
        attempt("curves: ", lambda: _write({"curves": draw_curves(histories)}, arguments))


def draw_run(
    run: Path,
    config: Config,
    arguments: Namespace,
    attempt: Attempts,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Draw the pictures ``arguments.only`` of a run; ``keep`` takes each by its name.

    The other arguments are those of `parse` that choose the weights and the images.
    """
    # What pictures are drawn from is read once; without it, they fail together.
    sources: dict[tuple[str, ...], Callable[[], Any]] = {
        ("curves", "classes"): partial(read_history, run),
        ("confusion", "features"): partial(_read_trained, run, config, arguments),
        ("histograms",): partial(read_histograms, run),
    }
    for names, read in sources.items():
        wanted = [name for name in names if name in arguments.only]
        source = attempt(f"{', '.join(wanted)}: ", read) if wanted else None
        for name in wanted if source is not None else ():
            figures = attempt(f"{name}: ", partial(_draw, name, source, config, arguments))
            if figures is not None:
                attempt(f"{name}: ", partial(keep, figures))


class Trained(NamedTuple):
    """A network of a run, and images for it to read."""

    config: Config
    network: Sequential
    parameters: Parameters
    epochs: float  # how long it was trained
    split: Split


def _read_trained(run: Path, config: Config, arguments: Namespace) -> Trained:
    network = lenet5()
    checkpoint = load(checkpoint_file(run, arguments.checkpoint), network)
    try:
        data = same_data(config, load_dataset(config.dataset, arguments.data_dir))
    except MissingDataError as error:
        summary = str(error).partition("\n")[0]
        raise MissingDataError(f"{summary}; name MNIST's folder with --data-dir") from error
    steps_per_epoch = config.settings.steps_per_epoch(len(data.train))
    parameters, optimizer = checkpoint.state
    split: Split = getattr(data, arguments.split)
    return Trained(config, network, parameters, optimizer.step / steps_per_epoch, split)


def _draw(name: str, source: Any, config: Config, arguments: Namespace) -> dict[str, Any]:
    figures = {}
    if name == "curves":
        figures[name] = draw_curves([source])
    elif name == "classes":
        figures[name] = draw_classes(source)
    elif name == "confusion":
        figures[name] = _confusion(source, arguments)
    elif name == "features":
        figures[name] = _features(source, arguments)
    else:
        for kind, histograms in source.items():
            figures[f"{name}-{kind}"] = draw_histograms(histograms, f"{title(config)}: {kind}")
    return figures


def _confusion(trained: Trained, arguments: Namespace) -> Any:
    logits = logits_of(trained.network, trained.parameters, trained.split)
    return draw_confusion(logits, trained.split, _title(trained, f"{arguments.split} set"))


def _features(trained: Trained, arguments: Namespace) -> Any:
    split, index = trained.split, arguments.image
    if arguments.digit is not None:
        found = np.flatnonzero(split.classes == arguments.digit)
        if not len(found):
            raise ValueError(f"there is no {arguments.digit} in the {arguments.split} set")
        index = int(found[0])
    elif index >= len(split):
        raise ValueError(
            f"--image takes 0 to {len(split) - 1} for the {arguments.split} set, got {index}"
        )
    image, _ = gather(split, slice(index, index + 1))
    name = _title(trained, f"{arguments.split} image {index}")
    return draw_features(
        trained.network, trained.parameters, image, int(split.classes[index]), name
    )


def _title(trained: Trained, images: str) -> str:
    return f"{title(trained.config)}, after {trained.epochs:.3g} epochs\n{images}"


def _write(figures: dict[str, Any], arguments: Namespace) -> None:
    for name, figure in figures.items():
        file = arguments.out / f"{name}.{arguments.format}"
        write_figure(figure, file)
        say(str(file))
