"""What the check says: the right cause for a wrong layer, and nothing about a right one."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
from broken_layers import BROKEN, batch_norm, conv, conv_gradients, pool, pool_gradient, softmax
from reference import spaced

from lenet_np import ops
from lenet_np.gradcheck import Finding, check
from lenet_np.gradcheck.report import chance_of_missing, draw_map

# --- wrong layers -------------------------------------------------------------------------------


@functools.cache
def report_of(name):
    return BROKEN[name][1]()


@pytest.mark.parametrize("name", BROKEN)
def test_the_cause_is_named(name):
    expected, report = BROKEN[name][0], report_of(name)
    assert not report.passed
    assert report.findings[0].code == expected, str(report)


def test_the_table_of_what_was_said():
    """With ``pytest -s`` it is printed."""
    lines = [
        f"{name}: {report_of(name).findings[0]}".splitlines()[0].replace(" input 0:", "")
        for name in BROKEN
    ]
    print("", *lines, sep="\n")
    assert len(lines) >= 36


def test_one_mistake_gives_one_finding():
    """Gradients that are right are not blamed with those that are wrong."""
    single = [
        name
        for name, (code, _) in BROKEN.items()
        if [finding.code for finding in report_of(name).findings] == [code]
    ]
    # Exchanging two gradients makes two wrong, and so does a loop that is too short.
    assert set(BROKEN) - set(single) <= {
        "dense: gradients of x and w exchanged",
        "dense: keeps the cache of its first call",
        "conv: loop ends one too early",
    }


# --- right layers -------------------------------------------------------------------------------


def random_values(rng, shape):
    """Draw numbers, with many ties and zeros, or on some other scale."""
    if rng.random() < 0.3:
        return rng.integers(-1, 2, shape).astype(float)
    return rng.standard_normal(shape) * 10.0 ** rng.integers(-2, 3)


def moved(x, layout):
    """Bring batch-last images into (N, C, H, W) or (N, H, W, C)."""
    return np.ascontiguousarray(
        x.transpose({"last": (0, 1, 2, 3), "nchw": (3, 0, 1, 2)}.get(layout, (3, 1, 2, 0)))
    )


def back(x, layout):
    return np.ascontiguousarray(
        x.transpose({"last": (0, 1, 2, 3), "nchw": (1, 2, 3, 0)}.get(layout, (3, 1, 2, 0)))
    )


def a_convolution(rng):
    layout = rng.choice(["last", "nchw", "nhwc"])
    stride, padding, kernel = (int(i) for i in rng.integers((1, 0, 1), (3, 2, 4)))
    size = kernel + stride * rng.integers(1, 3, 2) - 2 * padding
    size = np.where(size < 1, size + 2 * stride, size)
    x = random_values(rng, (rng.integers(1, 3), *size, rng.integers(1, 3)))
    weight = random_values(rng, (rng.integers(1, 3), len(x), kernel, kernel))

    def forward(x, weight, bias):
        y, cache = ops.conv2d_forward(back(x, layout), weight, bias, stride, padding)
        return moved(y, layout), cache

    def backward(dy, cache):
        dx, *others = ops.conv2d_backward(back(dy, layout), cache)
        return moved(dx, layout), *others

    inputs = [moved(x, layout), weight, random_values(rng, len(weight))]
    return forward, backward, inputs, {"batch_axis": -1 if layout == "last" else 0}


def a_pool(rng):
    window, stride = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    x = random_values(rng, (2, *(window + stride * rng.integers(0, 3, 2)), 2))
    return (
        lambda x: ops.max_pool2d_forward(x, window, stride),
        ops.max_pool2d_backward,
        [np.concatenate([x, spaced(rng, x.shape)])],
        {"batch_axis": -1},
    )


def a_dense(rng):
    n, i, o = rng.integers(1, 5, 3)
    inputs = [random_values(rng, shape) for shape in ((n, i), (i, o), (o,))]
    return (
        lambda x, w, b: x @ w + b,
        lambda dy, x, w, b: (dy @ w.T, x.T @ dy, dy.sum(axis=0)),
        inputs,
        {"cache": "none", "batch_axis": 0},
    )


def a_network(rng):
    """Dense, ReLU, dense; some units dead, some at zero."""
    n, i, h, o = rng.integers(1, 5, 4)
    inputs = [random_values(rng, shape) for shape in ((i, n), (h, i), (h,), (o, h))]
    inputs[0][0, 0] = 0.37

    def forward(x, w1, b1, w2):
        a, dense = ops.dense_forward(x, w1, b1)
        z, relu = ops.relu_forward(a)
        return w2 @ z, (dense, relu, z, w2)

    def backward(dy, cache):
        dense, relu, z, w2 = cache
        g = ops.dense_backward(ops.relu_backward(w2.T @ dy, relu), dense)
        return {"x": g.x, "w1": g.weight, "b1": g.bias, "w2": dy @ z.T}

    return forward, backward, inputs, {"names": ["x", "w1", "b1", "w2"], "batch_axis": -1}


def an_elementwise(rng):
    function, derivative = [
        (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
        (lambda x: np.maximum(x, 0.1 * x), lambda x: np.where(x > 0, 1.0, 0.1)),
        (np.abs, np.sign),
        (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
        (
            lambda x: 1 / (1 + np.exp(-x)),
            lambda x: np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2,
        ),
        (lambda x: np.clip(x, -1, 1), lambda x: (np.abs(x) < 1) * 1.0),
        (lambda x: x**3, lambda x: 3 * x**2),
    ][rng.integers(7)]
    x = random_values(rng, tuple(rng.integers(1, 5, rng.integers(1, 4))))
    x.flat[0] = 0.37  # not everything at a kink
    return function, lambda dy, x: dy * derivative(x), [x], {"cache": "none"}


def a_softmax(rng):
    x = rng.standard_normal(rng.integers(2, 6, 2)) * rng.choice([0.1, 1, 5])
    return (
        lambda x: (softmax(x), softmax(x)),
        lambda dy, y: y * (dy - (dy * y).sum(axis=1, keepdims=True)),
        [x],
        {"batch_axis": 0},
    )


def a_loss(rng):
    n, k = rng.integers(2, 5, 2)
    x, labels = rng.standard_normal((n, k)) * rng.choice([0.1, 1, 5]), rng.integers(0, k, n)
    return (
        lambda x, labels: -np.log(softmax(x)[np.arange(n), labels]).mean(),
        lambda dloss, x, labels: dloss * (softmax(x) - np.eye(k)[labels]) / n,
        [x, labels],
        {"cache": "none"},
    )


def a_batch_norm(rng):
    x = rng.standard_normal((rng.integers(3, 6), rng.integers(1, 4))) * rng.choice([1, 30])

    def backward(dy, cache):
        y, sigma = cache
        return (dy - dy.mean(axis=0) - y * (dy * y).mean(axis=0)) / sigma

    return batch_norm, backward, [x + rng.choice([0, 100])], {"batch_axis": 0}


def a_maximum(rng):
    """The largest of each row, and the first of those that tie."""
    x = random_values(rng, (4, 3))
    x[0] = [0.37, 1.4, -2.1]

    def backward(dy, x):
        dx = np.zeros_like(x)
        dx[np.arange(len(x)), x.argmax(axis=1)] = dy
        return dx

    return lambda x: x.max(axis=1), backward, [x], {"cache": "none", "batch_axis": 0}


def loops(rng):
    """The layers of the table, without their faults."""
    if rng.random() < 0.5:
        x = random_values(rng, (1, 4, 3, 2))
        weight = random_values(rng, (2, 1, 2, 2))
        stride = int(rng.integers(1, 3))
        forward = functools.partial(conv, stride=stride, padding=1)
        return forward, conv_gradients, [x, weight, random_values(rng, 2)], {"batch_axis": -1}
    x = np.concatenate([random_values(rng, (1, 2, 4, 4)), spaced(rng, (1, 2, 4, 4))])
    return lambda x: pool(x, 2, 1), pool_gradient, [x], {"batch_axis": 0}


KINDS = [
    a_convolution,
    a_pool,
    a_dense,
    a_network,
    an_elementwise,
    a_softmax,
    a_loss,
    a_batch_norm,
    a_maximum,
    loops,
]


@pytest.mark.parametrize("kind", KINDS)
def test_right_layers_raise_no_alarm(kind):
    """Twenty of each kind, 200 in all: random shapes, ties, kinks and scales."""
    for seed in range(20):
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        forward, backward, inputs, options = kind(rng)
        report = check(forward, backward, inputs, seed=seed, **options)
        assert report.passed, f"seed {seed}\n{report}"


# --- misbehaviour -------------------------------------------------------------------------------


def first(report) -> Finding:
    return report.findings[0]


def divide(x):
    return 1 / x.shape[7], None


def test_an_exception_is_given_with_the_line_of_the_student():
    finding = first(check(divide, lambda dy, cache: dy, [np.ones(3)]))
    assert finding.code == "exception"
    assert finding.message == "forward raised IndexError: tuple index out of range"
    assert re.fullmatch(r"test_diagnosis\.py:\d+: return 1 / x\.shape\[7\], None", finding.line), (
        finding.line
    )


def test_an_exception_inside_numpy_is_given_with_the_line_that_called_it():
    def forward(x):
        return np.linalg.inv(x), None  # not square

    finding = first(check(forward, lambda dy, cache: dy, [np.ones((2, 3))]))
    assert "LinAlgError" in finding.message
    assert "return np.linalg.inv(x), None" in finding.line


def test_a_program_that_wants_to_end_does_not():
    def forward(x):
        raise SystemExit(3)

    assert first(check(forward, None, [np.ones(3)])).message == "forward raised SystemExit: 3"


def test_writing_in_place_is_given_with_its_line():
    def backward(dy, x):
        dy[x < 0] = 0
        return dy

    report = check(
        lambda x: (np.maximum(x, 0), x), backward, [spaced(np.random.default_rng(1), (6,))]
    )
    assert [finding.code for finding in report.findings] == ["in-place"]
    assert first(report).message.startswith("backward changes dy in place")
    assert "dy[x < 0] = 0" in first(report).line


@pytest.mark.parametrize(
    ("forward", "code", "message"),
    [
        (lambda x: x**2, "cache", r"the pair \(y, cache\), got an array of shape \(3,\)"),
        (lambda x: None, "cache", "got None"),
        (lambda x: (None, x), "none", "y is None"),
        (lambda x: ("y", x), "dtype", "y must be a NumPy array, got a str"),
        (lambda x: (x.astype(np.float32), x), "dtype", "float64 like the inputs, got float32"),
        (lambda x: (np.log(x - 9), x), "nan", r"y of forward has 3 of 3 values nan or inf"),
        (
            lambda x: ((x**2 / 3).astype(np.float32).astype(float), x),
            "dtype",
            "forward computes in float32 on the way",
        ),
    ],
)
def test_a_forward_that_gives_nonsense(forward, code, message):
    x = np.random.default_rng(1).uniform(1, 2, 3)
    finding = first(check(forward, lambda dy, x: 2 * dy * x, [x]))
    assert finding.code == code
    assert re.search(message, finding.message), finding.message


def test_a_forward_that_remembers_is_caught():
    calls = []

    def forward(x):
        calls.append(x.sum())
        return x**2 + calls[0] + (calls[-2] if len(calls) > 1 else 0), x

    finding = first(check(forward, lambda dy, x: 2 * dy * x, [np.ones(3)]))
    assert finding.code in ("depends-on-history", "not-deterministic")


def test_the_backward_of_a_wrong_forward_is_not_blamed_for_it():
    report = check(
        lambda x: (x**2 + x, x),
        lambda dy, x: 2 * dy * x,
        [np.linspace(1, 2, 5)],
        definition=lambda x: x**2,
    )
    assert [finding.code for finding in report.findings] == ["forward-wrong"]
    assert "it is forward that is wrong" in report.notes[0]


def test_an_unknown_mistake_comes_with_a_map():
    def backward(dy, x):
        dx = 2 * dy * x
        dx[1, 3] += 0.5
        dx[2, 0] *= 7
        return dx

    x = np.random.default_rng(1).standard_normal((4, 6))
    finding = first(check(lambda x: (x**2, x), backward, [x]))
    assert finding.code == "unknown"
    assert finding.message.splitlines()[0].startswith("2 of 24 entries are wrong")
    assert [line.strip() for line in finding.message.splitlines()[2:]] == [
        "......",
        "...X..",
        "X.....",
        "......",
    ]


def test_the_map_folds_all_but_two_axes():
    marks = np.zeros((3, 2, 4, 5), int)
    marks[2, 1, 0, 4], marks[0, 0, 3, 0], marks[:, :, 1, 1] = 3, 1, 2
    assert draw_map(marks, batch_axis=0).splitlines()[1:] == [
        "    ....X",
        "    .?...",
        "    .....",
        "    k....",
    ]
    assert draw_map(np.zeros((), int)).splitlines()[1:] == ["    ."]
    assert len(draw_map(np.zeros((100, 100), int)).splitlines()) == 18


def test_a_sample_is_enough_for_the_cause():
    x, w = np.random.default_rng(1).standard_normal((2, 6, 6))
    report = check(
        lambda x, w: (x @ w, (x, w)),
        lambda dy, cache: (dy @ cache[1].T, dy.T @ cache[0]),
        [x, w],
        names=["x", "w"],
        entries=5,
    )
    assert [(finding.code, finding.input) for finding in report.findings] == [("transposed", "w")]


def test_the_chance_of_missing_an_error():
    assert chance_of_missing(100) == pytest.approx(0.366, abs=1e-3)
    assert chance_of_missing(10, share=0.5) == pytest.approx(2**-10)
