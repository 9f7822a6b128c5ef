"""The rivals compute the same as lenet_np, and the command runs."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lenet_np import es
from lenet_np.data.minibatch import gather
from lenet_np.lenet import lenet5
from lenet_np.losses import zero_one_loss
from lenet_np.optim import Adam
from lenet_np.tools.benchmark import work
from lenet_np.tools.benchmark.rivals import Rival
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


def test_images_for_the_benchmark_go_through_the_network():
    images, labels = gather(work.benchmark_split(), slice(0, 3))
    assert NETWORK.forward(NETWORK.init(np.random.default_rng(0)), images)[0].shape == (10, 3)
    assert labels.sum() == 3


def test_the_command_prints_a_row_for_everybody(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None)  # PyTorch takes long to start
    picture = tmp_path / "pieces.png"
    assert command.main(["--turns", "1", "--threads", "2", "--figure", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "PyTorch is not installed" in printed
    assert "of which products" in printed
    for title in ("lenet_np", "textbook im2col, float32", "textbook im2col, float64"):
        rows = re.findall(rf"^  {title} +[\d.]+ +[\d.]+ +[\d.]+ +[\d,]+ +([\d.]+)$", printed, re.M)
        assert len(rows) == 2, title
        assert title != "lenet_np" or rows == ["1.00", "1.00"]
    assert "Peak memory" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "RIVALS", ())
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        command.main(["--turns", "1", "--figure", str(tmp_path / "x.txt")])
    assert ".png, .svg or .pdf" in capsys.readouterr().err
    (tmp_path / "x.png").mkdir()
    assert command.main(["--turns", "1", "--figure", str(tmp_path / "x.png")]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_a_rival_that_fails_ends_the_contest_in_one_line(monkeypatch, capfd):
    monkeypatch.setattr(command, "RIVALS", ("textbook-nonsense",))
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert command.main(["--turns", "1"]) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.endswith("textbook-nonsense ended before its turn was over; see above")


def test_wrong_values_are_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["--turns", "0"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_pytorch_takes_part_where_it_is_installed():
    pytest.importorskip("torch")
    rival = Rival("pytorch", 2)
    try:
        assert rival.title.startswith("PyTorch")
        assert rival.turn("2") > 0
    finally:
        rival.close()
