"""Hypotheses about strides, dilations, groups and paddings: which number was taken from where.

In a convolution every entry of the Jacobian is one number of the other factor: in that of the
kernel stand pixels, in that of the image stand weights. Looked up by value, they tell for each
output and weight which pixel they were put together with, pixel = stride output + dilation weight
- padding, in forward and in backward. The two rules are compared number by number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..differences import Array
from ..report import Finding
from .case import Case, axes_text

#: Numbers that are looked up.
MOST = 1500
Indices = NDArray[np.intp]


def rule_of_windows(case: Case) -> Finding | None:
    """The gradient puts outputs, weights and pixels together by another rule than forward."""
    if case.student is None:
        return None
    for position, source in enumerate(case.inputs):
        if position == case.position or source.dtype != np.float64 or source.size < 2:
            continue
        right = _look_up(case, case.matrix, source)
        given = _look_up(case, case.student, source)
        if right is None or given is None:
            continue
        # The pixels are either the entries of this input, or the numbers in the Jacobian.
        for pixels, weights in ((1, 2), (2, 1)):
            found = _compare(
                _rules(right[0], right[weights], right[pixels]),
                _rules(given[0], given[weights], given[pixels]),
                len(right[0]),
                case.names[case.position if pixels == 1 else position],
            )
            if found is not None:
                return case.finding(*found)
    return None


def _look_up(case: Case, matrix: Array, source: Array) -> list[Indices] | None:
    """Find the number of the source in each entry: indices of output, entry and number."""
    outputs, entries = np.nonzero(np.abs(matrix) > 1e-8 * np.abs(matrix).max(initial=0.0))
    if len(outputs) < 8:
        return None
    order = np.argsort(source, axis=None)
    values, wanted = source.reshape(-1)[order], matrix[outputs, entries]
    above = np.clip(np.searchsorted(values, wanted), 1, len(values) - 1)
    nearest = above - (wanted - values[above - 1] < values[above] - wanted)
    hit = np.abs(values[nearest] - wanted) <= 1e-7 * np.abs(values).max()
    if hit.mean() < 0.95:
        return None
    # So many tell the rule.
    some = np.random.default_rng(0).permutation(np.flatnonzero(hit))[:MOST]
    return [
        np.array([axis[outputs[some]] for axis in case.indices[0]]),
        np.array([axis[entries[some]] for axis in case.indices[1]]),
        np.array(np.unravel_index(order[nearest[some]], source.shape)),
    ]


def _rules(outputs: Indices, weights: Indices, pixels: Indices) -> list[Array | None]:
    """Fit, for each axis of the pixels, an affine function of the other indices.

    Where there is none, one index of the outputs may count in steps, as that of the filters does
    in a convolution by groups: then the coefficients of its single values follow.
    """
    steps = [np.eye(int(axis.max()) + 1)[axis].T for axis in outputs]
    base = [np.ones_like(outputs[:1], float), outputs, weights]
    rules: list[Array | None] = []
    for target in pixels.astype(float):
        for more in ([], *([step] for step in steps)):
            design = np.concatenate([*base, *more]).T
            rule = np.linalg.lstsq(design, target, rcond=None)[0]
            if np.abs(design @ rule - target).max() < 1e-6:
                rules.append(np.asarray(np.round(rule, 6) + 0.0))
                break
        else:
            rules.append(None)
    return rules


def _compare(
    right: list[Array | None], given: list[Array | None], outputs: int, name: str
) -> tuple[str, str] | None:
    """Say how the two rules differ: a code and a message."""
    found: dict[str, tuple[list[int], float, float]] = {}
    for axis, (one, other) in enumerate(zip(right, given, strict=True)):
        if one is None or other is None or (one[1 : outputs + 1] < 0).any():
            return None  # no windows, or pixels and weights are taken for each other
        length = min(len(one), len(other))
        off = np.flatnonzero(one[:length] != other[:length])
        if len(one) != len(other):
            code, at = "groups", 0
        elif not off.size:
            continue
        else:
            at = int(off[-1])
            code = "border" if at == 0 else "stride" if at <= outputs else "dilation"
            if code == "dilation" and other[at] == -one[at]:
                code = "flipped-kernel"
            elif code == "stride" and other[at] == 0:
                code = "groups"
            elif at > 0 and not (one[at] > 0 and other[at] > 0):
                return None  # another index comes in than in forward: another mistake
        found.setdefault(code, ([], float(one[at]), float(other[at])))[0].append(axis)
    for code in ("groups", "flipped-kernel", "stride", "dilation", "border"):
        if code in found:
            axes, one_, other_ = found[code]
            where = f"{axes_text(axes)} of {name}"
            return code, {
                "groups": f"forward divides {where} into groups, the gradient does not",
                "flipped-kernel": f"the gradient runs through the kernel the other way along "
                f"{where}: it is mirrored, as in a convolution for a correlation",
                "border": f"the gradient is moved by {one_ - other_:g} along {where}: cut the "
                f"padding off at both sides",
            }.get(code, f"along {where} the gradient has {code} {other_:g}, forward {one_:g}")
    return None


def moved_rows(case: Case) -> Finding | None:
    """The shares of each output, as of a pool, are all moved: alike, or further and further."""
    if case.student is None:
        return None
    outputs, entries = (np.array(index) for index in case.indices)
    pairs, moves = [], []
    for output, (right, given) in enumerate(zip(case.matrix, case.student, strict=True)):
        here, there = np.flatnonzero(right), np.flatnonzero(given)
        if here.size and here.size == there.size:
            move = entries[:, there] - entries[:, here]
            if np.ptp(move, axis=1).any() or not np.allclose(given[there], right[here], rtol=1e-6):
                return None
            pairs.append(output)
            moves.append(move[:, 0])
    if len(pairs) < max(4, len(case.matrix) / 4):
        return None
    design = np.concatenate([np.ones((1, len(pairs))), outputs[:, pairs]]).T
    rule = np.asarray(np.round(np.linalg.lstsq(design, np.array(moves), rcond=None)[0], 6))
    if not np.array_equal(design @ rule, moves) or not rule.any():
        return None
    further = np.flatnonzero(rule[1:].any(axis=0))
    if further.size:
        along = axes_text([int(axis) for axis in further])
        less = -float(rule[1:, further[0]].sum())
        return case.finding(
            "stride", f"along {along} the gradient moves on by {less:g} too little for each output"
        )
    axes = [int(axis) for axis in np.flatnonzero(rule[0])]
    return case.finding(
        "border",
        f"the gradient is moved by {rule[0, axes[0]]:g} along {axes_text(axes)}: cut the padding "
        f"off at both sides",
    )
