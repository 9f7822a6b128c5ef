"""The results do not depend on the number of threads, and the BLAS stays out of the way."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lenet_np import threads
from lenet_np.data import Split
from lenet_np.evaluate import evaluate
from lenet_np.layers import Sequential
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state, train
from lenet_np.routes import LossAndGradients, add_parts
from lenet_np.settings import Settings, resolve
from lenet_np.threads import (
    BlasThreads,
    blas_kernels,
    blas_threads,
    default_threads,
    one_blas_thread,
)
from lenet_np.tools.cli import machine
from lenet_np.tools.runs.checkpoint import Checkpoint, load, save
from lenet_np.workers import PART_SIZE, Part, loss_and_gradients, prepare

NETWORK = lenet5()


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (400, 28, 28)).astype(np.uint8)
    return Split(pixels, rng.integers(0, 10, 400).astype(np.uint8))


def last_state(split, settings, count, state=None):
    *_, (state, _) = train(NETWORK, split, settings, state, count)
    return state


def assert_same_bits(ours, theirs):
    for group, other in zip(
        (ours.parameters, ours.optimizer.mean, ours.optimizer.square),
        (theirs.parameters, theirs.optimizer.mean, theirs.optimizer.square),
        strict=True,
    ):
        for name, value in group.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.parametrize("loss", ["zero-one", "cross-entropy"])
@pytest.mark.parametrize("batch_size", [40, 128, 200])
def test_the_weights_are_the_same_for_any_number_of_threads(split, loss, batch_size):
    settings = Settings(epochs=2, batch_size=batch_size, loss=loss, samples=20)
    one = last_state(split, settings, 1)
    for count in (2, 3, 8):
        assert_same_bits(last_state(split, settings, count), one)


def test_the_weights_do_not_depend_on_the_threads_of_the_blas(split):
    """The child's BLAS is told to use many threads; ours must be the same to the last bit."""
    code = (
        "import sys, numpy as np\n"
        "from lenet_np.data import Split\n"
        "from lenet_np.lenet import lenet5\n"
        "from lenet_np.settings import Settings\n"
        "from lenet_np.loop import train\n"
        "rng = np.random.default_rng(1)\n"
        "pixels = rng.integers(0, 256, (400, 28, 28)).astype(np.uint8)\n"
        "split = Split(pixels, rng.integers(0, 10, 400).astype(np.uint8))\n"
        "*_, (state, _) = train(lenet5(), split, Settings(epochs=1, samples=20), threads=2)\n"
        "sys.stdout.write(b''.join(v.tobytes() for v in state.parameters.values()).hex())\n"
    )
    printed = []
    for count in ("1", "4"):
        variables = {f"{name}_NUM_THREADS": count for name in ("OPENBLAS", "MKL", "OMP")}
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(result.stdout)
    assert len(printed[0]) == 61_706 * 8
    assert printed[0] == printed[1]


def test_a_run_that_goes_on_from_a_file_has_the_same_bits(split, tmp_path: Path):
    settings = Settings(epochs=2, samples=20)
    whole = last_state(split, settings, 2)
    half = last_state(split, Settings(epochs=1, samples=20), 2)
    save(tmp_path / "half.npz", Checkpoint(half, settings, 1, "tiny"))
    restored = load(tmp_path / "half.npz", NETWORK).state
    assert_same_bits(last_state(split, settings, 2, restored), whole)


def test_parts_add_up_to_the_minibatch(split):
    settings = Settings(samples=20)
    parameters = initial_state(NETWORK, settings).parameters
    indices = np.arange(150)
    parts = prepare(split, settings, 7, indices)
    assert [len(part.examples) for part in parts] == [PART_SIZE, PART_SIZE, 150 - 2 * PART_SIZE]
    noise = np.concatenate([part.noise for part in parts], axis=-1)
    whole = Part(Split(split.pixels[:150], split.classes[:150]), noise, (7, 0))
    expected = loss_and_gradients(NETWORK, parameters, whole, settings)
    found = add_parts([loss_and_gradients(NETWORK, parameters, p, settings) for p in parts])
    np.testing.assert_array_equal(found.loss, expected.loss)
    for name, gradient in expected.gradients.items():
        distance = np.linalg.norm(found.gradients[name] - gradient)
        assert distance < 1e-5 * np.linalg.norm(gradient), name


def test_parts_are_added_in_their_order():
    """In float32, (1 + 2⁻²⁴) + 2⁻²⁴ is 1, but 1 + (2⁻²⁴ + 2⁻²⁴) is not."""

    def part(value):
        return LossAndGradients(np.zeros(1, np.float32), {"w": np.array([value], np.float32)})

    tiny = 2.0**-24
    assert add_parts([part(1), part(tiny), part(tiny)]).gradients["w"][0] == 1
    assert add_parts([part(tiny), part(tiny), part(1)]).gradients["w"][0] > 1


def test_an_error_in_a_thread_reaches_the_caller(split, monkeypatch):
    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(Sequential, "backward", fail)
    with pytest.raises(MemoryError, match="no room"):
        next(train(NETWORK, split, Settings(samples=2), threads=2))


def test_evaluation_does_not_depend_on_the_number_of_threads(split):
    parameters = initial_state(NETWORK, Settings()).parameters
    one = evaluate(NETWORK, parameters, split, 64, threads=1)
    three = evaluate(NETWORK, parameters, split, 64, threads=3)
    assert one.accuracy == three.accuracy
    np.testing.assert_array_equal(one.predicted, three.predicted)


# --- the BLAS -----------------------------------------------------------------------------------


def test_the_blas_has_one_thread_inside_and_its_own_number_after():
    blas = blas_threads()
    if blas is None:
        pytest.skip("this NumPy's BLAS has no switch that is known")
    before = blas.get()
    blas.set(2)
    try:
        with one_blas_thread():
            assert blas.get() == 1
            with one_blas_thread():
                assert blas.get() == 1
            assert blas.get() == 1
        assert blas.get() == 2
        with pytest.raises(ZeroDivisionError), one_blas_thread():
            1 / 0  # noqa: B018
        assert blas.get() == 2
    finally:
        blas.set(before)


def test_of_several_users_the_last_gives_the_blas_its_number_back(monkeypatch):
    calls: list[int] = []
    monkeypatch.setattr(threads, "blas_threads", lambda: BlasThreads(calls.append, lambda: 5))
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # as in two threads, not one inside the other
    assert calls == [1]
    second.__exit__(None, None, None)
    assert calls == [1, 5]


def test_the_number_of_threads_is_set_around_the_work(monkeypatch, split):
    calls: list[int] = []
    monkeypatch.setattr(threads, "blas_threads", lambda: BlasThreads(calls.append, lambda: 5))
    steps = len(list(train(NETWORK, split, Settings(epochs=1, samples=2), threads=2)))
    assert calls == [1, 5] * steps


def test_with_an_unknown_blas_one_thread_is_the_default(monkeypatch):
    assert default_threads() >= 1
    monkeypatch.setattr(threads, "blas_threads", lambda: None)
    assert default_threads() == 1
    with one_blas_thread():
        pass


def test_the_blas_says_whose_kernels_it_has():
    if "openblas" not in machine.blas():
        pytest.skip("only OpenBLAS says it")
    kernels = blas_kernels()
    assert kernels
    assert machine.blas().endswith(f", kernels for {kernels}")


def test_a_blas_that_does_not_name_its_kernels_is_named_without(monkeypatch):
    monkeypatch.setattr(threads, "_blas_libraries", lambda: iter([object()]))
    assert blas_kernels.__wrapped__() is None  # past what it remembers
    monkeypatch.setattr(machine, "blas_kernels", lambda: None)
    assert "kernels" not in machine.blas()


@pytest.mark.parametrize("module", ["lenet_np.loop", "lenet_np"])
def test_help_imports_nothing_heavy(module):
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{module!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_module({module!r}, run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'scipy', 'matplotlib', 'requests', 'urllib3', 'torch'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# --- other executors ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"loss": "cross-entropy"},
        {"perturb": "weights", "batch_size": 40},
        {"perturb": "weights", "batch_size": 40, "rank": "full"},
    ],
)
def test_processes_give_the_bits_of_threads(split, processes, given):
    settings = resolve({"epochs": 1, "samples": 20} | given)
    *_, (theirs, _) = train(NETWORK, split, settings, executor=processes)
    assert_same_bits(theirs, last_state(split, settings, 2))


def test_an_executor_that_breaks_ends_the_loop(split):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        steps = train(NETWORK, split, Settings(epochs=9, samples=2), executor=pool)
        next(steps)
        (process,) = pool._processes.values()
        process.kill()
        with pytest.raises(BrokenExecutor):
            for _ in steps:
                pass
