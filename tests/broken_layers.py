"""Layers with one mistake each, of the kinds that people make, and what the check must call it.

Every entry of `BROKEN` is a function that gives a report. The layers are written here, in plain
loops or array expressions and in several layouts, as a student would write them.
"""

from __future__ import annotations

import numpy as np
from reference import spaced

from lenet_np.gradcheck import check


def draw(*shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


# --- dense, features first or last --------------------------------------------------------------


def dense(x, w, b):
    """(N, I) @ (I, O), the batch first."""
    return x @ w + b, (x, w)


def dense_last(x, w, b):
    """(O, I) @ (I, N), the batch last."""
    return w @ x + b[:, None], (x, w)


def dense_gradients(dy, cache):
    x, w = cache
    return [dy @ w.T, x.T @ dy, dy.sum(axis=0)]


def dense_report(backward, shapes=((4, 5), (5, 3), (3,)), forward=dense, **options):
    options = {"names": ["x", "weight", "bias"], "batch_axis": 0, **options}
    return check(forward, backward, draw(*shapes), **options)


def changed(index, change):
    """A backward pass of `dense` with one of the three gradients changed."""

    def backward(dy, cache):
        gradients = dense_gradients(dy, cache)
        gradients[index] = change(gradients[index], dy, *cache)
        return gradients

    return backward


def dense_last_report(backward, **options):
    return dense_report(
        backward,
        ((5, 4), (3, 5), (3,)),
        dense_last,
        batch_axis=-1,
        definition=lambda x, w, b: np.einsum("oi,in->on", w, x) + b[:, None],
        **options,
    )


def looped_weight(dy, cache, add):
    """dw of `dense`, example by example."""
    x, w = cache
    dw = np.zeros_like(w)
    for n in range(len(x)):
        dw = dw + np.outer(x[n], dy[n]) if add else np.outer(x[n], dy[n])
    return [dy @ w.T, dw, dy.sum(axis=0)]


class DenseThatRemembers:
    """The style with an object; `fault` says what it does wrong."""

    def __init__(self, fault):
        self.fault, self.x, self.w, self.dw = fault, None, None, 0

    def forward(self, x, w, b):
        if self.fault != "first" or self.x is None:
            self.x, self.w = x, w
        return x @ w + b

    def backward(self, dy):
        dx, dw, db = dense_gradients(dy, (self.x, self.w))
        if self.fault == "accumulate":
            self.dw = self.dw + dw
            return dx, self.dw, db
        return dx, dw, db


def remembering(fault):
    layer = DenseThatRemembers(fault)
    return dense_report(layer.backward, forward=layer.forward, cache="kept")


SHELF = {}


def dense_on_a_shelf(x, w, b):
    SHELF["x"] = x
    return x @ w + b, w


# --- elementwise --------------------------------------------------------------------------------


def relu_report(backward, forward=lambda x: (np.maximum(x, 0), x), **options):
    return check(forward, backward, [spaced(np.random.default_rng(1), (4, 5))], **options)


def relu_in_place(x):
    x[x < 0] = 0
    return x, x > 0


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def scale_report(backward):
    """y = gamma x + beta, one gamma for each feature."""
    return check(
        lambda x, gamma, beta: (gamma * x + beta, (x, gamma)),
        backward,
        draw((4, 3), (3,), (3,)),
        names=["x", "gamma", "beta"],
        batch_axis=0,
    )


# --- softmax and its loss -----------------------------------------------------------------------


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_report(backward):
    return check(lambda x: (softmax(x),) * 2, backward, draw((3, 5)), names=["logits"])


def loss_report(backward, mean=True, forward=None, **options):
    """The mean cross-entropy of the batch: one number."""
    labels = np.array([1, 0, 4])

    def cross_entropy(x, labels):
        losses = -np.log(softmax(x)[range(3), labels])
        return losses.mean() if mean else losses

    return check(
        forward or cross_entropy,
        backward,
        [*draw((3, 5)), labels],
        names=["logits", "labels"],
        cache="none",
        **options,
    )


def loss_gradient(dloss, x, labels):
    return dloss * (softmax(x) - np.eye(5)[labels]) / len(x)


# --- convolution, (C, H, W, N) ------------------------------------------------------------------


def conv(x, w, b, stride=1, padding=1):
    pad = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    kernel = w.shape[2]
    size = [(length - kernel) // stride + 1 for length in pad.shape[1:3]]
    y = np.zeros((len(w), *size, x.shape[-1]))
    for p, q in np.ndindex(*size):
        window = pad[:, p * stride : p * stride + kernel, q * stride : q * stride + kernel]
        y[:, p, q] = np.einsum("fcij,cijn->fn", w, window) + b[:, None]
    return y, (pad, w, stride, padding)


def conv_gradients(dy, cache, fault=None):
    pad, w, stride, padding = cache
    kernel = w.shape[2]
    dpad, dw = np.zeros_like(pad), np.zeros_like(w)
    used = w[:, :, ::-1, ::-1] if fault == "flip w" else w
    steps = list(np.ndindex(*dy.shape[1:3]))
    if fault == "short":
        steps = [(p, q) for p, q in steps if p < dy.shape[1] - 1 and q < dy.shape[2] - 1]
    for p, q in steps:
        row, column = (p, q) if fault == "stride" else (p * stride, q * stride)
        here = np.s_[:, row : row + kernel, column : column + kernel]
        window = pad[:, p * stride : p * stride + kernel, q * stride : q * stride + kernel]
        share = np.einsum("fn,fcij->cijn", dy[:, p, q], used)
        if fault == "overwrite":
            dpad[here] = share
        else:
            dpad[here] += share
        weight_share = np.einsum("fn,cijn->fcij", dy[:, p, q], window)
        dw = weight_share if fault == "overwrite w" else dw + weight_share
    end = [length - padding for length in pad.shape[1:3]]
    dx = dpad[:, padding : end[0], padding : end[1]]
    if fault == "padding":
        dx = dpad[:, : dx.shape[1], : dx.shape[2]]
    if fault == "flip dw":
        dw = dw[:, :, ::-1, ::-1]
    return [dx, dw, dy.sum(axis=(1, 2, 3))]


def conv_report(fault=None, change=lambda gradients, dy: gradients, forward=conv, **hyper):
    """Check a convolution with a fault in its backward pass."""
    x, w, b = draw((2, 5, 5, 3), (4, 2, 3, 3), (4,))
    return check(
        lambda x, w, b: forward(x, w, b, **hyper),
        lambda dy, cache: change(conv_gradients(dy, cache, fault), dy),
        [x, w, b],
        names=["x", "weight", "bias"],
        definition=lambda x, w, b: conv(x, w, b, **hyper)[0],
        batch_axis=-1,
    )


def with_bias(make):
    return lambda gradients, dy: [*gradients[:2], make(dy)]


def flipped_conv(x, w, b, **hyper):
    return conv(x, w[:, :, ::-1, ::-1], b, **hyper)


def conv_without_border(gradients, dy):
    gradients[0][:, 0] = gradients[0][:, -1] = gradients[0][:, :, 0] = gradients[0][:, :, -1] = 0
    return gradients


# --- max-pooling, (N, C, H, W) ------------------------------------------------------------------


def pool(x, window, stride):
    size = [(length - window) // stride + 1 for length in x.shape[2:]]
    y = np.zeros((*x.shape[:2], *size))
    for p, q in np.ndindex(*size):
        y[:, :, p, q] = seen(x, p, q, window, stride).max(axis=(2, 3))
    return y, (x, y, window, stride)


def seen(x, p, q, window, stride):
    return x[:, :, p * stride : p * stride + window, q * stride : q * stride + window]


def pool_gradient(dy, cache, fault=None):
    x, y, window, stride = cache
    dx = np.zeros_like(x)
    for n, c, p, q in np.ndindex(*dy.shape):
        part = seen(x, p, q, window, stride)[n, c]
        out = seen(dx, p, q, window, stride)[n, c]
        if fault == "all ties":
            out += dy[n, c, p, q] * (part == y[n, c, p, q])
        elif fault == "no ties":
            out += dy[n, c, p, q] * (part == part.max()) * ((part == part.max()).sum() == 1)
        elif fault == "overwrite by mask":
            out[...] = dy[n, c, p, q] * (part == y[n, c, p, q])
        elif fault == "overwrite":
            out[np.unravel_index(part.argmax(), part.shape)] = dy[n, c, p, q]
        elif fault == "mean":
            out += dy[n, c, p, q] / window**2
        else:
            out[np.unravel_index(part.argmax(), part.shape)] += dy[n, c, p, q]
    return dx


def pool_report(fault=None, window=3, stride=2, ties=False, change=lambda dx: dx):
    rng = np.random.default_rng(1)
    shape = (2, 2, 5, 7)
    x = rng.integers(0, 3, shape).astype(float) if ties else spaced(rng, shape)
    return check(
        lambda x: pool(x, window, stride),
        lambda dy, cache: change(pool_gradient(dy, cache, fault)),
        [x],
        names=["x"],
        batch_axis=0,
    )


# --- batch-norm, (N, D) -------------------------------------------------------------------------


def batch_norm(x):
    centred = x - x.mean(axis=0)
    sigma = np.sqrt(centred.var(axis=0) + 1e-5)
    return centred / sigma, (centred / sigma, sigma)


def batch_norm_report(backward):
    return check(batch_norm, backward, draw((5, 3)), names=["x"], batch_axis=0)


def no_gradient_of_last(gradients):
    return gradients[:2]


#: For each mistake, the code that it must be given, and the check of a layer that has it.
BROKEN = {
    # dense
    "dense: wrong sign of dx": ("wrong-sign", lambda: dense_report(changed(0, lambda g, *_: -g))),
    "dense: dw averaged over the batch": (
        "batch-mean",
        lambda: dense_report(changed(1, lambda g, dy, x, w: g / len(x))),
    ),
    "dense: dw of the other orientation": (
        "transposed",
        lambda: dense_report(changed(1, lambda g, *_: g.T)),
    ),
    "dense: square dw transposed": (
        "transposed",
        lambda: dense_report(changed(1, lambda g, *_: g.T), ((4, 5), (5, 5), (5,))),
    ),
    "dense: w for its transpose in dx": (
        "transposed",
        lambda: dense_report(changed(0, lambda g, dy, x, w: dy @ w), ((4, 5), (5, 5), (5,))),
    ),
    "dense: dw reshaped for transposed": (
        "axes-mixed",
        lambda: dense_report(changed(1, lambda g, *_: g.T.reshape(g.shape))),
    ),
    "dense: bias gradient is dy": (
        "bias-sum",
        lambda: dense_report(changed(2, lambda g, dy, *_: dy)),
    ),
    "dense: bias gradient of the first example": (
        "first-example-only",
        lambda: dense_report(changed(2, lambda g, dy, *_: dy[0])),
    ),
    "dense: bias gradient keeps an axis": (
        "shape",
        lambda: dense_last_report(
            lambda dy, c: [c[1].T @ dy, dy @ c[0].T, dy.sum(1, keepdims=True)]
        ),
    ),
    "dense: dw with = for += over examples": (
        "last-example-only",
        lambda: dense_report(lambda dy, cache: looped_weight(dy, cache, add=False)),
    ),
    "dense: dw ignores dy": (
        "upstream-ignored",
        lambda: dense_report(changed(1, lambda g, dy, x, w: x.T @ np.ones_like(dy))),
    ),
    "dense: gradients of x and w exchanged": (
        "other-input",
        lambda: dense_report(lambda dy, cache: [dense_gradients(dy, cache)[i] for i in (1, 0, 2)]),
    ),
    "dense: dx for the first example only": (
        "first-example-only",
        lambda: dense_report(changed(0, lambda g, *_: g * (np.arange(4) == 0)[:, None])),
    ),
    "dense: dw left zero": ("zero", lambda: dense_report(changed(1, lambda g, *_: 0 * g))),
    "dense: one gradient too few": (
        "number-of-gradients",
        lambda: dense_report(lambda dy, cache: dense_gradients(dy, cache)[:2]),
    ),
    "dense: dx is None": ("none", lambda: dense_report(changed(0, lambda *_: None))),
    "dense: gradient in float32": (
        "dtype",
        lambda: dense_report(changed(1, lambda g, *_: g.astype(np.float32))),
    ),
    "dense: gradient is a list": ("dtype", lambda: dense_report(changed(2, lambda g, *_: list(g)))),
    "dense: shapes that do not match": (
        "exception",
        lambda: dense_report(changed(1, lambda g, dy, x, w: x @ dy)),
    ),
    "dense: forgets to return": ("none", lambda: dense_report(lambda dy, cache: None)),
    "dense: nan in dw": ("nan", lambda: dense_report(changed(1, lambda g, *_: g * np.nan))),
    "dense: forward without its bias": (
        "forward-wrong",
        lambda: (
            dense_last_report(
                lambda dy, c: [c[1].T @ dy, dy @ c[0].T, dy.sum(1)],
                **{"names": ["x", "weight", "bias"]},
            )
            if False
            else check(
                lambda x, w, b: (w @ x, (x, w)),
                lambda dy, c: [c[1].T @ dy, dy @ c[0].T, dy.sum(1)],
                draw((5, 4), (3, 5), (3,)),
                definition=lambda x, w, b: w @ x + b[:, None],
            )
        ),
    ),
    "dense: keeps the cache of its first call": ("stale-cache", lambda: remembering("first")),
    "dense: adds to the gradients of before": (
        "depends-on-history",
        lambda: remembering("accumulate"),
    ),
    "dense: cache in a global": (
        "stale-cache",
        lambda: dense_report(
            lambda dy, w: dense_gradients(dy, (SHELF["x"], w)), forward=dense_on_a_shelf
        ),
    ),
    # elementwise
    "relu: no mask": ("missing-mask", lambda: relu_report(lambda dy, x: dy)),
    "relu: mask upside down": ("inverted-mask", lambda: relu_report(lambda dy, x: dy * (x < 0))),
    "relu: mask from dy": ("mask-of-upstream", lambda: relu_report(lambda dy, x: dy * (dy > 0))),
    "relu: dy left out": ("upstream-ignored", lambda: relu_report(lambda dy, x: 1.0 * (x > 0))),
    "relu: forward writes into x": (
        "in-place",
        lambda: relu_report(lambda dy, mask: dy * mask, relu_in_place),
    ),
    "relu: random noise in forward": (
        "not-deterministic",
        lambda: relu_report(
            lambda dy, x: dy * (x > 0),
            lambda x: (np.maximum(x + np.random.default_rng().random(x.shape), 0), x),
        ),
    ),
    "relu: result in whole numbers": (
        "dtype",
        lambda: relu_report(lambda dy, x: dy, lambda x: (np.maximum(x, 0).astype(int), x)),
    ),
    "sigmoid: 1 - y missing": (
        "missing-factor",
        lambda: relu_report(lambda dy, y: dy * y, lambda x: (sigmoid(x), sigmoid(x))),
    ),
    "tanh: square missing": (
        "missing-term",
        lambda: relu_report(lambda dy, y: dy * (1 - y), lambda x: (np.tanh(x), np.tanh(x))),
    ),
    "square: factor 2 missing": (
        "constant-factor",
        lambda: relu_report(lambda dy, x: dy * x, lambda x: (x**2, x)),
    ),
    "scale: gamma missing in dx": (
        "missing-factor",
        lambda: scale_report(lambda dy, c: [dy, (dy * c[0]).sum(axis=0), dy.sum(axis=0)]),
    ),
    "scale: x missing in dgamma": (
        "other-input",
        lambda: scale_report(lambda dy, c: [dy * c[1], dy.sum(axis=0), dy.sum(axis=0)]),
    ),
    # softmax and loss
    "softmax: diagonal alone": (
        "diagonal-only",
        lambda: softmax_report(lambda dy, y: dy * y * (1 - y)),
    ),
    "softmax: zeros": ("zero", lambda: softmax_report(lambda dy, y: 0 * dy)),
    "loss: label not subtracted": (
        "missing-term",
        lambda: loss_report_one_hot(lambda dloss, x, labels: dloss * softmax(x)),
    ),
    "loss: not divided by the batch": (
        "constant-factor",
        lambda: loss_report(lambda dloss, x, labels: 3 * loss_gradient(dloss, x, labels)),
    ),
    "loss: not divided, batch known": (
        "batch-sum",
        lambda: losses_of_a_mean(lambda dloss, x: 2 * dloss * x),
    ),
    "loss: dloss left out": (
        "upstream-ignored",
        lambda: loss_report(lambda dloss, x, labels: loss_gradient(1.0, x, labels)),
    ),
    # convolution
    "conv: dw flipped": ("flipped-kernel", lambda: conv_report("flip dw")),
    "conv: flipped kernel in dx": ("flipped-kernel", lambda: conv_report("flip w")),
    "conv: = for += in dx": ("overwrite-overlap", lambda: conv_report("overwrite")),
    "conv: = for += in dw": ("overwrite-overlap", lambda: conv_report("overwrite w")),
    "conv: padding not cut off": ("border", lambda: conv_report("padding")),
    "conv: border of dx left zero": ("border", lambda: conv_report(change=conv_without_border)),
    "conv: stride left out in dx": ("stride", lambda: conv_report("stride", stride=2)),
    "conv: loop ends one too early": ("left-out", lambda: conv_report("short")),
    "conv: bias gradient of one position": (
        "bias-sum",
        lambda: conv_report(change=with_bias(lambda dy: dy[:, 0, 0].sum(axis=-1))),
    ),
    "conv: bias gradient not summed over the image": (
        "bias-sum",
        lambda: conv_report(change=with_bias(lambda dy: dy.sum(axis=-1))),
    ),
    "conv: bias gradient averaged over all": (
        "constant-factor",
        lambda: conv_report(change=with_bias(lambda dy: dy.mean(axis=(1, 2, 3)))),
    ),
    "conv: dw averaged over the batch": (
        "batch-mean",
        lambda: conv_report(change=lambda g, dy: [g[0], g[1] / dy.shape[-1], g[2]]),
    ),
    "conv: filters and channels exchanged in dw": (
        "transposed",
        lambda: conv_report(change=lambda g, dy: [g[0], g[1].swapaxes(0, 1), g[2]]),
    ),
    "conv: forward is a convolution, not a correlation": (
        "forward-wrong",
        lambda: conv_report(forward=flipped_conv),
    ),
    # max-pooling
    "pool: ties to every maximum": ("ties", lambda: pool_report("all ties", 2, 2, ties=True)),
    "pool: ties to no maximum": ("ties", lambda: pool_report("no ties", 2, 2, ties=True)),
    "pool: = for += at the winner": ("overwrite-overlap", lambda: pool_report("overwrite", 3, 1)),
    "pool: = for += by a mask": (
        "overwrite-overlap",
        lambda: pool_report("overwrite by mask", 3, 1),
    ),
    "pool: every example gets the first's": (
        "first-example-only",
        lambda: pool_report(change=lambda dx: np.repeat(dx[:1], 2, axis=0)),
    ),
    "pool: height and width exchanged": (
        "transposed",
        lambda: pool_report(change=lambda dx: dx.swapaxes(2, 3)),
    ),
    "pool: gradient of an average": ("spread-evenly", lambda: pool_report("mean")),
    # batch-norm
    "batch-norm: mean and sigma held fixed": (
        "missing-way",
        lambda: batch_norm_report(lambda dy, c: dy / c[1]),
    ),
    "batch-norm: gradient by the sigma of all": (
        "unknown",
        lambda: batch_norm_report(lambda dy, c: dy / c[1].mean() + c[0]),
    ),
}


def loss_report_one_hot(backward):
    """The cross-entropy of each example, with one-hot labels."""
    return check(
        lambda x, labels: -(labels * np.log(softmax(x))).sum(axis=1),
        lambda dloss, x, labels: backward(dloss[:, None], x, labels),
        [*draw((3, 5)), np.eye(5)[[1, 0, 4]]],
        names=["logits", "labels"],
        constants=["labels"],
        cache="none",
    )


def losses_of_a_mean(backward):
    """A mean over the batch that is given back for every example."""
    return check(
        lambda x: (x**2 - 0 * x) / len(x),
        backward,
        draw((3, 4)),
        cache="none",
        batch_axis=0,
    )
