"""What is known about a gradient that is wrong: the evidence that every hypothesis is held against.

With the Jacobian at hand a hypothesis is a line of linear algebra: what would the gradient be if
this were the mistake? It is only believed if it gives the numbers of the checked code to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..differences import Array, Jacobian, relative_error
from ..report import Finding

#: A hypothesis explains the numbers if its gradient and the code's differ by less.
EXPLAINED = 1e-6


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

        NaN where the hypothesis says nothing; it must predict the share `least` of what is known.
        The code's gradient may be given rearranged.
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
