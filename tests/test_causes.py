"""Every cause on a layer that has it, beside a sibling that is right; and no cause without one."""

from __future__ import annotations

import functools

import numpy as np
import public_reports as reports
import pytest
from broken_layers import pool, sigmoid, softmax
from public_reports import MASK, draw, dropout, elementwise, elu, leaky, right_norm
from reference import spaced
from test_diagnosis import KINDS

from lenet_np.gradcheck import check


def by_output(forward, row, x=None):
    """Check a layer of one input; row gives dx for dy, x and y."""
    return check(
        lambda x: (forward(x), (x, forward(x))),
        lambda dy, cache: row(dy, *cache),
        [draw((4, 5))[0] if x is None else x],
        names=["x"],
    )


def softmax_gradient(part):
    """dx_i = y_i (dy_i - sum over j of dy_j y_j), where part (i, j) says which j count."""

    def gradient(dy, x, y):
        counted = part(np.arange(5)[:, None], np.arange(5))
        return y * (dy - (dy * y) @ counted.T)

    return by_output(softmax, gradient)


def norm(axis, gradient):
    return reports.normalised(axis, lambda q, h, s, g: gradient(q, h, s))


def norm_without(axis, mean, variance):
    def gradient(q, h, s):
        m, v = q.mean(axis=axis, keepdims=True), h * (q * h).mean(axis=axis, keepdims=True)
        return (q - mean * m - variance * v) / s

    return norm(axis, gradient)


def length_one(keep):
    """x / |x| for each row; keep says whether the way through the norm is there."""

    def gradient(dy, x, y):
        size = np.sqrt((x**2).sum(axis=1, keepdims=True))
        return (dy - keep * y * (dy * y).sum(axis=1, keepdims=True)) / size

    return by_output(lambda x: x / np.sqrt((x**2).sum(axis=1, keepdims=True)), gradient)


def absolute_regulariser(c):
    """A linear loss with a term 0.3 |w|_1."""
    (target,) = draw((6,))
    return check(
        lambda w: (w @ target + 0.3 * np.abs(w).sum(), w),
        lambda d, w: d * (target + c * np.sign(w)),
        [draw((6,), seed=4)[0]],
        names=["w"],
    )


def training_mask(scale):
    rng = np.random.default_rng(3)  # drawn anew in every call of backward

    def backward(dy):
        return dy * (rng.random(dy.shape) > 0.4) / 0.6

    return dropout(backward if scale is None else lambda dy: dy * MASK * scale)


def mean_of_batch(count, wrong):
    """dw averaged over the batch, whose axis is not given."""
    return reports.dense(
        dw=lambda dy, x, w: x.T @ dy / (count if wrong else 1),
        shapes=((count, 5), (5, 3), (3,)),
        batch_axis=None,
    )


def pool_moved(stride=2, offset=0):
    """A max-pool of windows of two, whose gradient is put elsewhere."""

    def backward(dy, cache):
        x = cache[0]
        dx = np.zeros((*x.shape[:2], 9, 9))
        for n, c, p, q in np.ndindex(*dy.shape):
            part = x[n, c, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2]
            i, j = np.unravel_index(part.argmax(), (2, 2))
            dx[n, c, stride * p + i + offset, stride * q + j + offset] += dy[n, c, p, q]
        return dx[:, :, :6, :6]

    x = spaced(np.random.default_rng(1), (2, 2, 6, 6))
    return check(lambda x: pool(x, 2, 2), backward, [x], names=["x"])


def recurrent_from(through_time):
    """h_t = tanh(h_(t-1) v), from a given state."""

    def forward(h, v):
        states = [h]
        for _ in range(3):
            states.append(np.tanh(states[-1] @ v))
        return np.array(states[1:]), (states, v)

    def backward(dy, cache):
        states, v = cache
        dh, dv = 0.0, 0.0
        for t in reversed(range(3)):
            da = ((dh if through_time else 0) + dy[t]) * (1 - states[t + 1] ** 2)
            dh, dv = da @ v.T, dv + states[t].T @ da
        return dh, dv

    return check(forward, backward, draw((2, 3), (3, 3)), names=["h", "v"])


def ignores(used):
    return check(
        lambda x, b: (2 * x + used * b, 0),
        lambda dy, _: (2 * dy, dy.sum(axis=0)),
        draw((4, 3), (3,)),
        names=["x", "b"],
    )


def three_outputs(used):
    return by_output(
        lambda x: np.stack([np.tanh(x), x**2, 3 * x]),
        lambda dy, x, y: dy[0] * (1 - np.tanh(x) ** 2) + used * 2 * dy[1] * x + 3 * dy[2],
    )


def dense_relu(masked):
    def backward(dy, cache):
        x, w = cache
        dz = dy * (x @ w > 0) if masked else dy
        return dz @ w.T, x.T @ dz

    return check(
        lambda x, w: (np.maximum(x @ w, 0), (x, w)),
        backward,
        draw((4, 5), (5, 3)),
        names=["x", "w"],
    )


def convolve_row(turn):
    def backward(dy, cache):
        x, w = cache
        dx = np.stack([np.convolve(row, w[::turn], "full") for row in dy])
        return dx, sum(np.correlate(a, b, "valid") for a, b in zip(x, dy, strict=True))[::turn]

    return check(
        lambda x, w: (np.stack([np.convolve(row, w, "valid") for row in x]), (x, w)),
        backward,
        draw((3, 9), (3,)),
        names=["x", "w"],
    )


def row(**options):
    return reports.convolved_row(**options)


STRIDE = {"stride": 1}
#: cause -> code, words of the message, the wrong layer, its right sibling
PAIRS = {
    "stride left out of dx": (
        "stride",
        "stride 1, forward 2",
        lambda: row(stride=2, dx=STRIDE),
        lambda: row(stride=2),
    ),
    "stride left out of dw": (
        "stride",
        "stride 1, forward 2",
        lambda: row(stride=2, dw=STRIDE),
        lambda: row(stride=2),
    ),
    "stride left out of both, with padding": (
        "stride",
        "stride 1, forward 2",
        lambda: row(stride=2, padding=1, dx=STRIDE, dw=STRIDE),
        lambda: row(stride=2, padding=1),
    ),
    "stride left out of dx, in a picture": (
        "stride",
        "stride 1, forward 2",
        lambda: reports.convolved("stride", stride=2, padding=1),
        lambda: reports.convolved(stride=2, padding=1),
    ),
    "stride left out of a pool": (
        "stride",
        "by 1 too little",
        lambda: pool_moved(stride=1),
        pool_moved,
    ),
    "dilation left out of dx": (
        "dilation",
        "dilation 1, forward 2",
        lambda: row(dilation=2, padding=1, dx={"dilation": 1}),
        lambda: row(dilation=2, padding=1),
    ),
    "dilation left out of dw": (
        "dilation",
        "dilation 1, forward 2",
        lambda: row(dilation=2, dw={"dilation": 1}),
        lambda: row(dilation=2),
    ),
    "groups left out of dx": (
        "groups",
        "into groups",
        lambda: row(groups=2, dx={"groups": 1}),
        lambda: row(groups=2),
    ),
    "groups left out of dw": (
        "groups",
        "into groups",
        lambda: row(groups=2, dw={"groups": 1}),
        lambda: row(groups=2),
    ),
    "padding not cut off": (
        "border",
        "moved",
        lambda: reports.convolved("padding"),
        reports.convolved,
    ),
    "padding of a pool": ("border", "moved by 1", lambda: pool_moved(offset=1), pool_moved),
    "kernel mirrored in dx": (
        "flipped-kernel",
        "mirrored",
        lambda: reports.convolved("flip w"),
        reports.convolved,
    ),
    "batch norm: mean": (
        "missing-way",
        "the mean, or a sum, along axis 0 is missing",
        lambda: norm_without(0, False, True),
        lambda: norm_without(0, True, True),
    ),
    "batch norm: variance": (
        "missing-way",
        "the variance along axis 0 is missing",
        lambda: norm_without(0, True, False),
        lambda: norm(0, functools.partial(right_norm, 0)),
    ),
    "layer norm: mean": (
        "missing-way",
        "the mean, or a sum, along axis 1 is missing",
        lambda: norm_without(1, False, True),
        lambda: norm_without(1, True, True),
    ),
    "layer norm: variance": (
        "missing-way",
        "the variance along axis 1 is missing",
        lambda: norm_without(1, True, False),
        lambda: norm(1, functools.partial(right_norm, 1)),
    ),
    "layer norm: both": (
        "missing-way",
        "the mean and the variance along axis 1 are missing",
        lambda: norm_without(1, False, False),
        lambda: norm_without(1, True, True),
    ),
    "batch norm: the variance's way half": (
        "missing-way",
        "is 0.5 times",
        lambda: norm_without(0, True, 0.5),
        lambda: norm_without(0, True, 1),
    ),
    "the norm of a row": (
        "missing-way",
        "the norm along axis 1",
        lambda: length_one(False),
        lambda: length_one(True),
    ),
    "squared regulariser": (
        "missing-way",
        "a multiple of w itself",
        lambda: reports.regularised(0.3, 0.0),
        lambda: reports.regularised(0.3, 0.6),
    ),
    "absolute regulariser": (
        "missing-way",
        "the sign of w",
        lambda: absolute_regulariser(0.0),
        lambda: absolute_regulariser(0.3),
    ),
    "dropout: no mask": (
        "missing-mask",
        "the mask is missing",
        lambda: dropout(lambda dy: dy / 0.6),
        lambda: training_mask(1 / 0.6),
    ),
    "dropout: a mask drawn anew": (
        "not-deterministic",
        "draws random numbers",
        lambda: dropout(lambda dy: dy * (np.random.rand(4, 5) > 0.4) / 0.6),  # noqa: NPY002
        lambda: training_mask(1 / 0.6),
    ),
    "dropout: a mask of a generator of its own": (
        "depends-on-history",
        "another one",
        lambda: training_mask(None),
        lambda: training_mask(1 / 0.6),
    ),
    "dropout: another mask": (
        "wrong-mask",
        "another mask",
        lambda: dropout(lambda dy: dy * MASK[::-1] / 0.6),
        lambda: training_mask(1 / 0.6),
    ),
    "dropout: without 1 / p": (
        "constant-factor",
        "0.6",
        lambda: training_mask(1.0),
        lambda: training_mask(1 / 0.6),
    ),
    "dropout: training's backward after evaluation": (
        "wrong-mask",
        "forward none",
        lambda: dropout(lambda dy: dy * MASK / 0.6, 1.0, np.ones((4, 5))),
        lambda: dropout(lambda dy: dy, 1.0, np.ones((4, 5))),
    ),
    "softmax from s (1 - s)": (
        "diagonal-only",
        "own place alone",
        lambda: by_output(softmax, lambda dy, x, y: dy * y * (1 - y)),
        lambda: softmax_gradient(lambda i, j: i + j >= 0),
    ),
    "softmax without its sum": (
        "missing-way",
        "the sum along axis 1, a multiple of y, is missing",
        lambda: softmax_gradient(lambda i, j: i + j < 0),
        lambda: softmax_gradient(lambda i, j: i + j >= 0),
    ),
    "softmax, the sum without the own place": (
        "diagonal-only",
        "all is right but the way from each entry",
        lambda: softmax_gradient(lambda i, j: i != j),
        lambda: softmax_gradient(lambda i, j: i + j >= 0),
    ),
    "softmax with a part of the sum": (
        "left-out",
        "shares that make up the gradient are left out",
        lambda: softmax_gradient(lambda i, j: i >= j),
        lambda: softmax_gradient(lambda i, j: i + j >= 0),
    ),
    "the gradient is dy": (
        "missing-factor",
        "dy itself",
        lambda: by_output(softmax, lambda dy, x, y: dy),
        lambda: softmax_gradient(lambda i, j: i + j >= 0),
    ),
    "leaky ReLU": (
        "slope",
        "negative the slope is 0 and should be 0.01",
        lambda: elementwise(leaky(0.01), lambda x, y: (x > 0) * 1.0),
        lambda: elementwise(leaky(0.01), lambda x, y: np.where(x > 0, 1.0, 0.01)),
    ),
    "ELU": (
        "slope",
        "negative the slope is wrong",
        lambda: elementwise(elu(0.5), lambda x, y: np.where(x > 0, 1.0, y)),
        lambda: elementwise(elu(0.5), lambda x, y: np.where(x > 0, 1.0, y + 0.5)),
    ),
    "the derivative at y": (
        "at-output",
        "taken at y",
        lambda: elementwise(sigmoid, lambda x, y: sigmoid(y) * (1 - sigmoid(y))),
        lambda: elementwise(sigmoid, lambda x, y: y * (1 - y)),
    ),
    "forward ignores an input": (
        "ignored-input",
        "y does not change with b",
        lambda: ignores(0),
        lambda: ignores(1),
    ),
    "time, in dx": (
        "diagonal-only",
        "the path through time",
        lambda: reports.recurrent(False),
        reports.recurrent,
    ),
    "time, in dh": (
        "one-position-only",
        "the path through time",
        lambda: recurrent_from(False),
        lambda: recurrent_from(True),
    ),
    "mean over a batch of 2, not known": (
        "constant-factor",
        "1/2, the length of axis 0 of y",
        lambda: mean_of_batch(2, True),
        lambda: mean_of_batch(2, False),
    ),
    "mean over a batch of 4, not known": (
        "constant-factor",
        "1/4, the length of axis 0 of y",
        lambda: mean_of_batch(4, True),
        lambda: mean_of_batch(4, False),
    ),
    "winners by nearness": (
        "extra-way",
        "winners of a maximum chosen by nearness",
        reports.nearly_largest,
        lambda: by_output(
            lambda x: x.max(axis=1),
            lambda dy, x, y: dy[:, None] * (x == y[:, None]),
        ),
    ),
    "an average's gradient for a maximum": (
        "spread-evenly",
        "as for a mean",
        lambda: reports.pooled("mean", 2, 2),
        lambda: reports.pooled(None, 2, 2),
    ),
    "sigmoid's slope left out of dw": (
        "missing-factor",
        "not multiplied by y (1 - y)",
        lambda: reports.dense_sigmoid(lambda dy, x, y: x.T @ dy),
        lambda: reports.dense_sigmoid(lambda dy, x, y: x.T @ (dy * y * (1 - y))),
    ),
    "the second output of three, not used": (
        "left-out",
        "index 1 of axis 0 of y is not used",
        lambda: three_outputs(0),
        lambda: three_outputs(1),
    ),
    "no mask behind a dense layer": (
        "missing-mask",
        "as of a ReLU",
        lambda: dense_relu(False),
        lambda: dense_relu(True),
    ),
    "a convolution's kernel, not turned": (
        "flipped-kernel",
        "mirrored",
        lambda: convolve_row(1),
        lambda: convolve_row(-1),
    ),
    "a norm left out of its own derivative": (
        "constant-factor",
        "y = ",
        lambda: by_output(np.linalg.norm, lambda dy, x, y: dy * x),
        lambda: by_output(np.linalg.norm, lambda dy, x, y: dy * x / y),
    ),
    "a rounded constant": (
        "nearly-right",
        "nearly right",
        lambda: elementwise(lambda x: 1.1439253 * x, lambda x, y: 1.14393 + 0 * x),
        lambda: elementwise(lambda x: 1.1439253 * x, lambda x, y: 1.1439253 + 0 * x),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_wrong_layer_is_named_and_its_sibling_passes(name):
    code, words, wrong, right = PAIRS[name]
    finding = wrong().findings[0]
    assert finding.code == code, str(finding)
    assert words in finding.message, finding.message
    right().raise_if_failed()


# --- no cause where there is none ---------------------------------------------------------------


def corrupted(gradient, kind, rng):
    noise = rng.standard_normal(gradient.shape)
    if kind == "one entry":
        gradient = gradient.copy()
        gradient.flat[rng.integers(gradient.size)] *= 1.01
        return gradient
    return gradient * (1 + noise * {"each entry a little": 1e-5, "each entry": 0.3}[kind])


@pytest.mark.parametrize("kind", ["one entry", "each entry a little", "each entry"])
def test_no_cause_is_invented(kind):
    """What is wrong at random is called unknown or nearly right, or named by its place alone."""
    for number, layer in enumerate(KINDS):
        for seed in range(4):
            forward, backward, inputs, options = layer(np.random.default_rng([seed, number]))

            def wrong(*arguments, backward=backward, seed=seed):
                result = backward(*arguments)
                parts = result if isinstance(result, tuple) else [result]
                parts = list(result.values()) if isinstance(result, dict) else list(parts)
                rng = np.random.default_rng(seed)
                return [corrupted(np.asarray(parts[0]), kind, rng), *parts[1:]]

            report = check(forward, wrong, inputs, seed=seed, **options)
            codes = {finding.code for finding in report.findings}
            allowed = {"unknown", "nearly-right", "slope", "first-example-only"}
            assert codes <= allowed, f"{layer.__name__}, seed {seed}\n{report}"


@pytest.mark.parametrize("seed", range(6))
def test_one_wrong_entry_is_not_called_every_entry(seed):
    def backward(dy, cache):
        dw = cache[0].T @ dy
        dw[0, 0] *= 1 + 1e-6
        return dy @ cache[1].T, dw, dy.sum(axis=0)

    report = check(
        lambda x, w, b: (x @ w + b, (x, w)),
        backward,
        draw((4, 5), (5, 3), (3,), seed=seed),
        names=["x", "w", "b"],
    )
    assert [finding.code for finding in report.findings] == ["nearly-right"]
    assert "1 of 15 entries differ" in report.findings[0].message


@pytest.mark.parametrize("shape", [(3, 3), (5, 5), (4, 5)])
def test_no_advice_about_padding_where_there_is_none(shape):
    for seed in range(40):
        report = check(
            lambda x: (np.where(x > 0, x, 0.01 * x), x),
            lambda dy, x: dy * (x > 0),
            draw(shape, seed=seed),
        )
        assert not report.passed
        assert "padding" not in str(report)


def test_overlapping_pools_are_looked_at_more_than_once():
    """With = for += they are right on many small inputs, by chance."""
    passed = 0
    for seed in range(50):
        x = spaced(np.random.default_rng(seed), (1, 1, 4, 4))
        report = check(
            lambda x: pool(x, 3, 1),
            lambda dy, cache: reports.pool_gradient(dy, cache, "overwrite"),
            [x],
        )
        passed += report.passed
        assert not {finding.code for finding in report.findings} & {"bias-sum", "unknown"}
        right = check(lambda x: pool(x, 3, 1), reports.pool_gradient, [x])
        assert right.passed, str(right)
    assert passed <= 2


# --- code as people have it: refused with the words that help, or taken with a note -------------


class Loss:
    """A loss whose backward takes no dy."""

    def forward(self, x):
        self.x = x
        return (x**2).mean()

    def backward(self):
        return 2 * self.x / self.x.size


class Carries:
    """y = tanh(h + x), and y is the next h."""

    h = 0.0

    def forward(self, x):
        self.h = np.tanh(self.h + x)
        return self.h

    def backward(self, dy):
        return dy * (1 - self.h**2)


class Draws:
    """Noise from a generator that the layer keeps."""

    def __init__(self, rng):
        self.rng = rng

    def forward(self, x):
        return x + self.rng.random(x.shape)

    def backward(self, dy):
        return dy


REFUSED = {
    "a loss without dy": (
        lambda: reports.kept(Loss(), *draw((4, 5))),
        "arguments",
        "lambda dy: dy * backward()",
    ),
    "two outputs": (
        lambda: check(lambda x: (x, x**2), lambda a, b: a + b, draw((3,)), cache="kept"),
        "outputs",
        "np.concatenate",
    ),
    "two outputs and a cache": (
        lambda: check(lambda x: (x, x**2, x), lambda a, b: a + b, draw((3,))),
        "cache",
        "stacked into one y",
    ),
    "arguments in another number": (
        lambda: check(np.tanh, lambda dy, x, y, z: dy, draw((3,)), cache="none"),
        "arguments",
        "cannot be called with (dy, *inputs)",
    ),
    "backward learns": (
        lambda: reports.kept(reports.LearnsOnTheWay(), *draw((4, 5))),
        "learns",
        "backward changes the parameters",
    ),
    "state in an object": (
        lambda: reports.kept(Carries(), *draw((4, 5))),
        "depends-on-history",
        "kept from call to call",
    ),
    "numbers from np.random": (
        lambda: reports.kept(Draws(np.random), *draw((4, 5))),
        "not-deterministic",
        "random numbers from np.random",
    ),
    "float32 on the way": (
        lambda: check(
            lambda x: np.tanh(x.astype(np.float32)).astype(float),
            lambda dy, x: dy,
            draw((4, 5)),
            cache="none",
        ),
        "dtype",
        ".astype(x.dtype)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_code_is_refused_with_the_words_that_help(name):
    make, code, words = REFUSED[name]
    (finding,) = make().findings
    assert (finding.code, words in finding.message) == (code, True), str(finding)


def test_where_no_slope_shows_the_report_says_so():
    (x,) = draw((3, 4))
    dead = check(lambda x: np.maximum(x, 0), lambda dy, x: 0 * dy, [-1 - x**2], cache="none")
    assert dead.passed
    assert "nothing could be told" in dead.notes[0]
    unused = check(
        lambda x, b: (2 * x + 0 * b.sum(), 0),
        lambda dy, _: (2 * dy, np.zeros(3)),
        [x, *draw((3,))],
        names=["x", "b"],
    )
    assert unused.passed
    assert unused.notes == ("y does not depend on b, and its gradient is zero",)


def test_an_error_inside_numpys_compiled_code_names_the_line_that_called_it():
    def forward(x):
        return x * np.random.default_rng(0).binomial(1, 2.0, x.shape)

    finding = check(forward, lambda dy, x: dy, draw((3,)), cache="none").findings[0]
    assert "binomial(1, 2.0, x.shape)" in finding.line


# --- right layers whose numbers nearly cancel ----------------------------------------------------


def cosine_gradient(dy, x):
    size, total = np.sqrt((x**2).sum(-1, keepdims=True)), x.sum(-1, keepdims=True)
    return -dy[:, None] * (1 / size - total * x / size**3) / np.sqrt(3)


#: Numbers near one cancel inside; right to rounding in the gradient.
CANCEL = {
    "log cosh": (lambda x: np.log(np.cosh(x)), lambda dy, x: dy * np.tanh(x)),
    "pseudo-Huber": (lambda x: np.sqrt(1 + x**2) - 1, lambda dy, x: dy * x / np.sqrt(1 + x**2)),
    "KL of a variance": (lambda x: (np.exp(x) - x - 1) / 2, lambda dy, x: dy * np.expm1(x) / 2),
    "x - tanh x": (lambda x: x - np.tanh(x), lambda dy, x: dy * np.tanh(x) ** 2),
    "1 - cos x": (lambda x: 1 - np.cos(x), lambda dy, x: dy * np.sin(x)),
    "sinh x - x": (lambda x: np.sinh(x) - x, lambda dy, x: dy * 2 * np.sinh(x / 2) ** 2),
    "log(1 + x^2)": (lambda x: np.log(1 + x**2), lambda dy, x: dy * 2 * x / (1 + x**2)),
    "softplus, centred": (
        lambda x: np.log(1 + np.exp(x)) - np.log(2) - x / 2,
        lambda dy, x: dy * np.tanh(x / 2) / 2,
    ),
    "KL, summed": (
        lambda x: (np.exp(x) + x**2 - 1 - x).sum(axis=1) / 2,
        lambda dy, x: dy[:, None] * (np.expm1(x) + 2 * x) / 2,
    ),
    "cosine distance": (
        lambda x: 1 - x.sum(axis=-1) / np.sqrt(3 * (x**2).sum(axis=-1)),
        cosine_gradient,
    ),
    "exp x - 1": (lambda x: np.exp(x) - 1, lambda dy, x: dy * np.exp(x)),
}


@pytest.mark.parametrize("name", CANCEL)
def test_small_inputs_raise_no_alarm(name):
    forward, backward = CANCEL[name]
    for scale in (0.1, 0.03, 0.01, 0.001, 1e-4):
        for seed in range(50):
            (x,) = draw((4, 3), seed=seed)
            report = check(forward, backward, [x * scale], cache="none", seed=seed)
            assert report.passed, f"scale {scale}, seed {seed}\n{report}"


@pytest.mark.parametrize("name", CANCEL)
def test_small_inputs_do_not_hide_a_mistake(name):
    forward, backward = CANCEL[name]
    for scale in (0.1, 0.03, 0.01, 0.001):
        (x,) = draw((4, 3))
        wrong = check(forward, lambda dy, x: 1.001 * backward(dy, x), [x * scale], cache="none")
        assert not wrong.passed
