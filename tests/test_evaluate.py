"""Batches count by their size, and a class that is never the answer is seen."""

from __future__ import annotations

import numpy as np
import pytest

from lenet_np.data import Split
from lenet_np.data.minibatch import gather
from lenet_np.evaluate import evaluate
from lenet_np.layers import Dense, Flatten, Sequential
from lenet_np.seeds import generator

BRIGHTNESS = Sequential((1, 32, 32), (("flatten", Flatten()), ("logits", Dense(10))))


def digits(size: int) -> Split:
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
    return Split(pixels, rng.integers(0, 10, size).astype(np.uint8))


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_accuracy_and_recall_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    split = digits(50)
    parameters = BRIGHTNESS.init(np.random.default_rng(0))
    images, labels = split[:]
    flat = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0))).reshape(50, -1)
    answers = (flat @ parameters["logits.weight"].T).argmax(axis=1)
    right = answers == labels.argmax(axis=1)
    result = evaluate(BRIGHTNESS, parameters, split, batch_size)
    assert result.accuracy == right.mean()
    for k in range(10):
        assert result.recall[k] == right[split.classes == k].mean()
    np.testing.assert_array_equal(result.predicted, np.bincount(answers, minlength=10))


def test_dead_classes_are_those_never_predicted() -> None:
    parameters = BRIGHTNESS.init(np.random.default_rng(0))
    parameters["logits.bias"][3] = 1e6
    result = evaluate(BRIGHTNESS, parameters, digits(20))
    assert result.dead_classes() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_the_recall_of_a_class_without_images_is_nan() -> None:
    split = Split(np.zeros((2, 28, 28), np.uint8), np.array([1, 1], np.uint8))
    result = evaluate(BRIGHTNESS, BRIGHTNESS.init(np.random.default_rng(0)), split)
    assert np.isnan(np.delete(result.recall, 1)).all()


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(ValueError, match="0 examples"):
        evaluate(BRIGHTNESS, BRIGHTNESS.init(np.random.default_rng(0)), digits(0))


def test_gather_turns_the_users_layout_into_the_networks() -> None:
    split = digits(9)
    images, labels = gather(split, np.array([4, 2]))
    assert (images.shape, images.dtype) == ((1, 32, 32, 2), np.float32)
    assert labels.shape == (10, 2)
    np.testing.assert_array_equal(images[0, 2:30, 2:30, 1], split[2:3][0][0, :, :, 0])
    assert images.sum() == images[:, 2:30, 2:30].sum()
    np.testing.assert_array_equal(labels.argmax(axis=0), split.classes[[4, 2]])
    assert images.flags.c_contiguous


def test_streams_of_different_purposes_differ_and_repeat() -> None:
    draws = {
        (purpose, index): generator(0, purpose, index).random()
        for purpose in ("weights", "shuffle", "noise")
        for index in range(3)
    }
    assert len(set(draws.values())) == 9
    assert generator(0, "noise", 2).random() == draws["noise", 2]
    assert generator(1, "noise", 2).random() != draws["noise", 2]
