"""Who does the work of a step: a minibatch is prepared ahead, and its parts are worked on together.

A part is a fixed number of images, whatever the number of threads: so the sum over a minibatch
has the same order, and the same bits, whoever does the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_np.data import CLASSES, Split
from lenet_np.data.minibatch import gather
from lenet_np.es import BatchLoss, Estimate, perturb
from lenet_np.estimators import ESTIMATORS, WEIGHT_ESTIMATORS
from lenet_np.layers import Sequential
from lenet_np.losses import Loss, cross_entropy, cross_entropy_gradient, zero_one_loss
from lenet_np.ops import Array, Parameters
from lenet_np.routes import ROUTES, LossAndGradients, LossAtLogits, add_parts
from lenet_np.seeds import generator
from lenet_np.settings import SettingError, Settings
from lenet_np.threads import default_threads, one_blas_thread
from lenet_np.weights import (
    LayerNoise,
    Minibatch,
    draw_rank_noise,
    estimate_by_full_noise,
    estimate_by_rank_noise,
    forward_perturbed,
)

LOSSES = {"zero-one": zero_one_loss, "cross-entropy": cross_entropy}
#: Images of a part; for noise in the weights, readings of an image by a perturbed network.
PART_SIZE, READINGS = 64, 128
#: Minibatches that are prepared ahead of the one in work.
AHEAD = 2


class Part(NamedTuple):
    """A part of a minibatch: all that the loss and its gradients need."""

    examples: Split  # N, as bytes
    noise: Array | None  # at the logits, (10, n, N); None where none is needed
    key: tuple[int, int]  # (step, part): noise in the weights is drawn from them
    gathered: tuple[Array, Array] | None = None  # the images (1, 32, 32, N) and labels (10, N)

    def gather(self) -> tuple[Array, Array]:
        """Give the images and labels. Only bytes travel to where they were not gathered ahead."""
        return self.gathered or gather(self.examples, slice(None))


def choose_loss(settings: Settings, own: Loss | None = None) -> Loss:
    """Give the loss that the settings name, or one's own; SettingError if that is unclear."""
    if own is None and settings.own_loss:
        raise SettingError("loss", f"{settings.loss} is a function: pass it as loss=")
    if own is not None and settings.loss == "cross-entropy":
        raise SettingError("loss", "is cross-entropy, but a function was passed too")
    whole = isinstance(own, BatchLoss) and settings.perturb == "logits"
    if whole and ESTIMATORS[settings.estimator].draw is None:
        raise SettingError("estimator", f"{settings.estimator} is for the 0-1 loss alone")
    return LOSSES[settings.loss] if own is None else own


def loss_and_gradients(
    network: Sequential,
    parameters: Parameters,
    part: Part,
    settings: Settings,
    own: Loss | None = None,
) -> LossAndGradients:
    """Compute the loss of each example of a part, and the gradients of their sum.

    A user's own loss takes the place of that in the settings.
    """
    loss = choose_loss(settings, own)
    images, labels = part.gather()
    if settings.perturb == "weights":
        estimator = WEIGHT_ESTIMATORS[settings.estimator]
        weight_noise = _weight_noise(parameters, part, settings)
        return estimate_by_rank_noise(
            network,
            parameters,
            images,
            labels,
            weight_noise,
            settings.sigma,
            loss,
            estimator.weighings[settings.objective],
        )
    route = ROUTES["taylor" if settings.loss == "cross-entropy" else settings.route]
    # An overflow is reported once, as a divergence, and not as NumPy's warnings.
    with np.errstate(over="ignore", invalid="ignore"):
        return route(
            network, parameters, images, labels, loss_at_logits(settings, part.noise, loss)
        )


def _weight_noise(parameters: Parameters, part: Part, settings: Settings) -> dict[str, LayerNoise]:
    return draw_rank_noise(
        generator(settings.seed, "weight noise", *part.key),
        parameters,
        int(settings.rank),
        settings.samples,
        len(part.examples),
        WEIGHT_ESTIMATORS[settings.estimator].mirrored,
    )


def noisy_answers(
    network: Sequential, parameters: Parameters, part: Part, settings: Settings
) -> tuple[Array, Array]:
    """Compute the logits of a part under its noise, (10, n, N), and give its labels (10, N)."""
    images, labels = part.gather()
    with np.errstate(over="ignore", invalid="ignore"):
        if settings.perturb == "weights":
            noise = _weight_noise(parameters, part, settings)
            return forward_perturbed(network, parameters, noise, images, settings.sigma), labels
        assert part.noise is not None  # see `choose_loss`
        logits, _ = network.forward(parameters, images, need_caches=False)
        return perturb(logits, part.noise, settings.sigma), labels


def _known(values: Array, logits: Array, labels: Array) -> Array:
    """Be the loss of a part whose values (n, 1) are known already."""
    return np.broadcast_to(values, logits.shape[1:])


def loss_at_logits(settings: Settings, noise: Array | None, loss: Loss) -> LossAtLogits:
    """Give a loss with its gradient, or the estimate of it that the settings name."""
    if settings.loss == "cross-entropy":
        return lambda logits, labels: Estimate(
            cross_entropy(logits, labels), cross_entropy_gradient(logits, labels)
        )
    estimate = ESTIMATORS[settings.estimator].objectives[settings.objective]
    return lambda logits, labels: estimate(loss, logits, labels, noise, settings.sigma)


class Workers(AbstractContextManager["Workers"]):
    """Threads that work on the parts of a minibatch side by side, and meanwhile prepare the next.

    ``first_step`` counts the steps that were taken before. An executor does the work on the parts
    in the threads' place; it is not shut down here.
    """

    def __init__(
        self,
        network: Sequential,
        data: Split,
        settings: Settings,
        first_step: int,
        threads: int | None = None,
        executor: Executor | None = None,
        loss: Loss | None = None,
    ) -> None:
        choose_loss(settings, loss)  # Refuses what is unclear before any thread starts.
        self._network, self._settings, self._loss = network, settings, loss
        self._prepare = partial(prepare, data, settings, ahead=executor is None)
        self._plan = plan(len(data), first_step, settings)
        self._threads = ThreadPoolExecutor(default_threads() if threads is None else threads)
        self._executor = executor or self._threads
        self._ahead: deque[tuple[int, Future[list[Part]]]] = deque()

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def minibatches(self) -> Iterator[tuple[int, list[Part]]]:
        """Yield each minibatch as (steps taken before it, its parts)."""
        for _ in range(AHEAD):
            self._prepare_one_more()
        while self._ahead:
            step, parts = self._ahead.popleft()
            yield step, parts.result()

    def loss_and_gradients(self, parameters: Parameters, parts: list[Part]) -> LossAndGradients:
        """Compute the loss of each example of a minibatch, and the gradients of their sum."""
        if self._settings.perturb == "weights" and self._settings.rank == "full":
            return self._by_networks(parameters, *parts)
        with one_blas_thread():
            if isinstance(self._loss, BatchLoss):
                return self._in_two_phases(self._loss, parameters, parts)
            work = self._submit_parts(loss_and_gradients, parameters, parts, self._loss)
            # Behind the parts in the queue: this is for threads that have nothing else to do.
            self._prepare_one_more()
            return add_parts([part.result() for part in work])

    def _submit_parts(
        self, work: Callable[..., Any], parameters: Parameters, parts: list[Part], *more: Any
    ) -> list[Future[Any]]:
        given = self._network, parameters
        return [self._submit(work, *given, part, self._settings, *more) for part in parts]

    def _in_two_phases(
        self, loss: BatchLoss, parameters: Parameters, parts: list[Part]
    ) -> LossAndGradients:
        """Let all parts answer, look at the whole minibatch, and let each part learn from that.

        The gradient is that of N F: a sum over the images, as for every other loss.
        """
        answers = [part.result() for part in self._submit_parts(noisy_answers, parameters, parts)]
        logits, labels = (np.concatenate(each, axis=-1) for each in zip(*answers, strict=True))
        values = loss(logits, labels[:, np.newaxis])[:, :1]
        work = self._submit_parts(loss_and_gradients, parameters, parts, partial(_known, values))
        self._prepare_one_more()
        losses, gradients = add_parts([part.result() for part in work])
        return LossAndGradients(losses, {k: len(losses) * v for k, v in gradients.items()})

    def _submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self._executor.submit(_on_one_blas_thread, work, *arguments)

    def _by_networks(self, parameters: Parameters, part: Part) -> LossAndGradients:
        settings = self._settings
        minibatch = Minibatch(
            self._network,
            parameters,
            part.gather,
            settings.sigma,
            choose_loss(settings, self._loss),
            (settings.seed, part.key[0]),
        )
        estimator = WEIGHT_ESTIMATORS[settings.estimator]
        self._prepare_one_more()
        with one_blas_thread():
            return estimate_by_full_noise(
                self._submit, minibatch, settings.samples, estimator, settings.objective
            )

    def _prepare_one_more(self) -> None:
        for step, indices in self._plan:
            self._ahead.append((step, self._threads.submit(self._prepare, step, indices)))
            return


def _on_one_blas_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    with one_blas_thread():  # In another process, nobody else has done it.
        return work(*arguments)


def plan(
    examples: int, first_step: int, settings: Settings
) -> Iterator[tuple[int, NDArray[np.integer[Any]]]]:
    """List the steps still to take, each with the indices of its minibatch."""
    steps_per_epoch = settings.steps_per_epoch(examples)
    for epoch in range(first_step // steps_per_epoch, settings.epochs):
        order = generator(settings.seed, "shuffle", epoch).permutation(examples)
        for step in range(max(first_step, epoch * steps_per_epoch), (epoch + 1) * steps_per_epoch):
            start = (step - epoch * steps_per_epoch) * settings.batch_size
            yield step, order[start : start + settings.batch_size]


def prepare(
    data: Split,
    settings: Settings,
    step: int,
    indices: NDArray[np.integer[Any]],
    ahead: bool = True,
) -> list[Part]:
    """Pick the examples of a minibatch, draw the noise of their logits, divide both into parts.

    The noise is a function of (seed, step), the steps taken before this one. The last part may be
    smaller. ``ahead`` also gathers the images, which otherwise stay bytes.
    """
    noise = None
    at_logits = settings.loss != "cross-entropy" and settings.perturb == "logits"
    draw = ESTIMATORS[settings.estimator].draw if at_logits else None
    if draw is not None:
        rng = generator(settings.seed, "noise", step)
        noise = draw(rng, CLASSES, settings.samples, len(indices), np.float32)
    size = part_size(settings)
    parts: list[Part] = []
    for start in range(0, len(indices), size):
        here = slice(start, start + size)
        examples = Split(data.pixels[indices[here]], data.classes[indices[here]])
        noise_here = None if noise is None else noise[:, :, here]
        gathered = gather(examples, slice(None)) if ahead else None
        parts.append(Part(examples, noise_here, (step, len(parts)), gathered))
    return parts


def part_size(settings: Settings) -> int:
    """Count the images of a part: as many as keep its arrays in the processor's cache."""
    if settings.perturb == "logits":
        return PART_SIZE
    if settings.rank == "full":
        return settings.batch_size  # Its tasks are networks, which read the whole minibatch.
    return max(1, READINGS // settings.samples)
