"""The command ``python -m lenet_np benchmark``."""

from __future__ import annotations

import argparse
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from lenet_np.data import DataError, load_mnist
from lenet_np.settings import Settings
from lenet_np.threads import default_threads
from lenet_np.tools.benchmark.rivals import RIVALS, Rival, RivalError, installed
from lenet_np.tools.benchmark.work import (
    IMAGES,
    RACES,
    STEPS,
    TARGETS,
    Ours,
    measure_pieces,
    measure_products,
    measure_reading,
    race_ours,
)
from lenet_np.tools.cli import machine
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.cli.parser import Parser, add_data_dir, at_least
from lenet_np.tools.cli.screen import fail, say
from lenet_np.tools.plots.style import COLOURS, GREY, house_style, new_figure, write_figure
from lenet_np.workers import PART_SIZE

PROGRAM = "python -m lenet_np benchmark"
REQUIREMENTS = "docs/requirements-bench.txt lists the rivals that need a package"
#: Turns of each contestant, unless the user says otherwise.
TURNS = 15
#: The textbook network is slow: this many steps are enough for its turn.
TEXTBOOK_STEPS = 2
#: Seconds between turns: threads of a BLAS that wait for work spin for a tenth before they sleep.
PAUSE = 0.3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 if the figure cannot be written, or a rival failed."""
    parser = Parser(
        prog=PROGRAM,
        description="Measure a training step and evaluation, piece by piece, as a whole, and "
        "against PyTorch, JAX and TensorFlow (where they are installed) and a textbook network.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--turns",
        type=at_least(1),
        default=TURNS,
        metavar="N",
        help=f"turns of {STEPS} steps that each contestant takes (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=default_threads(),
        metavar="N",
        help="threads of everybody (default: one per core, here %(default)s)",
    )
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="draw the pieces of the step: .png, .svg or .pdf (default: no figure)",
    )
    parser.add_argument(
        "--rivals",
        nargs="*",
        choices=RIVALS,
        metavar="NAME",
        help=f"who else takes part, of {', '.join(RIVALS)} (default: all that are installed)",
    )
    parser.add_argument(
        "--race",
        action="store_true",
        help="instead, the time of training on MNIST to an accuracy of "
        f"{' and '.join(map(str, TARGETS))}, with the cure and with cross-entropy; "
        "a turn is a seed",
    )
    add_data_dir(parser)
    arguments = parser.parse_args(argv)
    if arguments.figure and arguments.figure.suffix not in (".png", ".svg", ".pdf"):
        parser.error(f"argument --figure: takes .png, .svg or .pdf, got {arguments.figure}")
    if arguments.figure and arguments.race:
        parser.error("argument --figure: a race has no picture; leave one of the two out")
    # The textbook knows one objective, and would race for an hour.
    there = [n for n in installed() if not (arguments.race and n.startswith("textbook"))]
    names = there if arguments.rivals is None else arguments.rivals
    for name in names:
        if name not in there:
            why = "does not race" if name.startswith("textbook") else "is not installed"
            parser.error(f"argument --rivals: {name} {why} ({REQUIREMENTS})")
    try:
        if arguments.race:
            return _race(names, arguments)
        return _run(names, arguments)
    except (RivalError, OSError) as error:
        return fail(PROGRAM, 1, error)


def _run(names: Sequence[str], arguments: argparse.Namespace) -> int:
    keep_freed_memory()
    settings = Settings()
    say(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.system()}")
    say(f"Processor: {machine.processor()}, {default_threads()} cores to use")
    say(f"BLAS: {machine.blas()}; one while lenet_np works")
    say(f"Minibatches of {settings.batch_size} images, {settings.samples} noise samples each\n")

    pieces = measure_pieces(arguments.turns * STEPS)
    products = measure_products(arguments.turns * STEPS)
    _print_pieces(pieces, products)
    perturbed, plain = measure_reading(arguments.turns * STEPS)
    say("Noise in the weights, on one thread: median microseconds of reading an image")
    say(f"  {'by a perturbed network':38} {1e6 * perturbed:7.2f}  {perturbed / plain:.2f} times")
    say(f"  {'by a plain forward pass':38} {1e6 * plain:7.2f}\n")

    _print_contest(names, arguments.turns, arguments.threads)
    peak = machine.peak_memory()
    if peak is not None:
        say(f"\nPeak memory of this benchmark: {peak / 1e6:.0f} MB")
    if arguments.figure:
        draw_pieces(pieces, products, arguments.figure)
        say(str(arguments.figure))
    return 0


def _print_pieces(pieces: dict[str, float], products: float) -> None:
    say(f"One step on one thread, in parts of {PART_SIZE} images: median ms of each piece")
    for name, seconds in pieces.items():
        say(f"  {name:18} {1e3 * seconds:7.3f}")
    say(f"  {'sum':18} {1e3 * sum(pieces.values()):7.3f}")
    say(f"  {'of which products':18} {1e3 * products:7.3f}  (measured alone)\n")


def _print_contest(names: Sequence[str], turns: int, threads: int) -> None:
    """Let everybody take turns, one after the other, and print what the turns took."""
    with ExitStack() as stack:
        rivals = [stack.enter_context(closing(Rival(name, threads, Settings()))) for name in names]
        contestants: list[Ours | Rival] = [Ours(threads), *rivals]
        steps = [TEXTBOOK_STEPS if name.startswith("textbook") else STEPS for name in names]
        training = _take_turns(contestants, [str(n) for n in (STEPS, *steps)], turns)
        evaluation = _take_turns(contestants, ["evaluate"] * len(contestants), -(-turns // 3))
    per_step = [
        [seconds / n for seconds in times]
        for times, n in zip(training, (STEPS, *steps), strict=True)
    ]
    titles = [contestant.title for contestant in contestants]
    say(f"Whole steps, {threads} threads, in {turns} turns each: ms")
    _print_rows(titles, per_step, Settings().batch_size)
    say(f"\nEvaluation of {IMAGES:,} images, in a third as many turns: ms")
    _print_rows(titles, evaluation, IMAGES)
    say("\nThe first step, which compiles what is compiled: seconds")
    for rival in rivals:
        say(f"  {rival.title:38} {rival.first_step:8.2f}")


def _race(names: Sequence[str], arguments: argparse.Namespace) -> int:
    """Train everybody on MNIST with the same minibatches until the targets are reached."""
    try:
        data = load_mnist(arguments.data_dir)
    except DataError as error:
        text = str(error).splitlines()[0]  # The others speak of the synthetic digits.
        return fail(PROGRAM, 3, f"{text}; --data-dir names a folder that has the files")
    keep_freed_memory()
    threads, mnist = arguments.threads, ("mnist", str(arguments.data_dir or ""))
    say(f"Seconds of training on {threads} threads to a validation accuracy of {TARGETS[0]} and of")
    say(f"{TARGETS[1]}, inf if never; minibatches and first weights are the same for everybody")
    for settings in RACES:
        cure = f"0-1 loss, {settings.objective}"
        say(f"\n{settings.loss if settings.loss == 'cross-entropy' else cure}")
        times: dict[str, list[list[float]]] = defaultdict(list)
        with ExitStack() as stack:
            rivals = [
                stack.enter_context(closing(Rival(name, threads, settings, *mnist)))
                for name in names
            ]
            racers: dict[str, Callable[[Settings], str]] = {
                "lenet_np": partial(race_ours, data, threads),
                **{rival.title: rival.race for rival in rivals},
            }
            for seed in range(arguments.turns):
                for title, run in racers.items():
                    answer = run(replace(settings, seed=seed))
                    times[title].append([float(word) for word in answer.split()])
                    say(f"  seed {seed}: {title:38} {_seconds(times[title][-1])}")
        for title, found in times.items():
            say(f"  median: {title:38} {_seconds(map(median, zip(*found, strict=True)))}")
    return 0


def _seconds(times: Iterable[float]) -> str:
    return "  ".join(f"{seconds:8.2f}" for seconds in times)


def _take_turns(
    contestants: Sequence[Ours | Rival], requests: Sequence[str], turns: int
) -> list[list[float]]:
    seconds: list[list[float]] = [[] for _ in contestants]
    for _ in range(turns):
        for contestant, request, times in zip(contestants, requests, seconds, strict=True):
            time.sleep(PAUSE)
            times.append(contestant.turn(request))
    return seconds


def _print_rows(titles: Sequence[str], seconds: Sequence[Sequence[float]], images: int) -> None:
    say(f"  {'':38} {'median':>8} {'min':>8} {'max':>8} {'images/s':>9} {'ratio':>6}")
    for title, times in zip(titles, seconds, strict=True):
        # Turn by turn against the turn of ours beside it: the machine's moods cancel.
        ratio = median(theirs / ours for theirs, ours in zip(times, seconds[0], strict=True))
        say(
            f"  {title:38} {1e3 * median(times):8.2f} {1e3 * min(times):8.2f} "
            f"{1e3 * max(times):8.2f} {images / median(times):9,.0f} {ratio:6.2f}"
        )


def draw_pieces(pieces: dict[str, float], products: float, file: Path) -> None:
    """Draw how many seconds each piece of a step takes, and name those of its products."""
    colours = {"forward": COLOURS[0], "backward": COLOURS[1]}
    # What is too short to be seen stands together.
    total = sum(pieces.values())
    shown = {name: seconds for name, seconds in pieces.items() if seconds >= 0.01 * total}
    shown["all others"] = total - sum(shown.values())
    title = f"One training step, 128 images: {1e3 * total:.1f} ms, "
    with house_style():
        figure = new_figure(4.2, f"{title}of which matrix products {1e3 * products:.1f} ms")
        axes = figure.add_subplot()
        names, values = list(shown), [1e3 * seconds for seconds in shown.values()]
        bars = axes.barh(names, values, color=[colours.get(n.split()[0], GREY) for n in names])
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("ms on one thread")
        axes.margins(x=0.1)
    write_figure(figure, file)
