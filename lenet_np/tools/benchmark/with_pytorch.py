"""The rival in PyTorch: as a reader of its tutorials writes it, as an expert does, and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from lenet_np.ops import Array, Parameters
from lenet_np.tools.benchmark.work import Start


class Eager:
    """The notebook's network and pipeline, line by line.

    What differs from ours: each ReLU comes before its maximum, as everybody writes it, and the
    noise is (n, N, K), so that a class is a step of one float away.
    """

    kind = "eager"

    def __init__(self, start: Start) -> None:
        torch.set_num_threads(start.threads)
        torch.manual_seed(0)
        self.title = f"PyTorch {torch.__version__.partition('+')[0]}, {self.kind}"
        self.settings, self.names = start.settings, list(start.parameters)
        self.images = torch.from_numpy(start.images)
        self.labels = torch.from_numpy(start.classes)
        self.network = self.build()
        self.reset(start.parameters)

    def build(self) -> Any:
        return nn.Sequential(
            *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU()),
            *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )

    def adam(self, **options: Any) -> Any:
        rate = self.settings.learning_rate
        return torch.optim.Adam(self.network.parameters(), lr=rate, **options)

    def reset(self, parameters: Parameters) -> None:
        """Begin again, with these weights."""
        with torch.no_grad():
            for own, given in zip(self.network.parameters(), parameters.values(), strict=True):
                own.copy_(torch.from_numpy(given))
        self.optimizer = self.adam()

    def estimate(self, logits: Any, labels: Any, noise: Any) -> Any:
        """Estimate the gradient from noise (n, N, K); drawn here if there is none."""
        n, sigma = self.settings.samples, self.settings.sigma
        if noise is None:
            noise = torch.randn(n, *logits.shape)
        errors = ((logits + sigma * noise).argmax(dim=2) != labels).float()
        return (self.weigh(errors)[:, :, None] * noise).sum(dim=0) / sigma

    def weigh(self, errors: Any) -> Any:
        """Weigh the samples, the first axis, for the objective."""
        if self.settings.objective == "error":
            return errors / len(errors)
        successes = 1 - errors
        count = successes.sum(dim=0)
        return (1 / len(errors) - successes / count.clamp(min=1)) * (count > 0)

    def backward(self, here: Any, noise: Any = None) -> None:
        logits, labels = self.network(self.images[here]), self.labels[here]
        self.optimizer.zero_grad()
        if self.settings.loss == "cross-entropy":
            nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
            return
        with torch.no_grad():
            gradient = self.estimate(logits, labels, noise)
        logits.backward(gradient)

    def step(self, here: Array) -> None:
        self.backward(torch.from_numpy(here))
        self.optimizer.step()

    def wait(self) -> None:
        """Nothing is left running behind a step."""

    def read(self, here: slice) -> Array:
        with torch.no_grad():
            answers: Array = self.network(self.images[here]).argmax(dim=1).numpy()
        return answers

    def gradients(self, here: Array, noise: Array) -> Parameters:
        """Compute the gradients from our noise (K, n, N), for the tests."""
        self.backward(torch.from_numpy(here), self.convert(noise))
        own = [parameter.grad.numpy().copy() for parameter in self.network.parameters()]
        return dict(zip(self.names, own, strict=True))

    def convert(self, noise: Array) -> Any:
        return torch.from_numpy(np.ascontiguousarray(noise.transpose(1, 2, 0)))


class Expert(Eager):
    """The same with all that speeds it up on a CPU and changes no result.

    The maximum comes before its ReLU and the classes are the first axis of the noise, as in ours;
    images are stored channels last; an error is a rival above the label; Adam is fused.
    """

    kind = "eager at its best"
    memory_format = torch.channels_last

    def build(self) -> Any:
        self.images = self.images.to(memory_format=self.memory_format)
        network = nn.Sequential(
            *(nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU()),
            *(nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )
        return network.to(memory_format=self.memory_format)

    def adam(self, **options: Any) -> Any:
        return super().adam(fused=True)

    def estimate(self, logits: Any, labels: Any, noise: Any) -> Any:
        n, sigma = self.settings.samples, self.settings.sigma
        if noise is None:
            noise = torch.randn(logits.shape[1], n, len(logits))
        noisy = torch.add(logits.T[:, None], noise, alpha=sigma)
        own = noisy.gather(0, labels.expand(1, n, -1))[0]
        weights = self.weigh((noisy.amax(dim=0) > own).float())
        return ((noise * weights).sum(dim=1) / sigma).T

    def convert(self, noise: Array) -> Any:
        return torch.from_numpy(noise)


class Compiled(Expert):
    """The expert's, with the network compiled.

    The estimate is not, and images are stored channels first: both ways it was faster so.
    """

    kind = "torch.compile"
    memory_format = torch.contiguous_format

    def build(self) -> Any:
        return torch.compile(super().build())
