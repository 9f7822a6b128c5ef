"""What is known about a gradient that is wrong: the evidence that every hypothesis is held against.

With the Jacobian at hand a hypothesis is a line of linear algebra: what would the gradient be if
this were the mistake? It is only believed if it gives the numbers of the checked code to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..differences import Jacobian, relative_error

Array = NDArray[np.float64]
#: A hypothesis explains the numbers if its gradient and the code's differ by less.
EXPLAINED = 1e-6


class Guess(NamedTuple):
    """A hypothesis that explains the numbers."""

    code: str
    message: str


@dataclass(frozen=True)
class Case:
    """One wrong gradient.

    Parameters
    ----------
    position : of the input
    names, inputs : of all inputs
    analytic : the gradient of the checked code, maybe of another shape than the input
    numeric : dict from positions to gradients by differences, in the shapes of the inputs; NaN
        where there is none
    jacobian : of the outputs by this input
    output : y
    upstream : dy, in the shape of y
    batch_axis : of the outputs and of the first input, or None
    again : function of another upstream, giving the checked code's gradient for it, or None
    numeric_at : function of (inputs, entries), giving the gradient at these entries by
        differences, with the forward pass at other inputs
    previous : the inputs of the forward pass that ran before the one that counts
    """

    position: int
    names: Sequence[str]
    inputs: Sequence[Any]
    analytic: Array
    numeric: dict[int, Array]
    jacobian: Jacobian
    output: Array
    upstream: Array
    batch_axis: int | None
    again: Callable[[Array], Array | None]
    numeric_at: Callable[[Sequence[Any], NDArray[np.intp]], Array]
    previous: Sequence[Any]

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
        return 1 if self.batch_axis is None else self.upstream.shape[self.batch_axis]

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

    def explained_by(
        self, predicted: Array, analytic: Array | None = None, least: float = 0.5
    ) -> bool:
        """Say whether a predicted gradient equals the checked code's to rounding.

        Parameters
        ----------
        predicted : array; NaN where the hypothesis says nothing
        analytic : array, optional
            The code's, where it was rearranged for the comparison.
        least : float
            The share of the known entries that must be predicted.

        Returns
        -------
        bool
        """
        analytic = self.analytic if analytic is None else analytic
        if predicted.shape != analytic.shape:
            return False
        known = np.isfinite(predicted)
        if int(known.sum()) < max(least * int(np.isfinite(self.right).sum()), 1):
            return False
        return relative_error(analytic[known], predicted[known]) < EXPLAINED


def axes_text(axes: Sequence[int]) -> str:
    """Write "axis 1" or "axes 1 and 2"."""
    if len(axes) == 1:
        return f"axis {axes[0]}"
    return f"axes {', '.join(map(str, axes[:-1]))} and {axes[-1]}"
