"""What is known about a gradient that is wrong: the evidence that every hypothesis is held against.

With the Jacobian at hand a hypothesis is a line of linear algebra: what would the gradient be if
this were the mistake? It is only believed if it gives the numbers of the checked code to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..differences import Array, Jacobian, relative_error
from ..report import Finding

#: A hypothesis explains the numbers if its gradient and the code's differ by less.
EXPLAINED = 1e-6
#: And if it does so much better than the right gradient.
BETTER = 100.0
#: Outputs for which the code's Jacobian is read: each costs a forward and a backward pass.
ROWS = 1000


@dataclass(frozen=True)
class Case:
    """One wrong gradient."""

    position: int  # of the input
    names: Sequence[str]  # of all inputs
    inputs: Sequence[Any]
    analytic: Array  # the gradient of the checked code, maybe of another shape than the input
    numeric: dict[int, Array]  # for each position, by differences; NaN where there is none
    jacobian: Jacobian  # of the outputs by this input
    output: Array  # y
    upstream: Array  # dy, in the shape of y
    batch_axis: int | None  # of the outputs and of the first input
    #: The checked code's gradient for another upstream.
    again: Callable[[Array], Array | None]
    #: The gradient by differences at some entries, with the forward pass at other inputs.
    numeric_at: Callable[[Sequence[Any], NDArray[np.intp]], Array]
    previous: Sequence[Any]  # the inputs of the forward pass before the one that counts

    def finding(self, code: str, message: str) -> Finding:
        """Name the cause."""
        return Finding(code, self.name, message)

    @property
    def name(self) -> str:
        """The name of the input."""
        return self.names[self.position]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the gradient should have."""
        return tuple(self.inputs[self.position].shape)

    @property
    def right(self) -> Array:
        """The gradient by differences; NaN where there is none."""
        return self.numeric[self.position]

    @property
    def fits(self) -> bool:
        """Whether the gradient has the shape of its input."""
        return self.analytic.shape == self.shape

    @property
    def own_batch_axis(self) -> int | None:
        """The axis of the batch in this input, if it has one."""
        return self.batch_axis if self.position == 0 else None

    @property
    def examples(self) -> int:
        """How many examples the batch has; 1 if its axis is not known."""
        return 1 if self.batch_axis is None else int(self.inputs[0].shape[self.batch_axis])

    def wrong(self) -> NDArray[np.bool_]:
        """Mark the entries that disagree: more than rounding away, seen from the largest."""
        scale = np.nanmax(np.abs(self.right), initial=0.0)
        off = np.abs(self.analytic - self.right) > 1e-7 * scale + 1e-10
        return np.asarray(off & np.isfinite(self.right), dtype=np.bool_)

    def pull_back(self, upstream: Array) -> Array:
        """Give the right gradient for an upstream, in the shape of the input; NaN as in `right`."""
        gradient = np.full(self.shape, np.nan)
        gradient.reshape(-1)[self.jacobian.entries] = self.jacobian.pull_back(upstream)[0]
        return gradient

    # --- row by row -----------------------------------------------------------------------------

    @cached_property
    def columns(self) -> NDArray[np.intp]:
        """The flat indices of the entries that were differentiated, away from kinks: (n,)."""
        return self.jacobian.entries[self.jacobian.smooth]

    @cached_property
    def matrix(self) -> Array:
        """The right Jacobian: (M, n)."""
        return self.jacobian.values[:, self.jacobian.smooth]

    @cached_property
    def indices(self) -> tuple[tuple[NDArray[np.intp], ...], tuple[NDArray[np.intp], ...]]:
        """The indices of its rows into y, and of its columns into the input, axis by axis."""
        rows = np.arange(self.upstream.size)
        return _unravel(rows, self.upstream.shape), _unravel(self.columns, self.shape)

    @cached_property
    def student(self) -> Array | None:
        """The Jacobian of the code: (M, n). None if it is large, or if there is none."""
        if not self.fits or self.upstream.size > ROWS:
            return None
        rows = []
        for output in range(self.upstream.size):
            unit = np.zeros(self.upstream.shape)
            unit.reshape(-1)[output] = 1.0
            row = self.again(unit)
            if row is None or row.shape != self.shape:
                return None
            rows.append(row.reshape(-1)[self.columns])
        together = self.upstream.reshape(-1) @ np.array(rows)
        given = self.analytic.reshape(-1)[self.columns]
        return np.array(rows) if relative_error(together, given) < EXPLAINED else None

    @cached_property
    def known_rows(self) -> tuple[Array, Array] | None:
        """The right Jacobian and the code's: (M, *shape). One row for dy where there is none."""
        if not self.fits or not np.isfinite(self.right).all():
            return None
        if self.student is None:
            return self.right[np.newaxis], self.analytic[np.newaxis]
        return self.matrix.reshape(-1, *self.shape), self.student.reshape(-1, *self.shape)

    def explained_by(
        self,
        predicted: Array,
        analytic: Array | None = None,
        right: Array | None = None,
        least: float = 0.5,
    ) -> bool:
        """Say whether a predicted gradient equals the checked code's, and the right one does not.

        NaN where the hypothesis says nothing; it must predict the share `least` of what is known.
        The code's gradient may be given rearranged, or both as rows.
        """
        given = self.analytic if analytic is None else analytic
        if predicted.shape != given.shape:
            return False
        known = np.isfinite(predicted)
        expected = self.right if right is None else right
        if int(known.sum()) < max(least * int(np.isfinite(expected).sum()), 1):
            return False
        error = relative_error(given[known], predicted[known])
        return error < EXPLAINED and BETTER * error < self.distance(right, analytic)

    def distance(self, right: Array | None = None, given: Array | None = None) -> float:
        """Give the relative error of the right gradient: how well it explains the numbers."""
        if right is not None and given is not None:
            return relative_error(given, right)
        if not self.fits:
            return 1.0
        known = np.isfinite(self.right)
        return relative_error(self.analytic[known], self.right[known])


def _unravel(flat: NDArray[np.intp], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], ...]:
    return np.unravel_index(flat, shape or (1,))


def axes_text(axes: Sequence[int]) -> str:
    """Write "axis 1" or "axes 1 and 2"."""
    if len(axes) == 1:
        return f"axis {axes[0]}"
    return f"axes {', '.join(map(str, axes[:-1]))} and {axes[-1]}"
