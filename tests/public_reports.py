"""Mistakes that people reported in public, made again on small layers of our own.

Every entry of `REPORTS` has the place of a report, the codes that name its mistake ("passed" for a
gradient that is right, although somebody doubted it), and a function that gives our report. None
of their code is here; what each of them got wrong is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from broken_layers import conv, conv_gradients, pool, pool_gradient, sigmoid, softmax
from reference import spaced

from lenet_np.gradcheck import check


def draw(*shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def elementwise(forward, derivative, x=None, **options):
    """Check a derivative, a function of (x, y)."""
    x = spaced(np.random.default_rng(1), (4, 5)) if x is None else x
    return check(
        lambda x: (forward(x), (x, forward(x))),
        lambda dy, cache: dy * derivative(*cache),
        [x],
        names=["x"],
        **options,
    )


def leaky(alpha):
    return lambda x: np.where(x > 0, x, alpha * x)


def elu(alpha):
    return lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


# --- dense layers and their activations ---------------------------------------------------------


def dense(dx=None, dw=None, db=None, batch_axis=0, shapes=((4, 5), (5, 3), (3,))):
    def backward(dy, cache):
        x, w = cache
        return (
            dy @ w.T if dx is None else dx(dy, x, w),
            x.T @ dy if dw is None else dw(dy, x, w),
            dy.sum(axis=0) if db is None else db(dy),
        )

    return check(
        lambda x, w, b: (x @ w + b, (x, w)),
        backward,
        draw(*shapes),
        names=["x", "w", "b"],
        batch_axis=batch_axis,
    )


def dense_sigmoid(dw):
    """y = sigmoid(x w); dw is a function of (dy, x, y)."""

    def forward(x, w):
        y = sigmoid(x @ w)
        return y, (x, w, y)

    def backward(dy, cache):
        x, w, y = cache
        return (dy * y * (1 - y)) @ w.T, dw(dy, x, y)

    return check(forward, backward, draw((4, 5), (5, 3)), names=["x", "w"])


class Accumulates:
    """A gradient that starts at zero only once."""

    def __init__(self):
        self.grad = 0.0

    def forward(self, x):
        self.x = x
        return x**2

    def backward(self, dy):
        self.grad = self.grad + 2 * dy * self.x
        return self.grad


class LearnsOnTheWay:
    """Backward makes the step of gradient descent, too."""

    def __init__(self):
        (self.w,) = draw((5, 3))

    def forward(self, x):
        self.x = x
        return x @ self.w

    def backward(self, dy):
        dx = dy @ self.w.T
        self.w = self.w - 0.05 * self.x.T @ dy
        return dx


def kept(layer, *inputs, **options):
    return check(layer.forward, layer.backward, list(inputs), cache="kept", **options)


# --- losses -------------------------------------------------------------------------------------

LABELS = np.array([1, 0, 4, 2, 2, 3])


def cross_entropy(gradient, **options):
    """The mean over a batch of 6; gradient is a function of (p - t)."""

    def forward(x):
        p = softmax(x)
        return -np.log(p[range(6), LABELS]).mean(), p - np.eye(5)[LABELS]

    return check(
        forward, lambda dloss, off: dloss * gradient(off), draw((6, 5)), names=["logits"], **options
    )


def squared(forward_factor, gradient, **options):
    """forward_factor sum (x - t)^2; gradient is a function of x - t."""
    x, target = draw((6, 5), (6, 5))
    return check(
        lambda x: (forward_factor * np.sum((x - target) ** 2), x - target),
        lambda dloss, off: dloss * gradient(off),
        [x],
        names=["x"],
        **options,
    )


def regularised(in_loss, in_gradient):
    """A squared error of a linear model with a term c |w|^2."""
    features, target = draw((7, 4), (7,))

    def forward(w):
        off = features @ w - target
        return np.mean(off**2) + in_loss * np.sum(w**2), (w, off)

    def backward(dloss, cache):
        w, off = cache
        return dloss * (2 * features.T @ off / 7 + in_gradient * w)

    return check(forward, backward, draw((4,), seed=3), names=["w"])


# --- normalisation ------------------------------------------------------------------------------


def normalised(axis, wrong, x=None, size=None):
    """Batch norm (axis 0) or layer norm (axis 1): wrong is a function of (q, h, s, gamma)."""
    x = draw((6, 5))[0] if x is None else x

    def forward(x, gamma, beta):
        off = x - x.mean(axis=axis, keepdims=True)
        s = np.sqrt((off**2).mean(axis=axis, keepdims=True) + 1e-5)
        return gamma * off / s + beta, (off / s, s, gamma)

    def backward(dy, cache):
        h, s, gamma = cache
        return wrong(dy * gamma, h, s, gamma), (dy * h).sum(axis=0), dy.sum(axis=0)

    gamma, beta = draw((x.shape[1],), (x.shape[1],), seed=5)
    return check(forward, backward, [x, gamma + 2, beta], names=["x", "gamma", "beta"])


def right_norm(axis, q, h, s):
    mean = q.mean(axis=axis, keepdims=True)
    return (q - mean - h * (q * h).mean(axis=axis, keepdims=True)) / s


# --- dropout ------------------------------------------------------------------------------------

MASK = (np.random.default_rng(5).random((4, 5)) > 0.4) * 1.0


def dropout(backward, scale=1 / 0.6, mask=MASK):
    return check(lambda x: (x * mask * scale, 0), lambda dy, _: backward(dy), draw((4, 5)))


# --- pictures -----------------------------------------------------------------------------------


def pooled(fault=None, window=3, stride=1, ties=False, change=None):
    shape = (2, 2, 5, 6)
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, shape).astype(float) if ties else spaced(rng, shape)
    return check(
        lambda x: pool(x, window, stride),
        lambda dy, cache: (change or pool_gradient)(dy, cache, fault),
        [x],
        names=["x"],
    )


def only_first_window(dy, cache, fault):
    """Return from inside the loop over the windows."""
    first = np.zeros_like(dy)
    first[:, :, 0, 0] = dy[:, :, 0, 0]
    return pool_gradient(first, cache)


def split_among_ties(dy, cache, fault):
    x, y, window, stride = cache
    dx = np.zeros_like(x)
    for n, c, p, q in np.ndindex(*dy.shape):
        here = np.s_[n, c, p * stride : p * stride + window, q * stride : q * stride + window]
        winners = x[here] == y[n, c, p, q]
        dx[here] += dy[n, c, p, q] * winners / winners.sum()
    return dx


def nearly_largest():
    """A maximum of each row, whose winners are chosen by np.isclose; some are close."""
    x = draw((4, 6))[0]
    x[0, 2], x[0, 4], x[3, 1], x[3, 5] = 3.0, 3.004, 2.5, 2.503

    def backward(dy, x):
        return dy[:, None] * np.isclose(x, x.max(axis=1, keepdims=True), atol=1e-2)

    return check(lambda x: x.max(axis=1), backward, [x], names=["x"], cache="none")


def averaged(last_length):
    """An average over windows of three; the last hangs over and has two entries."""

    def forward(x):
        return np.stack([x[:, 0:3].mean(axis=1), x[:, 2:5].mean(axis=1), x[:, 4:6].mean(axis=1)], 1)

    def backward(dy, x):
        dx = np.zeros_like(x)
        for i, (start, end, length) in enumerate([(0, 3, 3), (2, 5, 3), (4, 6, last_length)]):
            dx[:, start:end] += dy[:, i : i + 1] / length
        return dx

    return check(forward, backward, draw((3, 6)), names=["x"], cache="none", batch_axis=0)


def convolved(fault=None, change=lambda g, dy: g, **hyper):
    x, w, b = draw((2, 7, 7, 2), (3, 2, 3, 3), (3,))
    return check(
        lambda x, w, b: conv(x, w, b, **hyper),
        lambda dy, cache: change(conv_gradients(dy, cache, fault), dy),
        [x, w, b],
        names=["x", "w", "b"],
        batch_axis=-1,
    )


def windows(length, taps, stride, dilation, padding):
    """For each output and tap the pixel of the padded row that they meet."""
    count = (length + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
    return stride * np.arange(count)[:, None] + dilation * np.arange(taps)


def convolved_row(groups=1, stride=1, dilation=1, padding=0, **wrong):
    """(N, C, L) with (F, C / groups, K); wrong has other hyperparameters for dx or dw."""
    x, w = draw((2, 4, 11), (6, 4 // groups, 3))
    hyper = {"groups": groups, "stride": stride, "dilation": dilation}

    def pieces(groups, stride, dilation, count):
        here = windows(11, 3, stride, dilation, padding)
        if len(here) < count:
            here = stride * np.arange(count)[:, None] + dilation * np.arange(3)
        per_group = 4 // hyper["groups"]
        first = np.arange(6) // (6 // groups) * per_group if groups > 1 else np.zeros(6, int)
        return here[:count], first[:, None] + np.arange(per_group)

    def forward(x, w):
        padded = np.pad(x, ((0, 0), (0, 0), (padding, padding)))
        here, channels = pieces(**hyper, count=len(windows(11, 3, stride, dilation, padding)))
        y = np.einsum("nfcpk,fck->nfp", padded[:, channels][:, :, :, here], w)
        return y, (padded, w)

    def backward(dy, cache):
        padded, w = cache
        here, channels = pieces(**{**hyper, **wrong.get("dx", {})}, count=dy.shape[2])
        dx = np.zeros_like(padded)
        for f, c, p, k in np.ndindex(6, w.shape[1], dy.shape[2], 3):
            dx[:, channels[f, c], here[p, k]] += dy[:, f, p] * w[f, c, k]
        here, channels = pieces(**{**hyper, **wrong.get("dw", {})}, count=dy.shape[2])
        dw = np.einsum("nfp,nfcpk->fck", dy, padded[:, channels][:, :, :, here])
        return dx[:, :, padding : padding + 11], dw

    return check(forward, backward, [x, w], names=["x", "w"], batch_axis=0)


# --- recurrent layers ---------------------------------------------------------------------------


def recurrent(through_time=True):
    """h_t = tanh(x_t u + h_(t-1) v), all states given out: (T, N, H)."""

    def forward(x, u, v):
        h, states = np.zeros((x.shape[1], len(v))), []
        for step in x:
            h = np.tanh(step @ u + h @ v)
            states.append(h)
        return np.array(states), (x, u, v, np.array(states))

    def backward(dy, cache):
        x, u, v, states = cache
        dx, du, dv, dh = np.zeros_like(x), np.zeros_like(u), np.zeros_like(v), 0.0
        for t in reversed(range(len(x))):
            da = (dy[t] + dh) * (1 - states[t] ** 2)
            dx[t], du = da @ u.T, du + x[t].T @ da
            dv = dv + (states[t - 1].T @ da if t else 0)
            dh = da @ v.T if through_time else 0.0
        return dx, du, dv

    return check(forward, backward, draw((4, 2, 3), (3, 3), (3, 3)), names=["x", "u", "v"])


def gates(forget_bias=True, same_gradient=False, definition=False):
    """y = sigmoid(x w + bf) + 2 sigmoid(x w + bi)."""

    def right(x, bf, bi):
        return sigmoid(x + bf) + 2 * sigmoid(x + bi)

    def forward(x, bf, bi):
        return (right(x, bf, bi) if forget_bias else right(x, bi, bi)), (x, bf, bi)

    def backward(dy, cache):
        x, bf, bi = cache
        f, i = sigmoid(x + bf), sigmoid(x + bi)
        df, di = dy * f * (1 - f), 2 * dy * i * (1 - i)
        return df + di, df.sum(axis=0), (df if same_gradient else di).sum(axis=0)

    return check(
        forward,
        backward,
        draw((4, 3), (3,), (3,)),
        names=["x", "bf", "bi"],
        definition=right if definition else None,
    )


#: place of the report -> codes that name the mistake, the check
REPORTS: dict[str, tuple[set[str], Any]] = {
    # activations
    "PacktPublishing/Neural-Network-Projects-with-Python#4: x (1 - x) at x": (
        {"wrong-formula"},
        lambda: elementwise(sigmoid, lambda x, y: x * (1 - x)),
    ),
    "farzaa/SimpleMultilayerPerceptron#2: the sigmoid's derivative": (
        {"missing-factor"},
        lambda: elementwise(sigmoid, lambda x, y: y),
    ),
    "benoitfragit/libBrain#78: the derivative taken at the activation": (
        {"at-output"},
        lambda: elementwise(sigmoid, lambda x, y: sigmoid(y) * (1 - sigmoid(y))),
    ),
    "dwhitena/gophernet#6: the slope at the output": (
        {"at-output"},
        lambda: elementwise(np.tanh, lambda x, y: 1 - np.tanh(y) ** 2),
    ),
    "gy910210/neural-network-from-scratch#2: 1 + tanh squared": (
        {"wrong-formula"},
        lambda: elementwise(np.tanh, lambda x, y: 1 + y**2),
    ),
    "microsoft/knossos-ksc#505: tanh": (
        {"missing-term", "missing-factor"},
        lambda: elementwise(np.tanh, lambda x, y: 1 - y),
    ),
    "HIPS/autograd#317: exp(-x) for exp(-2x) in the definition": (
        {"constant-factor"},
        lambda: elementwise(lambda x: np.tanh(x / 2), lambda x, y: 1 - y**2),
    ),
    "chainer/chainer#5898: leaky ReLU of slope 0 lets all through": (
        {"missing-mask"},
        lambda: elementwise(leaky(0.0), lambda x, y: np.ones_like(x)),
    ),
    "deeplearning4j/deeplearning4j#8178: leaky ReLU without its slope": (
        {"slope"},
        lambda: elementwise(leaky(0.2), lambda x, y: (x > 0) * 1.0),
    ),
    "pytorch/pytorch#31938: the sign of y where the slope is negative": (
        {"slope"},
        lambda: elementwise(leaky(-2.0), lambda x, y: np.where(y > 0, 1.0, -2.0)),
    ),
    "MachineLearningLifeScience/stochman#13: leaky ReLU below zero": (
        {"slope"},
        lambda: elementwise(leaky(0.01), lambda x, y: np.where(x > 0, 1.0, -0.01)),
    ),
    "uptake/numpynet#35: the slope at zero is a choice": (
        {"passed"},
        lambda: elementwise(
            leaky(0.1), lambda x, y: np.where(x >= 0, 1.0, 0.1), np.array([0.0, 1.0, -2.0])
        ),
    ),
    "eriklindernoren/ML-From-Scratch#73: ELU": (
        {"slope"},
        lambda: elementwise(elu(0.1), lambda x, y: np.where(x > 0, 1.0, y + 1)),
    ),
    "ai-on-browser/ai-on-browser.github.io#773: ELU": (
        {"slope"},
        lambda: elementwise(elu(0.5), lambda x, y: np.where(x > 0, 1.0, np.exp(x))),
    ),
    "hughperkins/DeepCL#46: ELU by its output is right": (
        {"passed"},
        lambda: elementwise(elu(1.0), lambda x, y: np.where(x > 0, 1.0, y + 1)),
    ),
    "RubixML/ML#427: SELU below zero": (
        {"slope"},
        lambda: elementwise(
            lambda x: 1.0507 * elu(1.6733)(x),
            lambda x, y: np.where(x > 0, 1.0507, 1.0507 * (y + 1.6733)),
        ),
    ),
    "apache/singa#480: exp(x) - alpha in forward": (
        {"forward-wrong"},
        lambda: elementwise(
            lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 0.5),
            lambda x, y: np.where(x > 0, 1.0, 0.5 * np.exp(np.minimum(x, 0))),
            definition=elu(0.5),
        ),
    ),
    "NVlabs/tiny-cuda-nn#130: softplus by its output": (
        {"at-output"},
        lambda: elementwise(lambda x: np.log1p(np.exp(x)), lambda x, y: sigmoid(y)),
    ),
    "karpathy/nn-zero-to-hero#52: x for exp(x)": (
        {"wrong-formula"},
        lambda: elementwise(np.exp, lambda x, y: x),
    ),
    "tinygrad/tinygrad#9217: a power": (
        {"missing-factor"},
        lambda: elementwise(lambda x: x**3, lambda x, y: 3 * x**3),
    ),
    # dense
    "Bot-Academy/NeuralNetworkFromScratch#3: the outer sigmoid left out": (
        {"missing-factor"},
        lambda: dense_sigmoid(lambda dy, x, y: x.T @ dy),
    ),
    "udacity/deep-learning#288: the sigmoid's slope twice": (
        {"missing-factor"},
        lambda: dense_sigmoid(lambda dy, x, y: x.T @ (dy * (y * (1 - y)) ** 2)),
    ),
    "bighuang624/Andrew-Ng-Deep-Learning-notes#10: twice dw": (
        {"constant-factor"},
        lambda: dense(dw=lambda dy, x, w: 2 * x.T @ dy),
    ),
    "bighuang624/Andrew-Ng-Deep-Learning-notes#10: four times db": (
        {"batch-sum", "constant-factor"},
        lambda: dense(db=lambda dy: 4 * dy.sum(axis=0)),
    ),
    "kvfrans/notes#5: db by a mean": ({"batch-mean"}, lambda: dense(db=lambda dy: dy.mean(axis=0))),
    "tensorflow/tfjs-core#398: a broadcast is averaged": (
        {"constant-factor"},
        lambda: dense(db=lambda dy: dy.mean(axis=0), batch_axis=None),
    ),
    "jimfleming/differentiation#1: db is not summed": (
        {"bias-sum"},
        lambda: dense(db=lambda dy: dy),
    ),
    "deeplearning4j/nd4j#2424: a broadcast is not reduced": (
        {"bias-sum"},
        lambda: dense(db=lambda dy: dy, batch_axis=None),
    ),
    "harvard-edge/cs249r_book#1781: the transpose of a vector": (
        {"exception", "shape"},
        lambda: check(
            lambda a, b: (a @ b, (a, b)),
            lambda dy, c: (np.matmul(dy, c[1].T), c[0].T @ dy),
            draw((4, 3), (3,)),
        ),
    ),
    "Shubham-cyber-prog/100-Days-Of-Web-Development-ECWoC26#1378: y for dy": (
        {"upstream-ignored"},
        lambda: dense(dw=lambda dy, x, w: x.T @ (x @ w)),
    ),
    "tile-ai/TileOPs#54: not transposed": (
        {"transposed"},
        lambda: dense(dx=lambda dy, x, w: dy @ w, shapes=((4, 5), (5, 5), (5,))),
    ),
    "HomericIntelligence/Odyssey#2724: a matrix product's gradient": (
        {"transposed"},
        lambda: dense(dw=lambda dy, x, w: dy.T @ x, shapes=((5, 5), (5, 5), (5,))),
    ),
    "karpathy/micrograd#102: gradients that are never zeroed": (
        {"depends-on-history"},
        lambda: kept(Accumulates(), draw((3, 4))[0]),
    ),
    "vzhou842/neural-network-from-scratch#2: backward also learns": (
        {"learns"},
        lambda: kept(LearnsOnTheWay(), draw((4, 5))[0]),
    ),
    # losses
    "davisking/dlib#1169: the two of a square": (
        {"constant-factor"},
        lambda: squared(1.0, lambda off: off),
    ),
    "Kaixhin/Autoencoders#5: the sign": (
        {"wrong-sign"},
        lambda: squared(1.0, lambda off: -2 * off),
    ),
    "NeuromatchAcademy/course-content-dl#176: the sign": (
        {"wrong-sign"},
        lambda: squared(0.5, lambda off: -off),
    ),
    "jxgu1016/MNIST_center_loss_pytorch#9: not divided by the batch": (
        {"batch-sum"},
        lambda: squared(0.5 / 6, lambda off: off, batch_axis=0),
    ),
    "apache/mxnet#2215: softmax not divided by the batch": (
        {"constant-factor"},
        lambda: cross_entropy(lambda off: off),
    ),
    "tensorflow/swift-apis#42: a mean forgotten in the derivative": (
        {"batch-sum"},
        lambda: cross_entropy(lambda off: off, batch_axis=0),
    ),
    "victorlempitsky/Mate#2: divided by all entries": (
        {"constant-factor"},
        lambda: cross_entropy(lambda off: off / off.size),
    ),
    "markroxor/fromscratchtoml#65: off by two": (
        {"constant-factor"},
        lambda: cross_entropy(lambda off: 2 * off / 6),
    ),
    "HomericIntelligence/Odyssey#2134: softmax without its sum": (
        {"missing-way"},
        lambda: check(lambda x: (softmax(x),) * 2, lambda dy, y: dy * y, draw((3, 5))),
    ),
    "jingtinghuang/CS231n-Spring-2017#3: reg w for 2 reg w": (
        {"missing-way"},
        lambda: regularised(0.3, 0.3),
    ),
    "bruceoutdoors/CS231n#9: reg w for 2 reg w": ({"missing-way"}, lambda: regularised(0.1, 0.1)),
    "0809zheng/CS231n-assignment2019#91: the term is not in the loss": (
        {"missing-way"},
        lambda: regularised(0.0, 0.2),
    ),
    "chainer/chainer#261: decay with the wrong sign": (
        {"missing-way"},
        lambda: regularised(0.2, -0.4),
    ),
    "pystruct/pystruct#1: half of the term": ({"missing-way"}, lambda: regularised(0.5, 0.5)),
    # normalisation
    "apache/mxnet#1053: a term too many through the mean": (
        {"missing-way"},
        lambda: normalised(
            0, lambda q, h, s, g: right_norm(0, q, h, s) - q.mean(axis=0, keepdims=True) / s / 6
        ),
    ),
    "denizyuret/Knet.jl#288: gamma left out of dx": (
        {"missing-factor"},
        lambda: normalised(0, lambda q, h, s, g: right_norm(0, q / g, h, s)),
    ),
    "pjreddie/darknet#1723: the term that is zero anyway": (
        {"passed"},
        lambda: normalised(0, lambda q, h, s, g: right_norm(0, q, h, s) + 0 * h.mean(axis=0)),
    ),
    "BVLC/caffe#3878: three ways instead of four are right": (
        {"passed"},
        lambda: normalised(
            0, lambda q, h, s, g: right_norm(0, q, h, s) + q.mean(0) * h.mean(0) / s
        ),
    ),
    "mlpack/mlpack#1327: the way through the variance": (
        {"missing-way"},
        lambda: normalised(0, lambda q, h, s, g: (q - q.mean(axis=0)) / s),
    ),
    "HomericIntelligence/Odyssey#2724: the way through the mean": (
        {"missing-way"},
        lambda: normalised(1, lambda q, h, s, g: (q - h * (q * h).mean(1, keepdims=True)) / s),
    ),
    "pyg-team/pytorch_geometric#2917: epsilon outside the root": (
        {"nearly-right"},
        lambda: normalised(1, lambda q, h, s, g: right_norm(1, q, h, np.sqrt(s**2 - 1e-5) + 1e-5)),
    ),
    "flagos-ai/FlagGems#5392: layer norm over all the rows at once": (
        {"missing-way"},
        lambda: normalised(1, lambda q, h, s, g: right_norm((0, 1), q, h, s)),
    ),
    # dropout
    "ddbourgin/numpy-ml#94: the mask is not applied": (
        {"missing-mask"},
        lambda: dropout(lambda dy: dy / 0.6),
    ),
    "kaldi-asr/kaldi#3890: dropped entries get all": (
        {"missing-mask"},
        lambda: dropout(lambda dy: np.where(MASK, dy / 0.6, dy)),
    ),
    "Benny-Nottonson/voodoo#19: another mask in backward": (
        {"wrong-mask"},
        lambda: dropout(lambda dy: dy * MASK[::-1, ::-1] / 0.6),
    ),
    "HomericIntelligence/Odyssey#2197: without 1 / p": (
        {"constant-factor"},
        lambda: dropout(lambda dy: dy * MASK),
    ),
    "deeplearning4j/deeplearning4j#7641: a mask after evaluation": (
        {"wrong-mask"},
        lambda: dropout(lambda dy: dy * MASK / 0.6, 1.0, np.ones((4, 5))),
    ),
    # pooling
    "0809zheng/CS231n-assignment2019#19: = for += where windows overlap": (
        {"overwrite-overlap"},
        lambda: pooled("overwrite"),
    ),
    "FluxML/Flux.jl#1197: one share for each pixel": (
        {"overwrite-overlap"},
        lambda: pooled("overwrite", 3, 2),
    ),
    "devitocodes/joey#5: a stride below two": (
        {"overwrite-overlap"},
        lambda: pooled("overwrite by mask", 2, 1),
    ),
    "riccardoandreoni0/CNN-from-scratch#1: return inside the loop": (
        {"one-position-only"},
        lambda: pooled(None, 2, 2, change=only_first_window),
    ),
    "apache/mxnet#18563: all that tie get the gradient": (
        {"ties"},
        lambda: pooled("all ties", 2, 2, ties=True),
    ),
    "tensorflow/tensorflow#51682: shared among those that tie": (
        {"passed"},
        lambda: pooled(None, 2, 2, ties=True, change=split_among_ties),
    ),
    "Theano/Theano#5404: one of those that tie": (
        {"passed"},
        lambda: pooled(None, 2, 2, ties=True),
    ),
    "mni-ml/framework#22: winners by nearness": ({"extra-way"}, nearly_largest),
    "mashmawy/AlbiruniML#2: nothing goes through": (
        {"zero"},
        lambda: pooled(None, 2, 2, change=lambda dy, cache, _: 0 * cache[0]),
    ),
    "pytorch/pytorch#198119: the last window divided by too much": (
        {"missing-factor"},
        lambda: averaged(3),
    ),
    "flagos-ai/FlagGems#5220: the mean's gradient for a maximum": (
        {"spread-evenly"},
        lambda: pooled("mean", 2, 2),
    ),
    # convolution
    "hguomin/deep-learning-from-scratch#2: = for += in col2im": (
        {"overwrite-overlap"},
        lambda: convolved("overwrite"),
    ),
    "Kulbear/deep-learning-coursera#34: the stride left out": (
        {"stride"},
        lambda: convolved("stride", stride=2),
    ),
    "Kulbear/deep-learning-coursera#34: the stride left out of dw": (
        {"stride"},
        lambda: convolved_row(stride=2, dw={"stride": 1}),
    ),
    "sebgao/cTensor#3: dw divided by all positions": (
        {"constant-factor"},
        lambda: convolved(change=lambda g, dy: [g[0], g[1] / dy[0].size, g[2]]),
    ),
    "LBANN/lbann#1022: only one sample in dw": (
        {"last-example-only", "overwrite-overlap"},
        lambda: dense(dw=lambda dy, x, w: x[-1:].T @ dy[-1:]),
    ),
    "pytorch/pytorch#51430: groups in dw": (
        {"groups"},
        lambda: convolved_row(groups=2, dw={"groups": 1}),
    ),
    "pytorch/pytorch#15501: stride, dilation and padding, right": (
        {"passed"},
        lambda: convolved_row(stride=2, dilation=2, padding=1),
    ),
    "Theano/Theano#4729: dilation in dx": (
        {"dilation"},
        lambda: convolved_row(dilation=2, dx={"dilation": 1}),
    ),
    "pytorch/pytorch#16012: padding without dilation": (
        {"dilation"},
        lambda: convolved_row(dilation=2, padding=2, dw={"dilation": 1}),
    ),
    "NervanaSystems/neon#111: filters for channels": (
        {"transposed"},
        lambda: convolved(change=lambda g, dy: [g[0], g[1].swapaxes(0, 1).copy(), g[2]]),
    ),
    "mlpack/mlpack#2986: shapes that do not match": (
        {"exception", "shape"},
        lambda: convolved(change=lambda g, dy: [g[0][:, :-1] + g[0], g[1], g[2]]),
    ),
    "PKUFlyingPig/CMU10-714#6: dx of another size": (
        {"shape"},
        lambda: convolved(
            change=lambda g, dy: [np.pad(g[0], ((0, 0), (0, 1), (0, 1), (0, 0))), *g[1:]]
        ),
    ),
    # recurrent
    "qixianbiao/RNN#2: nothing goes back through time": (
        {"diagonal-only"},
        lambda: recurrent(through_time=False),
    ),
    "gy910210/rnn-from-scratch#7: all through time is right": ({"passed"}, recurrent),
    "ddbourgin/numpy-ml#42: one bias for two gates": (
        {"ignored-input", "constant-factor"},
        lambda: gates(forget_bias=False),
    ),
    "ddbourgin/numpy-ml#42: one bias for two gates, defined": (
        {"forward-wrong"},
        lambda: gates(forget_bias=False, definition=True),
    ),
    "hanbt/learn_dl#53: the forget gate's gradient for the input gate": (
        {"other-input"},
        lambda: gates(same_gradient=True),
    ),
    "javaidnabi31/RNN-from-scratch#2: dc added to dc, not dy": (
        {"zero"},
        lambda: dense(db=lambda dy: 0 * dy[0]),
    ),
}
