"""Layouts: the order of the axes that a course prefers, and the way to lenet_np's own and back.

A permutation says where each axis of lenet_np's order stands in the course's order. The same
permutation reorders shapes, indices in equations, and arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Axes:
    """The order of the axes of one kind of array."""

    order: tuple[int, ...]  # the axis of lenet_np's at each place, as `numpy.transpose` takes it

    def __format__(self, names: str) -> str:
        """Write names that are given in lenet_np's order, such as ``C, H, W, N``, in this one."""
        split = names.split(", ")
        return ", ".join(split[axis] for axis in self.order)

    def from_package(self, array: Array) -> Array:
        """Reorder an array of lenet_np."""
        return np.ascontiguousarray(array.transpose(self.order))

    def to_package(self, array: Array) -> Array:
        """Reorder an array of the course."""
        return array.transpose(np.argsort(self.order))

    def place_of(self, axis: int) -> int:
        """Say where an axis of lenet_np's order stands."""
        return self.order.index(axis)


@dataclass(frozen=True)
class Columns:
    """How the course lines up the windows of an image: axes in groups, each group one axis."""

    groups: tuple[tuple[int, ...], ...]  # axes of `ops.im2col`, (KH, OH, C, KW, OW, N)

    @property
    def shape(self) -> str:
        """The shape, as a docstring writes it."""
        return self._write(("KH", "OH", "C", "KW", "OW", "N"), "{}")

    @property
    def index(self) -> str:
        """The index, with the names that the equation uses."""
        return self._write(("i", "p", "c", "j", "q", "n"), "({})", ", ")

    def _write(self, names: tuple[str, ...], group: str, separator: str = "*") -> str:
        parts = (separator.join(names[axis] for axis in axes) for axes in self.groups)
        # What is one name alone has no separator.
        return ", ".join(group.format(p) if separator in p else p for p in parts)

    def from_package(self, columns: Array) -> Array:
        """Reorder and group columns of lenet_np."""
        order = [axis for axes in self.groups for axis in axes]
        shape = [math.prod(columns.shape[axis] for axis in axes) for axes in self.groups]
        return columns.transpose(order).reshape(shape)

    def to_package(self, columns: Array, shape: tuple[int, ...]) -> Array:
        """Ungroup columns of the course; ``shape`` is (KH, OH, C, KW, OW, N)."""
        order = [axis for axes in self.groups for axis in axes]
        return columns.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))


@dataclass(frozen=True)
class Layout:
    """All that a course's choice of layout decides."""

    name: str
    familiar: str  # where people know it from
    dense: str  # the equation of a dense layer
    images: Axes  # of (C, H, W, N)
    features: Axes  # of (D, N); logits and labels too
    weights: Axes  # of (O, I)
    kernels: Axes  # of (F, C, KH, KW)
    noise: Axes  # of (K, n, N)
    columns: Columns

    @property
    def batch_axis(self) -> int:
        """The axis of the batch, in whatever has one: the first or the last."""
        return -1 if self.images.place_of(3) == 3 else 0


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            name="batch-last",
            familiar="as in lenet_np",
            dense="y = W x + b",
            images=Axes((0, 1, 2, 3)),
            features=Axes((0, 1)),
            weights=Axes((0, 1)),
            kernels=Axes((0, 1, 2, 3)),
            noise=Axes((0, 1, 2)),
            columns=Columns(((2, 0, 3), (1, 4, 5))),
        ),
        Layout(
            name="nchw",
            familiar="as in PyTorch",
            dense="y = x W^T + b",
            images=Axes((3, 0, 1, 2)),
            features=Axes((1, 0)),
            weights=Axes((0, 1)),
            kernels=Axes((0, 1, 2, 3)),
            noise=Axes((1, 2, 0)),
            columns=Columns(((5,), (2, 0, 3), (1, 4))),
        ),
        Layout(
            name="nhwc",
            familiar="as in TensorFlow",
            dense="y = x W + b",
            images=Axes((3, 1, 2, 0)),
            features=Axes((1, 0)),
            weights=Axes((1, 0)),
            kernels=Axes((2, 3, 1, 0)),
            noise=Axes((1, 2, 0)),
            columns=Columns(((5, 1, 4), (0, 3, 2))),
        ),
    )
}
