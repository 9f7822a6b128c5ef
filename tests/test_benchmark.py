"""The rivals compute the same as lenet_np, and the command runs."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from tiny import tiny_dataset

from lenet_np import es
from lenet_np.data import DataError
from lenet_np.data.minibatch import gather
from lenet_np.lenet import lenet5
from lenet_np.losses import zero_one_loss
from lenet_np.optim import Adam
from lenet_np.settings import Settings
from lenet_np.tools.benchmark import work
from lenet_np.tools.benchmark.rivals import RIVALS, Rival, installed
from lenet_np.tools.benchmark.textbook import Affine, Convolution, TextbookLeNet
from lenet_np.tools.benchmark.work import measure_pieces, measure_products
from lenet_np.tools.commands import benchmark as command

NETWORK = lenet5()


def test_the_textbook_network_takes_the_same_steps():
    """Two steps in float64: logits, estimate, gradients and Adam agree to rounding."""
    rng = np.random.default_rng(0)
    parameters = {name: v.astype(np.float64) for name, v in NETWORK.init(rng).items()}
    textbook, adam = TextbookLeNet(parameters), Adam(1e-3)
    state = adam.init(parameters)
    for _ in range(2):
        images = rng.random((1, 32, 32, 6))
        classes = rng.integers(0, 10, 6)
        labels = np.eye(10)[:, classes]
        noise = es.sample_noise(rng, 10, 30, 6, np.float64)

        logits, caches = NETWORK.forward(parameters, images)
        g = es.estimate_gradient(zero_one_loss, logits, labels, noise, 4.0).gradient
        _, gradients = NETWORK.backward(g, caches)
        parameters, state = adam.update(parameters, gradients, state)

        theirs = textbook.forward(images.transpose(3, 0, 1, 2))
        np.testing.assert_allclose(theirs.T, logits, rtol=1e-10, atol=1e-12)
        dlogits = textbook.estimate(theirs, classes, noise.transpose(1, 2, 0), 4.0)
        np.testing.assert_allclose(dlogits.T, g, atol=1e-14)
        textbook.backward(dlogits)
        textbook.adam(1e-3)

    trained = [x for x in textbook.layers if isinstance(x, Convolution | Affine)]
    for name, layer in zip(("conv1", "conv2", "dense1", "dense2", "logits"), trained, strict=True):
        for key in ("weight", "bias"):
            ours = gradients[f"{name}.{key}"]
            np.testing.assert_allclose(getattr(layer, f"d{key}"), ours, rtol=1e-9, atol=1e-13)
            np.testing.assert_allclose(
                getattr(layer, key), parameters[f"{name}.{key}"], rtol=1e-9, atol=1e-12
            )


def test_every_piece_of_a_step_is_measured():
    pieces = measure_pieces(1)
    layers = [name for name, _ in NETWORK.layers]
    assert [p for p in pieces if p.startswith("forward")] == [f"forward {k}" for k in layers]
    assert [p for p in pieces if p.startswith("backward")] == [
        f"backward {k}" for k in reversed(layers)
    ]
    assert {"noise", "gather", "estimate", "add parts", "Adam"} < pieces.keys()
    assert min(pieces.values()) > 0
    assert measure_products(1) > 0
    assert min(work.measure_reading(1)) > 0


def test_images_for_the_benchmark_go_through_the_network():
    images, labels = gather(work.benchmark_split(), slice(0, 3))
    assert NETWORK.forward(NETWORK.init(np.random.default_rng(0)), images)[0].shape == (10, 3)
    assert labels.sum() == 3


def test_the_command_prints_a_row_for_everybody(tmp_path, capsys):
    picture = tmp_path / "pieces.png"
    words = ["--turns", "1", "--threads", "2", "--figure", str(picture)]
    assert command.main([*words, "--rivals", "textbook-float32", "textbook-float64"]) == 0
    printed = capsys.readouterr().out
    assert "of which products" in printed
    for title in ("lenet_np", "textbook im2col, float32", "textbook im2col, float64"):
        rows = re.findall(rf"^  {title} +[\d.]+ +[\d.]+ +[\d.]+ +[\d,]+ +([\d.]+)$", printed, re.M)
        assert len(rows) == 2, title
        assert title != "lenet_np" or rows == ["1.00", "1.00"]
    assert "Peak memory" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(["--turns", "1", "--figure", str(tmp_path / "x.txt")])
    assert ".png, .svg or .pdf" in capsys.readouterr().err
    (tmp_path / "x.png").mkdir()
    assert command.main(["--turns", "1", "--figure", str(tmp_path / "x.png"), "--rivals"]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_a_rival_that_fails_ends_the_contest_in_one_line(monkeypatch, capfd):
    monkeypatch.setattr(command, "installed", lambda: ["nonsense"])
    assert command.main(["--turns", "1"]) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.endswith("nonsense ended before its turn was over; see above")


def test_wrong_values_are_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(command, "installed", list)
    race = ["--race", "--rivals", "textbook-float32"]
    for words in (["--turns", "0"], ["--rivals", "caffe"], ["--rivals", "jax"], race):
        with pytest.raises(SystemExit) as stop:
            command.main(words)
        assert stop.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_rival_ends_in_the_middle_of_its_work():
    rival = Rival("textbook-float64", 1, Settings())
    with pytest.MonkeyPatch.context() as patch:  # what Ctrl-C does while its answer is waited for
        patch.setattr(rival, "_read", lambda: "0")
        rival.turn("100000")
    rival.close()
    assert rival._process.returncode != 0


# --- the rivals, where they are installed ---------------------------------------------------------

FRAMEWORKS = [name for name in RIVALS if not name.startswith("textbook")]
#: In a process of its own, because two of these libraries in one disturb each other. After three
#: steps of cross-entropy, which no noise parts, the gradients still agree: Adam is the same too.
AGREE = """
import sys
from importlib import import_module

import numpy as np

from lenet_np import es
from lenet_np.data import Split
from lenet_np.data.minibatch import gather
from lenet_np.lenet import lenet5
from lenet_np.loop import initial_state
from lenet_np.optim import Adam
from lenet_np.settings import Settings
from lenet_np.threads import cores
from lenet_np.tools.benchmark.rivals import RIVALS
from lenet_np.tools.benchmark.work import benchmark_split, start_on
from lenet_np.workers import Part, loss_and_gradients

entry = RIVALS[sys.argv[1]]
network, split, rng = lenet5(), benchmark_split(80), np.random.default_rng(0)
noise = es.sample_noise(rng, 10, 30, 16)
options = ({}, {"objective": "log-success"}, {"loss": "cross-entropy"})
for settings in (Settings(samples=30, learning_rate=1e-3, **option) for option in options):
    start = start_on(split, split, settings, cores())
    rival = getattr(import_module("lenet_np.tools.benchmark." + entry.module), entry.name)(start)
    parameters, state = initial_state(network, settings)
    steps = 3 if settings.loss == "cross-entropy" else 0
    for step in range(steps + 1):
        here = np.arange(16 * step, 16 * step + 16)
        part = Part(Split(split.pixels[here], split.classes[here]), noise, (0, 0))
        gradients = loss_and_gradients(network, parameters, part, settings).gradients
        if step < steps:
            parameters, state = Adam(1e-3).update(parameters, gradients, state)
            rival.step(here)
    for name, theirs in rival.gradients(here, noise).items():
        off = np.linalg.norm(theirs - gradients[name]) / np.linalg.norm(gradients[name])
        print(settings.loss, settings.objective, name, theirs.shape, off)
        assert theirs.shape == gradients[name].shape
        assert off < (1e-3 if steps else 5e-6)
    logits, _ = network.forward(parameters, gather(split, here)[0])
    rival.wait()
    assert (rival.read(slice(80 + here[0], 80 + here[-1] + 1)) == logits.argmax(axis=0)).all()
"""


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_rival_computes_the_same_gradients(name):
    if name not in installed():
        pytest.skip(f"{RIVALS[name].package} is not installed: docs/requirements-bench.txt")
    done = subprocess.run([sys.executable, "-c", AGREE, name], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_rival_takes_part_where_it_is_installed(name):
    if name not in installed():
        pytest.skip(f"{RIVALS[name].package} is not installed: docs/requirements-bench.txt")
    rival = Rival(name, 2, Settings())
    try:
        assert rival.first_step > 0
        assert rival.turn("2") > 0
        assert rival.turn("evaluate") > 0
    finally:
        rival.close()


# --- the race -------------------------------------------------------------------------------------


def test_a_race_ends_when_both_targets_are_reached(monkeypatch):
    monkeypatch.setattr(work, "RACE_STEPS", 2)
    accuracies = iter([0.5, 0.985, 0.97, 0.995, 1.0])
    taken = []
    steps = (taken.append(i) for i in range(100))
    first, second = map(float, work.race(steps, lambda: None, lambda: next(accuracies)).split())
    assert len(taken) == 8  # evaluated after every second step, four times
    assert 0 < first < second


def test_a_race_that_is_not_won_says_so(monkeypatch):
    monkeypatch.setattr(work, "RACE_STEPS", 1)
    found = work.race(iter(range(3)), lambda: None, lambda: 0.985).split()
    assert float(found[0]) > 0
    assert found[1] == "inf"


def test_the_command_prints_the_race(monkeypatch, capsys):
    monkeypatch.setattr(command, "load_mnist", lambda folder: tiny_dataset())
    monkeypatch.setattr(work, "RACE_STEPS", 1)
    monkeypatch.setattr(work, "TARGETS", (0.0, 2.0))
    monkeypatch.setattr(command, "RACES", (Settings(epochs=1, samples=2, batch_size=20),))
    assert command.main(["--race", "--turns", "2", "--rivals"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^  median: lenet_np +[\d.]+ +inf$", printed, re.MULTILINE)


def test_a_race_without_mnist_ends_with_status_3(monkeypatch, capsys):
    def missing(folder):
        raise DataError("no data here")

    monkeypatch.setattr(command, "load_mnist", missing)
    assert command.main(["--race", "--rivals"]) == 3
    assert "no data here" in capsys.readouterr().err
