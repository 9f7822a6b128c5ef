"""The command ``python -m lenet_np study``."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from lenet_np.data import DataError, load_dataset
from lenet_np.settings import Settings
from lenet_np.threads import default_threads
from lenet_np.tools.cli.parser import Parser, add_data_dir, at_least
from lenet_np.tools.cli.screen import complain, fail, say
from lenet_np.tools.runs.executors import WorkersError, executor
from lenet_np.tools.runs.folder import RunFolderError
from lenet_np.tools.runs.table import Row, write_table
from lenet_np.tools.studies import cosine, costs, gradients, variance
from lenet_np.tools.studies.animation import draw_animation
from lenet_np.tools.studies.figures import draw
from lenet_np.tools.studies.run import MEASURED, SETTINGS, run_in_background, study_rows
from lenet_np.tools.studies.table import STUDIES, Study

PROGRAM = "python -m lenet_np study"
DIAGRAMS = "diagrams"
#: Studies that are one process.
MEASUREMENTS: dict[str, tuple[str, Callable[..., list[Row]], int]] = {
    "variance": (
        "How much does each estimator scatter along a training run?",
        variance.variance_study,
        variance.EPOCHS,
    ),
    "weights-cosine": (
        "How well does noise in 61,706 weights find the gradient?",
        cosine.cosine_study,
        cosine.EPOCHS,
    ),
    "gradients": (
        "Which gradient of a count of errors learns best, by images and by time?",
        gradients.gradients_study,
        gradients.EPOCHS,
    ),
    "costs": (
        "Does it pay to descend a table of costs itself?",
        costs.costs_study,
        costs.EPOCHS,
    ),
}
ANIMATION = "animation"
QUESTIONS = {
    **{name: study.question for name, study in STUDIES.items()},
    **{name: question for name, (question, *_) in MEASUREMENTS.items()},
    DIAGRAMS: "What do im2col, max-pool and the noise do? (Drawings, without data or runs.)",
    ANIMATION: "What is seen when a digit is lost, and found? (A GIF, from two trainings.)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 if a file cannot be written, or a run failed."""
    parser = Parser(
        prog=PROGRAM,
        description="Run the experiments of docs/ again, one run for each core at a time. What "
        "is done already is not done again: stop at any time, and repeat the command to go on. "
        "(variance and weights-cosine take minutes, and are begun anew unless they are complete.)",
        epilog="studies: " + " ".join(f"{name}: {q}" for name, q in QUESTIONS.items()),
        allow_abbrev=False,
    )
    parser.add_argument(
        "studies", nargs="*", metavar="STUDY", help="which ones (default: all of them)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("studies"),
        metavar="DIR",
        help="folder for runs, tables and figures (default: %(default)s)",
    )
    parser.add_argument(
        "--dataset",
        choices=("mnist", "synthetic"),
        default="mnist",
        help="what to train on (default: %(default)s)",
    )
    add_data_dir(parser)
    work = parser.add_mutually_exclusive_group()
    work.add_argument(
        "--jobs",
        type=at_least(1),
        default=default_threads(),
        metavar="N",
        help="runs at a time (default: one per core, here %(default)s)",
    )
    work.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="spread the runs over the Dask cluster with this scheduler, whose workers must see "
        "the folders of --out and --data-dir (needs the package distributed)",
    )
    parser.add_argument(
        "--epochs",
        type=at_least(1),
        metavar="N",
        help="stop every run after so many epochs, for a first look (default: as in the study)",
    )
    arguments = parser.parse_args(argv)
    names = list(dict.fromkeys(arguments.studies)) or list(QUESTIONS)
    for name in names:
        if name not in QUESTIONS:
            parser.error(f"no study {name!r}; there are {', '.join(QUESTIONS)}")
    try:
        return _run(arguments, names)
    except KeyboardInterrupt:
        return fail(PROGRAM, 130, "interrupted; the same command goes on from here")
    except WorkersError as error:
        return fail(PROGRAM, 1, f"{error}; the same command goes on from here")
    except (OSError, DataError) as error:
        return fail(PROGRAM, 1, error)


def _run(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    if DIAGRAMS in names:
        from lenet_np.tools.studies.diagrams import draw_diagrams

        arguments.out.mkdir(parents=True, exist_ok=True)
        for file in draw_diagrams(arguments.out):
            say(str(file))
        names = [name for name in names if name != DIAGRAMS]
        if not names:
            return 0
    try:
        load_dataset(arguments.dataset, arguments.data_dir)  # Once, before many look for it.
    except DataError as error:
        return fail(PROGRAM, 3, error)
    folder: Path = arguments.out / arguments.dataset
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    limit = arguments.epochs or sys.maxsize
    studies = {name: STUDIES[name] for name in names if name in STUDIES}
    failed = _train_all(arguments, studies, folder, limit)
    for name in names:
        if name == ANIMATION:
            file = folder / f"{name}.gif"
            draw_animation(file, load_dataset(arguments.dataset, arguments.data_dir), limit)
            say(str(file))
            continue
        if name in MEASUREMENTS:
            _, measure, epochs = MEASUREMENTS[name]
            data = arguments.dataset, arguments.data_dir
            rows = measure(folder, *data, min(epochs, limit))
        else:
            rows = list(_rows(studies[name], folder / "runs", limit))
            write_table(folder / f"{name}.csv", ("run", *SETTINGS, *MEASURED), rows)
        say(str(folder / f"{name}.csv"))
        if rows:
            draw(name, rows, folder / f"{name}.png")
            say(str(folder / f"{name}.png"))
    return 1 if failed else 0


def _train_all(
    arguments: argparse.Namespace, studies: dict[str, Study], folder: Path, limit: int
) -> int:
    """Make all runs of some studies, several at a time; count those that failed."""
    runs: dict[str, Settings] = {}
    for study in studies.values():
        for name, settings in study.runs.items():
            # Studies share runs: the longest of the same name serves all.
            epochs = max(min(settings.epochs, limit), runs[name].epochs if name in runs else 0)
            runs[name] = replace(settings, epochs=epochs)
    failed = 0
    home = (folder / "runs").resolve()
    jobs = None if arguments.dask else arguments.jobs
    with executor(jobs, arguments.dask) as pool:
        assert pool is not None
        data = arguments.dataset, arguments.data_dir
        waiting: dict[Future[list[Row]], str] = {
            pool.submit(run_in_background, settings, home / name, *data): name
            for name, settings in runs.items()
        }
        try:
            for number, future in enumerate(as_completed(waiting), start=1):
                if error := future.exception():
                    failed += 1
                    complain(f"{PROGRAM}: {waiting[future]}: {error}")
                    continue
                last = future.result()[-1]
                test = last["test_accuracy"]  # none of a run that went further in another study
                tested = f"test {float(test):.4f}, " if test else ""
                say(
                    f"[{number}/{len(waiting)}] {waiting[future]}: epoch {last['epoch']}, "
                    f"validation {float(last['validation_accuracy']):.4f}, {tested}"
                    f"never predicted: {last['dead_classes'] or 'none'}"
                )
        except BaseException:
            for future in waiting:
                future.cancel()
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    return failed


def _rows(study: Study, folder: Path, limit: int) -> Iterator[Row]:
    """Put the rows of all runs under each other, each with its settings."""
    for name, settings in study.runs.items():
        own = {key: str(value) for key, value in asdict(settings).items()}
        rows: list[Row] = []
        with suppress(RunFolderError):  # Said when the run was to go on.
            rows = study_rows(folder / name)[: min(settings.epochs, limit)]
        for row in rows:
            yield {"run": name, **own, **row}
