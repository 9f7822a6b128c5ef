"""Sorting what backward returned: which gradient belongs to which input, and is it one at all?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lenet_np.gradcheck.report import Finding
from lenet_np.gradcheck.values import MisbehaviourError, describe, not_finite, wrong_type


class Sorted(NamedTuple):
    """The gradients that can be compared, and what is wrong with the others."""

    gradients: dict[int, Any]  # position of the input -> float64 array, maybe of a wrong shape
    findings: list[Finding]


def sort_gradients(result: Any, names: Sequence[str], wanted: Sequence[int]) -> Sorted:
    """Assign gradients to inputs.

    Parameters
    ----------
    result : what backward returned
        One gradient, or a sequence or dict with one for each input. Constants may be left out, or
        have None.
    names : names of all inputs
    wanted : positions of the inputs that take a gradient

    Returns
    -------
    Sorted

    Raises
    ------
    MisbehaviourError
        If the number of gradients, or their names, are not those of the inputs.
    """
    gradients: dict[int, Any] = {}
    findings = []
    for position, value in _pairs(result, names, wanted):
        what = f"the gradient of {names[position]}"
        problem = wrong_type(value, what)
        if problem is None and not np.isfinite(value).all():
            problem = Finding("nan", None, f"{what} has {not_finite(np.asarray(value))}")
        if problem is None:
            gradients[position] = np.asarray(value)
        else:
            findings.append(problem._replace(input=names[position]))
    return Sorted(gradients, findings)


def _pairs(result: Any, names: Sequence[str], wanted: Sequence[int]) -> list[tuple[int, Any]]:
    expected = ", ".join(names[position] for position in wanted)
    if isinstance(result, dict):
        keys = [names[position] for position in wanted]
        if set(keys) <= set(result):
            return [(position, result[names[position]]) for position in wanted]
        if set(result) & set(names):
            missing = ", ".join(key for key in keys if key not in result)
            raise _wrong_number(f"the dict of gradients lacks {missing}")
        result = list(result.values())  # other names: in order
    if not isinstance(result, (tuple, list)):
        if len(wanted) == 1:
            return [(wanted[0], result)]
        if result is None:
            raise MisbehaviourError(
                Finding("none", None, "backward returned None: is a return missing?")
            )
        raise _wrong_number(
            f"backward must return {len(wanted)} gradients ({expected}), got {describe(result)}"
        )
    if len(result) == len(names):
        return [(position, result[position]) for position in wanted]
    if len(result) != len(wanted):
        raise _wrong_number(
            f"backward must return {len(wanted)} gradients ({expected}), got {len(result)}"
        )
    return list(zip(wanted, result, strict=True))


def _wrong_number(message: str) -> MisbehaviourError:
    return MisbehaviourError(Finding("number-of-gradients", None, message))
