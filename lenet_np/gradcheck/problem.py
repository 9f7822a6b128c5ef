"""The arguments of a check: promoted, refused with the reason, or taken as constants."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from .calls import STYLES
from .differences import Array


class Problem(NamedTuple):
    """What is to be checked, without the code."""

    inputs: list[Any]  # float64 arrays, and constants of any dtype
    names: list[str]
    wanted: list[int]  # positions of the inputs that take a gradient
    tolerance: float
    entries: int | None
    batch_axis: int | None
    notes: list[str]

    def require_batch(self, y: Array) -> None:
        """Raise ValueError if y and the first input have no common batch axis."""
        if self.batch_axis is None:
            return
        for what, array in ((self.names[0], self.inputs[0]), ("y", y)):
            scalar = what == "y" and array.ndim == 0  # a mean over the batch
            if not scalar and not -array.ndim <= self.batch_axis < array.ndim:
                raise ValueError(
                    f"batch_axis is {self.batch_axis}, but {what} has shape {array.shape}"
                )


def prepare(
    inputs: Sequence[Any],
    style: str,
    names: Sequence[str] | None,
    constants: Collection[int | str],
    tolerance: float,
    entries: int | None,
    batch_axis: int | None,
) -> Problem:
    """Look at the arguments of `check`; ValueError if they make no sense."""
    if style not in STYLES:
        raise ValueError(f"cache must be one of {', '.join(STYLES)}, got {style!r}")
    if isinstance(inputs, np.ndarray) or not inputs:
        raise ValueError("inputs must be a sequence of arrays with at least one, such as [x]")
    called = [f"input {position}" for position in range(len(inputs))]
    if names is not None:
        called = [str(name) for name in names]
        if len(called) != len(inputs) or len(set(called)) != len(called):
            raise ValueError(
                f"names must be {len(inputs)} different names, one for each input, got {called}"
            )
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"the tolerance must be a positive number, got {tolerance}")
    if entries is not None and entries < 1:
        raise ValueError(f"entries must be at least 1, or None for all, got {entries}")
    fixed = {_position(constant, called) for constant in constants}
    arrays, notes, wanted = [], [], []
    for position, (value, name) in enumerate(zip(inputs, called, strict=True)):
        x = np.array(value)
        if position in fixed:
            arrays.append(x)
            continue
        if x.dtype.kind in "iub":
            notes.append(
                f"{name} is {x.dtype} and taken as a constant: whole numbers cannot move a "
                f"little; convert it with .astype(float) if it takes a gradient"
            )
            arrays.append(x)
            continue
        if x.dtype.kind != "f" or x.dtype.itemsize > 8:
            raise ValueError(
                f"{name} must be float64, got {x.dtype}: there is no gradient of it here; name "
                f"it in constants if it takes none"
            )
        if x.dtype != np.float64:
            notes.append(
                f"{name} is {x.dtype} and was promoted to float64, which changes no value: a "
                f"difference of two {x.dtype} numbers has too few digits left"
            )
            x = x.astype(np.float64)
        if not np.isfinite(x).all():
            raise ValueError(f"{name} has values that are nan or inf: there is no slope there")
        if x.size == 0:
            raise ValueError(f"{name} has shape {x.shape}: there is no entry to check")
        arrays.append(x)
        wanted.append(position)
    if not wanted:
        raise ValueError("there is no entry to check: every input is a constant")
    return Problem(arrays, called, wanted, tolerance, entries, batch_axis, notes)


def _position(constant: int | str, names: Sequence[str]) -> int:
    if isinstance(constant, str) and constant in names:
        return names.index(constant)
    if not isinstance(constant, str) and 0 <= constant < len(names):
        return int(constant)
    raise ValueError(
        f"constants must be names or positions of inputs, got {constant!r}; "
        f"the inputs are {', '.join(names)}"
    )
