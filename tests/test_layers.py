"""Layers, LeNet-5 as a whole, and where the weights start."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reference import spaced
from scipy.stats import truncnorm

from lenet_np import init, seeds
from lenet_np.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential
from lenet_np.lenet import lenet5

LAYERS = {
    "Conv2d": (Conv2d(3, 3, stride=2, padding=1), (2, 5, 7)),
    "MaxPool2d": (MaxPool2d(3, 2), (2, 5, 7)),
    "ReLU": (ReLU(), (2, 3, 4)),
    "Flatten": (Flatten(), (2, 3, 4)),
    "Dense": (Dense(4), (6,)),
}


def as_float64(parameters):
    return {name: value.astype(np.float64) for name, value in parameters.items()}


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradients_of_each_layer(name, check):
    layer, shape = LAYERS[name]
    rng = np.random.default_rng(1)
    parameters = as_float64(layer.init(shape, rng, init.glorot_uniform))
    parameters = {key: value + 0.1 for key, value in parameters.items()}  # biases too
    x = spaced(rng, (*shape, 2))
    y, _ = layer.forward(parameters, x)
    assert y.shape == (*layer.output_shape(shape), 2)

    def backward(dy, cache):
        dx, gradients = layer.backward(dy, cache, need_dx=True)
        assert gradients.keys() == parameters.keys()
        return {"x": dx, **gradients}

    check(
        f"layer {name}",
        lambda x, *values: layer.forward(dict(zip(parameters, values, strict=True)), x),
        backward,
        [x, *parameters.values()],
        names=["x", *parameters],
    )


# --- LeNet-5 ------------------------------------------------------------------------------------


def test_lenet5_has_the_shapes_of_the_lesson():
    assert lenet5().shapes() == {
        "conv1": (6, 28, 28),
        "pool1": (6, 14, 14),
        "relu1": (6, 14, 14),
        "conv2": (16, 10, 10),
        "pool2": (16, 5, 5),
        "relu2": (16, 5, 5),
        "flatten": (400,),
        "dense1": (120,),
        "relu3": (120,),
        "dense2": (84,),
        "relu4": (84,),
        "logits": (10,),
    }


def test_lenet5_has_61706_parameters():
    parameters = lenet5().init(np.random.default_rng(1))
    assert {name: value.shape for name, value in parameters.items()} == {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "dense1.weight": (120, 400),
        "dense1.bias": (120,),
        "dense2.weight": (84, 120),
        "dense2.bias": (84,),
        "logits.weight": (10, 84),
        "logits.bias": (10,),
    }
    assert sum(value.size for value in parameters.values()) == 61_706
    assert {value.dtype for value in parameters.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", list(lenet5().init(np.random.default_rng(1))))
def test_the_gradient_of_each_parameter_of_lenet5(name, check):
    network, rng = lenet5(), np.random.default_rng(2)
    parameters = as_float64(network.init(rng))
    parameters = {k: v + 0.05 * (k.endswith("bias")) for k, v in parameters.items()}
    x = rng.standard_normal((1, 32, 32, 2))
    report = check(
        f"LeNet-5 {name}",
        lambda value: network.forward({**parameters, name: value}, x),
        lambda dy, caches: network.backward(dy, caches)[1][name],
        [parameters[name]],
        entries=20,
    )
    # There are 6,000 windows and units with a kink each; hardly an entry lies at one.
    assert report.inputs[0].excluded <= 1


def test_the_gradient_of_an_image(check):
    network = Sequential(
        (1, 6, 6),
        (("conv", Conv2d(2, 3)), ("pool", MaxPool2d(2, 2)), ("flat", Flatten()), ("out", Dense(3))),
    )
    rng = np.random.default_rng(3)
    parameters, x = as_float64(network.init(rng)), rng.standard_normal((1, 6, 6, 2))
    check(
        "Sequential dx",
        lambda x: network.forward(parameters, x),
        lambda dy, caches: network.backward(dy, caches, need_dx=True)[0],
        [x],
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lenet5_keeps_the_dtype(dtype):
    network, rng = lenet5(), np.random.default_rng(4)
    parameters = {k: v.astype(dtype) for k, v in network.init(rng).items()}
    logits, caches = network.forward(parameters, rng.random((1, 32, 32, 3)).astype(dtype))
    dx, gradients = network.backward(np.ones_like(logits), caches)
    assert dx is None
    assert logits.dtype == dtype
    assert {name: g.dtype for name, g in gradients.items()} == dict.fromkeys(parameters, dtype)
    assert {k: g.shape for k, g in gradients.items()} == {k: v.shape for k, v in parameters.items()}


def test_the_order_of_maximum_and_relu_does_not_matter():
    x = np.random.default_rng(5).standard_normal((2, 6, 6, 3))
    pool, relu = MaxPool2d(2, 2), ReLU()
    one, pool_cache = pool.forward({}, x)
    one, relu_cache = relu.forward({}, one)
    other, relu_first = relu.forward({}, x)
    other, pool_last = pool.forward({}, other)
    np.testing.assert_array_equal(one, other)
    dy = np.random.default_rng(6).standard_normal(one.shape)
    dx_one, _ = pool.backward(relu.backward(dy, relu_cache, True)[0], pool_cache, True)
    dx_other, _ = relu.backward(pool.backward(dy, pool_last, True)[0], relu_first, True)
    np.testing.assert_array_equal(dx_one, dx_other)


def test_a_batch_is_the_sum_of_its_examples():
    network, rng = lenet5(), np.random.default_rng(7)
    parameters = as_float64(network.init(rng))
    x, dy = rng.random((1, 32, 32, 3)), rng.standard_normal((10, 3))
    whole = network.backward(dy, network.forward(parameters, x)[1])[1]
    parts = [
        network.backward(dy[:, n : n + 1], network.forward(parameters, x[..., n : n + 1])[1])[1]
        for n in range(3)
    ]
    for name, gradient in whole.items():
        total = sum(part[name] for part in parts)
        np.testing.assert_allclose(gradient, total, rtol=1e-10, atol=1e-12)


def test_inputs_of_another_shape_are_refused():
    network = lenet5()
    parameters = network.init(np.random.default_rng(8))
    with pytest.raises(ValueError, match=r"inputs of shape \(1, 32, 32, 'N'\), got \(1, 28, 28, 5"):
        network.forward(parameters, np.zeros((1, 28, 28, 5), np.float32))
    with pytest.raises(ValueError, match="a dense layer takes inputs of 1 axes and a batch"):
        Sequential((1, 4, 4), (("dense", Dense(3)),)).shapes()
    with pytest.raises(ValueError, match="a max-pool layer takes inputs of 3 axes and a batch"):
        Sequential((16,), (("pool", MaxPool2d(2, 2)),)).shapes()
    with pytest.raises(ValueError, match="left over"):
        Sequential((1, 5, 5), (("pool", MaxPool2d(2, 2)),)).shapes()


# --- where the weights start --------------------------------------------------------------------


def test_fans_count_connections():
    assert init.fans((120, 400)) == (400, 120)
    assert init.fans((16, 6, 5, 5)) == (150, 400)
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        init.fans((3,))


@pytest.mark.parametrize("shape", [(120, 400), (16, 60, 5, 5)])
def test_glorot_fills_its_bounds(shape):
    values = init.glorot_uniform(shape, np.random.default_rng(9))
    limit = math.sqrt(6 / sum(init.fans(shape)))
    assert values.dtype == np.float32
    assert 0.999 * limit < np.abs(values).max() <= limit * (1 + 1e-6)
    assert abs(values.mean()) < 0.02 * limit
    assert values.std() == pytest.approx(limit / math.sqrt(3), rel=0.02)


def test_the_truncated_normal_has_no_tails():
    values = init.truncated_normal((400, 500), np.random.default_rng(10), std=0.1)
    assert values.dtype == np.float32
    assert 0.1999 < np.abs(values).max() <= 0.2 * (1 + 1e-6)
    assert abs(values.mean()) < 0.001
    # 0.0880: what is left of the standard deviation 0.1 without the tails.
    assert values.std() == pytest.approx(0.1 * truncnorm(-2, 2).std(), rel=0.01)
    # Redrawn and not clipped: no heap of values at the ends.
    assert np.mean(np.abs(values) > 0.199) < 0.002


def test_weights_repeat_with_their_seed():
    def draw(seed):
        return lenet5().init(seeds.generator(seed, "weights"))

    first, again, other = draw(1), draw(1), draw(2)
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert name.endswith("bias") == np.array_equal(first[name], other[name])


def test_streams_differ_by_seed_purpose_and_index():
    keys = [(s, p, i) for s in (0, 1) for p in ("weights", "shuffle", "noise") for i in (0, 1)]
    draws = {key: tuple(seeds.generator(*key).integers(0, 2**63, 4)) for key in keys}
    assert len(set(draws.values())) == len(keys)
    for key in keys:
        assert tuple(seeds.generator(*key).integers(0, 2**63, 4)) == draws[key]
