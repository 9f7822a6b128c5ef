"""Which gradient: all `methods` on the same network, at equal numbers of images and equal time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import thread_time

import numpy as np

from lenet_np.data import Split, load_dataset
from lenet_np.data.dataset import Dataset
from lenet_np.data.minibatch import gather
from lenet_np.estimators import log_success
from lenet_np.evaluate import evaluate
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import State, initial_state, train
from lenet_np.losses import zero_one_loss
from lenet_np.ops import Array, Parameters
from lenet_np.optim import Adam
from lenet_np.routes import add_parts
from lenet_np.seeds import generator
from lenet_np.settings import Settings, resolve
from lenet_np.threads import one_blas_thread
from lenet_np.tools.cli.machine import keep_freed_memory
from lenet_np.tools.cli.screen import say
from lenet_np.tools.runs.table import Row, read_table, write_table
from lenet_np.tools.studies.methods import WAYS, Method
from lenet_np.weights import draw_rank_noise, estimate_by_rank_noise
from lenet_np.workers import part_size, plan

EPOCHS, GRID_EPOCHS = 4, 1
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
SEEDS, GRID_SEED = range(5), 5
IMAGES = 128
REPLICATES = 32
TURNS = 30
WEIGHTS = "noise in the weights"
COLUMNS = (
    *("stage", "method", "learning_rate", "seed", "epoch"),
    *("validation_accuracy", "test_accuracy", "dead_classes"),
    *("relative_variance", "relative_bias", "milliseconds"),
)


# --- the loop -------------------------------------------------------------------------------------


def learn(network: Sequential, data: Split, method: Method, settings: Settings) -> Iterator[State]:
    """Take the steps of a run by a gradient at the logits: forward, gradient, backward, Adam."""
    optimizer, state = Adam(settings.learning_rate), initial_state(network, settings)
    for step, indices in plan(len(data), 0, settings):
        with one_blas_thread():
            images, labels = gather(data, indices)
            logits, caches = network.forward(state.parameters, images)
            dlogits = method(logits, labels, generator(settings.seed, "noise", step))
            gradients = network.backward(dlogits, caches)[1]
            state = State(*optimizer.update(state.parameters, gradients, state.optimizer))
        yield state


def moments(
    steps: Iterator[State], first: State, steps_per_epoch: int
) -> Iterator[tuple[float, Parameters]]:
    """Pick, of the states of a run, the first, the quarters of the first epoch, and each epoch's.

    Each comes with the epochs that have passed.
    """
    picked = {round(quarter * steps_per_epoch / 4): quarter / 4 for quarter in (1, 2, 3)}
    yield 0.0, first.parameters
    for step, state in enumerate(steps, start=1):
        if step % steps_per_epoch == 0:
            yield step / steps_per_epoch, state.parameters
        elif step in picked:
            yield picked[step], state.parameters


def kept(
    file: Path, columns: Sequence[str], epochs: int, make: Callable[[], list[Row]]
) -> list[Row]:
    """Give the rows of a run from its table; make the table first if it does not go so far."""
    rows = read_table(file)
    if not rows or float(rows[-1]["epoch"]) < epochs:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_table(file, columns, make())
        rows = read_table(file)
    return [row for row in rows if float(row["epoch"]) <= epochs]


def file_name(method: str, rate: float, seed: int) -> str:
    """Name the table of a run."""
    return f"{method.replace(' ', '-')}-lr{rate:g}-seed{seed}.csv"


# --- the study ------------------------------------------------------------------------------------


def gradients_study(folder: Path, dataset: str, data_dir: Path | None, epochs: int) -> list[Row]:
    """Choose each method's rate on one seed, then train the others; name the rows by `COLUMNS`.

    Every method has the same grid of rates, judged by the validation accuracy of a seed that is not
    reported; but noise in the weights, which costs most, has the package's own settings. A run's
    table is kept in ``folder/gradients``, and one that is complete is not made again.
    """
    keep_freed_memory()
    data, home = load_dataset(dataset, data_dir), folder / "gradients"
    times = {row["method"]: row["milliseconds"] for row in _times(home / "time.csv", data.train)}
    rows: list[Row] = []

    def run(stage: str, name: str, rate: float, seed: int, last: int) -> list[Row]:
        settings = settings_of(name, rate, seed, last)

        def make() -> list[Row]:
            return _measure(stage, name, settings, data)

        found = kept(home / file_name(name, rate, seed), COLUMNS[:-1], last, make)
        rows.extend({**row, "milliseconds": times[name]} for row in found)
        write_table(folder / "gradients.csv", COLUMNS, rows)  # what there is so far
        say(f"{name}, rate {rate:g}, seed {seed}: {found[-1]['validation_accuracy']}")
        return found

    best: dict[str, float] = {WEIGHTS: settings_of(WEIGHTS, 0, 0, 1).learning_rate}
    for name in WAYS:
        found = {
            rate: run("rates", name, rate, GRID_SEED, min(GRID_EPOCHS, epochs))[-1]
            for rate in RATES
        }
        best[name] = max(RATES, key=lambda rate: float(found[rate]["validation_accuracy"]))
    for name in (*WAYS, WEIGHTS):
        for seed in SEEDS:
            run("seeds", name, best[name], seed, epochs)
    for line in summary(rows):
        say(line)
    return rows


def settings_of(name: str, rate: float, seed: int, epochs: int) -> Settings:
    """Give the settings of a run; noise in the weights has its own rate."""
    if name == WEIGHTS:
        return resolve({"perturb": "weights", "seed": seed, "epochs": epochs})
    return Settings(epochs=epochs, batch_size=IMAGES, learning_rate=rate, seed=seed)


def _measure(stage: str, name: str, settings: Settings, data: Dataset) -> list[Row]:
    network = lenet5()
    steps: Iterator[State]
    if name == WEIGHTS:
        steps = (state for state, _ in train(network, data.train, settings, threads=1))
    else:
        steps = learn(network, data.train, WAYS[name].method, settings)
    first = initial_state(network, settings)
    rows = []
    for epoch, parameters in moments(steps, first, settings.steps_per_epoch(len(data.train))):
        seen = evaluate(network, parameters, data.validation, threads=1)
        row = {
            **{"stage": stage, "method": name, "learning_rate": f"{settings.learning_rate:g}"},
            **{"seed": str(settings.seed), "epoch": f"{epoch:g}"},
            "validation_accuracy": f"{seen.accuracy:.6g}",
            "dead_classes": " ".join(map(str, seen.dead_classes())),
        }
        if stage == "seeds" and epoch % 1 == 0:
            tested = evaluate(network, parameters, data.test, threads=1)
            variance, bias = scatter(name, network, parameters, data.validation)
            row |= {"test_accuracy": f"{tested.accuracy:.6g}"}
            if not np.isnan(variance):
                row |= {"relative_variance": f"{variance:.4g}", "relative_bias": f"{bias:.4g}"}
        rows.append(row)
    return rows


def by_method(rows: Sequence[Row]) -> dict[str, list[list[Row]]]:
    """Sort the rows of the seeds that are reported: for each method, the rows of each seed."""
    runs: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row["stage"] == "seeds":
            runs.setdefault(row["method"], {}).setdefault(row["seed"], []).append(row)
    return {name: list(seeds.values()) for name, seeds in runs.items()}


def _accuracy_at(epoch: float, run: Sequence[Row]) -> float:
    epochs, accuracies = np.array(
        [(float(r["epoch"]), float(r["validation_accuracy"])) for r in run]
    ).T
    return float(np.interp(epoch, epochs, accuracies))


def summary(rows: Sequence[Row]) -> list[str]:
    """Sum the study up in a table of Markdown.

    Equal time is that of the quickest method's last epoch. A method that is in the middle of an
    epoch then has an accuracy between those before and after it, on a straight line.
    """
    methods = by_method(rows)
    quickest = min(float(runs[0][0]["milliseconds"]) for runs in methods.values())
    lines = [
        "| method | rate | test accuracy (range) | dead classes | at equal time | variance, bias "
        "| ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, runs in methods.items():
        last = [run[-1] for run in runs]
        tested = [float(row["test_accuracy"]) for row in last]
        milliseconds = float(last[0]["milliseconds"])
        then = float(last[0]["epoch"]) * quickest / milliseconds
        at_equal_time = [_accuracy_at(then, run) for run in runs]
        dead = sum(len(row["dead_classes"].split()) for row in last)
        early = [row for run in runs for row in run if row["epoch"] == "1"]
        variance, bias = (
            f"{np.median([float(row[x]) for row in early]):.2g}" if early[0][x] else "unknown"
            for x in ("relative_variance", "relative_bias")
        )
        lines.append(
            f"| {name} | {last[0]['learning_rate']} | {np.mean(tested):.4f} "
            f"({min(tested):.4f} to {max(tested):.4f}) | {dead} | {np.mean(at_equal_time):.4f} "
            f"| {variance}, {bias} | {milliseconds:.1f} |"
        )
    return lines


# --- one gradient ---------------------------------------------------------------------------------


def gradients(
    name: str,
    network: Sequential,
    parameters: Parameters,
    images: Array,
    labels: Array,
    rng: np.random.Generator,
) -> Parameters:
    """Give a method's gradient of the parameters, summed over the images."""
    if name != WEIGHTS:
        logits, caches = network.forward(parameters, images)
        return network.backward(WAYS[name].method(logits, labels, rng), caches)[1]
    settings = settings_of(WEIGHTS, 0, 0, 1)
    size, samples, sigma = part_size(settings), settings.samples, settings.sigma
    parts = []
    for start in range(0, images.shape[-1], size):
        x, y = images[..., start : start + size], labels[:, start : start + size]
        noise = draw_rank_noise(rng, parameters, int(settings.rank), samples, x.shape[-1], True)
        given = noise, sigma, zero_one_loss, log_success
        parts.append(estimate_by_rank_noise(network, parameters, x, y, *given))
    return add_parts(parts).gradients


def scatter(
    name: str, network: Sequential, parameters: Parameters, split: Split
) -> tuple[float, float]:
    """Measure how a method's gradient of the parameters scatters, for the first images of a split.

    The variance is the mean over replicates of |g - their mean|², relative to |exact|². The bias is
    |mean - exact|, less what chance alone would give, relative to |exact|. Nobody knows the exact
    gradient of a loss blurred in the weights: there both are NaN. Where there is no noise, both
    are 0.
    """
    if name == WEIGHTS:
        return np.nan, np.nan
    oracle = WAYS[name].exact
    if oracle is None:
        return 0.0, 0.0
    images, labels = gather(split, slice(0, IMAGES))
    with one_blas_thread():
        found = np.array(
            [
                _flat(gradients(name, network, parameters, images, labels, rng))
                for rng in np.random.default_rng(0).spawn(REPLICATES)
            ]
        )
        mean = found.mean(axis=0)
        variance = float(np.square(found - mean).sum()) / (REPLICATES - 1)
        logits, caches = network.forward(parameters, images)
        exact = _flat(network.backward(oracle(logits, labels), caches)[1])
    power = float(exact @ exact)
    squared_bias = float(np.square(mean - exact).sum()) - variance / REPLICATES
    return variance / power, float(np.sqrt(max(squared_bias, 0.0) / power))


def _flat(gradients: Parameters) -> Array:
    return np.concatenate([gradients[name].ravel() for name in sorted(gradients)], dtype=np.float64)


def _times(file: Path, data: Split) -> list[Row]:
    """Measure a step of each method on one thread, in turn, for the images of one minibatch.

    What counts is the time of the processor: others may use the machine meanwhile.
    """
    if rows := read_table(file):
        return rows
    network, settings = lenet5(), Settings()
    state = initial_state(network, settings)
    taken: dict[str, list[float]] = {name: [] for name in (*WAYS, WEIGHTS)}
    for turn in range(TURNS):
        for name, seconds in taken.items():
            start = thread_time()
            with one_blas_thread():
                images, labels = gather(data, slice(0, IMAGES))
                rng = np.random.default_rng(turn)
                found = gradients(name, network, state.parameters, images, labels, rng)
                Adam(settings.learning_rate).update(state.parameters, found, state.optimizer)
            seconds.append(thread_time() - start)
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"method": name, "milliseconds": f"{1000 * np.median(seconds):.3g}"}
        for name, seconds in taken.items()
    ]
    write_table(file, ("method", "milliseconds"), rows)
    return rows
