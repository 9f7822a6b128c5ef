"""Evolution Strategies in the weights: the paper's own algorithm, without one backward pass.

Noise on every weight and bias makes n networks of one. Each reads an image, a loss looks at its
answer, and the gradient of the blurred loss is an average over the noise, as at the logits
(Salimans et al. 2017, arXiv 1703.03864, section 2):

    J(theta) = E[F(theta + sigma E)],   dJ/dtheta = E[F(theta + sigma E) E] / sigma

F is a table (n, N) of samples and images, and it is weighed by the same functions of F as noise
at the logits (`lenet_np.estimators`). What differs is the noise, of which there are two kinds:

- full: E ~ N(0, I) for every number of the network. A sample is one network, which reads all
  images of the minibatch; samples are mirrored pairs, E and -E.
- of rank r: for a weight (O, I), E = sum_r a_r b_rᵀ / sqrt(r) with a_r ~ N(0, I_O) and
  b_r ~ N(0, I_I), which has mean 0 and covariance I (EGGROLL, arXiv 2511.16652). Then

      (W + sigma E) x = W x + sigma sum_r a_r (b_r·x) / sqrt(r):

  the product with W is shared by all samples, so EVERY image can have n networks of its own.

E of rank r is not Gaussian; its first two moments are those of a Gaussian, and its odd ones are
zero. So the estimate is unbiased for linear and quadratic losses, and the blur differs from the
Gaussian one in higher terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from lenet_np import ops
from lenet_np.es import Weighing, check_losses, noise_scale, sample_noise
from lenet_np.estimators import WeightEstimator, centred_ranks
from lenet_np.layers import Conv2d, Dense, Sequential
from lenet_np.losses import Loss
from lenet_np.ops import Array, Parameters
from lenet_np.routes import LossAndGradients
from lenet_np.seeds import generator

# --- noise of rank r, of each image's own ---------------------------------------------------------


class LayerNoise(NamedTuple):
    """Noise for one layer's weight and bias, in M = n N readings, the samples before the images."""

    a: Array  # (r, O, M)
    b: Array  # (r, I, M); for a kernel I = KH C KW, in the order of im2col's columns
    bias: Array  # (O, M)


def draw_rank_noise(
    rng: np.random.Generator,
    parameters: Parameters,
    rank: int,
    samples: int,
    batch: int,
    mirrored: bool,
) -> dict[str, LayerNoise]:
    """Draw noise of rank r for every layer, independent for every image and sample.

    Mirrored, the second half of the samples has the first half's noise with the opposite sign.
    """
    shapes = {
        name.removesuffix(".weight"): (len(weight), weight[0].size)
        for name, weight in parameters.items()
        if name.endswith(".weight")
    }
    (dtype,) = {value.dtype for value in parameters.values()}
    drawn = samples // 2 if mirrored else samples
    rows = sum(rank * (o + i) + o for o, i in shapes.values())
    left = sample_noise(rng, rows, drawn, batch, dtype)

    def take(shape: tuple[int, ...], sign: int) -> Array:
        nonlocal left
        size = int(np.prod(shape))
        values, left = left[:size], left[size:]
        if mirrored:
            values = np.concatenate([values, sign * values], axis=1)
        return values.reshape(*shape, samples * batch)

    # The sign of a bᵀ is changed with that of a alone.
    return {
        name: LayerNoise(take((rank, o), -1), take((rank, i), +1), take((o,), -1))
        for name, (o, i) in shapes.items()
    }


def forward_perturbed(
    network: Sequential,
    parameters: Parameters,
    noise: dict[str, LayerNoise],
    x: Array,
    sigma: float,
) -> Array:
    """Let every image be read by its n perturbed networks: x (*input_shape, N), logits (K, n, N).

    Equal, up to rounding, to plain forward passes with the weights W + sigma E.
    """
    batch, scale = x.shape[-1], noise_scale(sigma, x)
    for name, layer in network.layers:
        if isinstance(layer, Conv2d | Dense):
            weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
            scaled = LayerNoise(
                noise[name].a * (scale / np.sqrt(x.dtype.type(len(noise[name].a)))),
                noise[name].b,
                noise[name].bias * scale + bias[:, np.newaxis],
            )
            if isinstance(layer, Conv2d):
                x = _conv2d(layer, x, weight, scaled)
            else:
                x = _dense(x, weight, scaled)
        else:
            x = layer.forward({}, x)[0]
    return x.reshape(len(x), -1, batch)


def _dense(x: Array, weight: Array, noise: LayerNoise) -> Array:
    """Compute y = (W + sum_r a_r b_rᵀ) x + bias, in as many readings as there is noise for."""
    rank, inputs, readings = noise.b.shape
    shared = weight @ x  # of all samples, where they still share x
    b = noise.b.reshape(rank, inputs, -1, x.shape[-1])
    projected = np.einsum("risn,in->rsn", b, x).reshape(rank, 1, readings)
    y: Array = (noise.a * projected).sum(axis=0) + noise.bias
    y.reshape(len(y), -1, x.shape[-1])[...] += shared[:, np.newaxis]
    return y


def _conv2d(layer: Conv2d, x: Array, weight: Array, noise: LayerNoise) -> Array:
    """Compute the convolution with W + sum_r a_r b_rᵀ: b_r·x is one more row of each product."""
    filters, _, *kernel = weight.shape
    rank, inputs, readings = noise.b.shape
    windows = ops.im2col(x, (kernel[0], kernel[1]), layer.stride, layer.padding)
    _, height, *_, width, batch = windows.shape
    columns = windows.swapaxes(0, 1).reshape(height, inputs, width * batch)
    shared = ops.kernel_matrix(weight) @ columns  # (OH, F, OW*batch)
    of_image = columns.reshape(height, inputs, width, batch)
    if batch == readings:
        projected = np.einsum("piqm,rim->rpqm", of_image, noise.b)
    else:  # The samples share the columns of an image: one product for each image.
        samples = readings // batch
        per_image = np.ascontiguousarray(of_image.transpose(3, 1, 0, 2)).reshape(batch, inputs, -1)
        b = noise.b.reshape(rank, inputs, samples, batch).transpose(3, 0, 2, 1)
        product = b.reshape(batch, rank * samples, inputs) @ per_image
        projected = product.reshape(batch, rank, samples, height, width).transpose(1, 3, 4, 2, 0)
        projected = projected.reshape(rank, height, width, readings)
    y: Array = noise.a[0][:, np.newaxis, np.newaxis] * projected[0]
    for a, t in zip(noise.a[1:], projected[1:], strict=True):
        y += a[:, np.newaxis, np.newaxis] * t
    y += noise.bias[:, np.newaxis, np.newaxis]
    all_samples = shared.reshape(height, filters, width, 1, batch).swapaxes(0, 1)
    y.reshape(filters, height, width, -1, batch)[...] += all_samples
    return y


def apply_rank_noise(
    weights: Array, noise: dict[str, LayerNoise], parameters: Parameters
) -> Parameters:
    """Sum the noise of all readings, weighed: sum_m w_m E_m for each weight and bias; w (n, N)."""
    w = weights.reshape(-1)
    sums: Parameters = {}
    for name, (a, b, bias) in noise.items():
        like = parameters[f"{name}.weight"]
        total = sum(
            ((a_r * w) @ b_r.T for a_r, b_r in zip(a, b, strict=True)), np.zeros((), like.dtype)
        ) / np.sqrt(like.dtype.type(len(a)))
        if like.ndim == 4:  # im2col's columns are (KH, C, KW)
            filters, channels, height, width = like.shape
            total = total.reshape(filters, height, channels, width).swapaxes(1, 2)
        sums[f"{name}.weight"] = np.ascontiguousarray(total).reshape(like.shape)
        sums[f"{name}.bias"] = bias @ w
    return sums


def estimate_by_rank_noise(
    network: Sequential,
    parameters: Parameters,
    images: Array,
    labels: Array,
    noise: dict[str, LayerNoise],
    sigma: float,
    loss: Loss,
    weigh: Weighing,
) -> LossAndGradients:
    """Estimate the gradient of the blurred loss, summed over the images: evaluate, weigh, apply.

    g = sum_i sum_s w_si E_si / sigma
    """
    logits = forward_perturbed(network, parameters, noise, images, sigma)
    values = evaluate_answers(loss, logits, labels)
    weights, divisor = weigh(values)
    sums = apply_rank_noise(weights, noise, parameters)
    return LossAndGradients(values.mean(axis=0), _over_sigma(sums, divisor, sigma))


def evaluate_answers(loss: Loss, logits: Array, labels: Array) -> Array:
    """Evaluate the loss of every perturbed network's answer: F (n, N); NaN where a logit is."""
    values = check_losses(loss(logits, labels[:, np.newaxis]), logits.shape[1:], logits, "n, N")
    finite = np.isfinite(logits).all(axis=0)
    return values if finite.all() else np.where(finite, values, values.dtype.type(np.nan))


def _over_sigma(sums: Parameters, divisor: float, sigma: float) -> Parameters:
    return {name: value / (divisor * value.dtype.type(sigma)) for name, value in sums.items()}


# --- full noise, of whole networks ----------------------------------------------------------------

#: Networks that one task perturbs, one after the other. A fixed number, so that sums have the same
#: order, and the same bits, whoever does the work.
NETWORKS = 4


class Minibatch(NamedTuple):
    """What every task of a step is given: all but the networks that are its share."""

    network: Sequential
    parameters: Parameters
    gather: Callable[[], tuple[Array, Array]]  # images and labels: bytes until they are asked for
    sigma: float
    loss: Loss
    key: tuple[int, int]  # (seed, step): with a network's number they make its noise


def draw_full_noise(minibatch: Minibatch, number: int) -> Parameters:
    """Draw E ~ N(0, I), a number for every number of the network."""
    seed, step = minibatch.key
    rng = generator(seed, "weight noise", step, number)
    size = sum(value.size for value in minibatch.parameters.values())
    (dtype,) = {value.dtype for value in minibatch.parameters.values()}
    left = sample_noise(rng, size, 1, 1, dtype).ravel()
    noise: Parameters = {}
    for name, value in minibatch.parameters.items():
        noise[name], left = left[: value.size].reshape(value.shape), left[value.size :]
    return noise


def evaluate_networks(minibatch: Minibatch, numbers: Sequence[int], mirrored: bool) -> Array:
    """Let perturbed networks read all images: F (signs, networks, N)."""
    images, labels = minibatch.gather()
    values = []
    for number in numbers:
        noise = draw_full_noise(minibatch, number)
        for sign in (1, -1) if mirrored else (1,):
            perturbed: Parameters = {
                name: value + value.dtype.type(sign * minibatch.sigma) * noise[name]
                for name, value in minibatch.parameters.items()
            }
            logits, _ = minibatch.network.forward(perturbed, images, need_caches=False)
            values.append(evaluate_answers(minibatch.loss, logits[:, np.newaxis], labels)[0])
    signs = 2 if mirrored else 1
    return np.stack(values).reshape(len(numbers), signs, -1).swapaxes(0, 1)


def apply_full_noise(minibatch: Minibatch, numbers: Sequence[int], weights: Array) -> Parameters:
    """Sum the noise of some networks, drawn again from their numbers: sum_k w_k E_k."""
    sums = {name: np.zeros_like(value) for name, value in minibatch.parameters.items()}
    for number, weight in zip(numbers, weights, strict=True):
        for name, noise in draw_full_noise(minibatch, number).items():
            sums[name] += weight * noise
    return sums


def estimate_by_full_noise(
    submit: Callable[..., Future[Any]],
    minibatch: Minibatch,
    samples: int,
    estimator: WeightEstimator,
    objective: str,
) -> LossAndGradients:
    """Estimate the gradient of the blurred loss, summed over the images, in two phases.

    All networks read the minibatch; their losses are weighed; and each gives its noise, drawn
    again, as often as its weight says. Only seeds and losses would have to travel. With ranks a
    network's loss is its mean over the minibatch, as in the paper.
    """
    mirrored = estimator.mirrored
    count = samples // 2 if mirrored else samples
    shares = [range(k, min(k + NETWORKS, count)) for k in range(0, count, NETWORKS)]
    reading = [submit(evaluate_networks, minibatch, share, mirrored) for share in shares]
    values = np.concatenate([done.result() for done in reading], axis=1)  # (signs, networks, N)
    table = values.reshape(samples, -1)
    whole = estimator.weighings[objective] is centred_ranks
    weights, divisor = estimator.weighings[objective](
        table.mean(axis=1, keepdims=True) if whole else table
    )
    w = weights.sum(axis=1).reshape(-1, count) * (table.shape[1] if whole else 1)
    w = w[0] - w[1] if mirrored else w[0]
    applying = [
        submit(apply_full_noise, minibatch, share, w[share.start : share.stop]) for share in shares
    ]
    sums = applying[0].result()
    for more in applying[1:]:
        for name, value in more.result().items():
            sums[name] += value
    return LossAndGradients(table.mean(axis=0), _over_sigma(sums, divisor, minibatch.sigma))
