"""Hypotheses about single shares: the code's Jacobian, read row by row, beside the right one.

With an upstream that is one at a single output and zero elsewhere, backward gives a row of the
Jacobian as the code has it. Entry by entry it shows what a random upstream mixes up: which ways
from an input to an output are missing, and which are too many.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..differences import Array
from ..report import Finding
from .case import Case, axes_text

#: So many rows refute most patterns.
FEW = 8
Mask = NDArray[np.bool_]


def _marks(case: Case) -> tuple[Mask, Mask, Mask] | None:
    """Mark the shares that there are, those that the code leaves out, and those it has wrong."""
    if (given := case.student) is None:
        return None
    right = case.matrix
    scale = np.abs(right).max(initial=0.0)
    touched = np.abs(right) > 1e-8 * scale
    off = np.abs(given - right) > 1e-6 * np.abs(right) + 1e-8 * scale
    missing = touched & off & (np.abs(given) <= 1e-12 * scale)
    return touched, missing, off & ~missing


def own_index(case: Case) -> Finding | None:
    """Each output is taken to depend on its own index of some axes alone; or all but this."""
    if (marks := _marks(case)) is None:
        return None
    touched, missing, wrong = marks
    same, whole = case.shape == case.upstream.shape, sum(length > 1 for length in case.shape)
    partners = [
        [b for b, n in enumerate(case.shape) if n == length > 1 and (a == b or not same)]
        for a, length in enumerate(case.upstream.shape)
    ]
    for count in range(1, whole + 1):
        for axes in itertools.combinations(range(len(partners)), count):
            for others in itertools.product(*(partners[axis] for axis in axes)):
                own = _equal_indices(case, zip(axes, others, strict=True))
                if not (touched & ~own).any():
                    continue
                place = same and _equal_indices(case, ((a, a) for a in range(len(case.shape))))
                alone = same and not (touched & own & ~place).any()
                if alone and np.array_equal(wrong | missing, touched & own):
                    text = "all is right but the way from each entry to the output at its own place"
                elif wrong.any() or not missing.any() or (missing != (touched & ~own)).any():
                    continue
                elif alone:
                    text = (
                        "each output is taken to depend on the input at its own place alone: the "
                        "ways through sums, means or maxima over the others are missing"
                    )
                else:
                    text = (
                        f"the output at an index of {axes_text(axes)} is taken to depend on the "
                        f"same index of {case.name} alone: the ways from other indices are "
                        f"missing (in a recurrent layer, the path through time)"
                    )
                return case.finding("diagonal-only", text)
    return None


def _equal_indices(case: Case, pairs: Iterable[tuple[int, int]]) -> Mask:
    """Mark the shares whose output and entry have the same index along pairs of axes."""
    outputs, entries = case.indices
    equal = np.ones(case.matrix.shape, np.bool_)
    for a, b in pairs:
        equal &= outputs[a][:, np.newaxis] == entries[b]
    return equal


def overwritten(case: Case) -> Finding | None:
    """Every entry holds the share of one output only, where several overlap."""
    if (marks := _marks(case)) is None:
        return None
    touched, missing, wrong = marks
    lost = missing.any(axis=0)
    if wrong.any() or not lost.any():
        return None
    shape = case.upstream.shape
    for count in range(1, len(shape) + 1):
        for loop in itertools.combinations(range(len(shape)), count):
            rest = tuple(axis for axis in range(len(shape)) if axis not in loop)
            by_step, kept, dropped = (
                part[:, lost].reshape(*shape, -1).any(axis=rest).reshape(-1, lost.sum())
                for part in (touched, touched & ~missing, missing)
            )
            # A later window may also write a zero over the share.
            if (kept & dropped).any() or (kept.sum(axis=0) > 1).any() or not kept.any():
                continue
            steps, who = np.arange(len(kept))[:, np.newaxis], None
            for name, order in (("first", -steps), ("last", steps)):
                best = np.where(by_step, order, -len(kept)).max(axis=0)
                who = name if (order == best)[kept].all() else who
            if who is None:
                continue
            return case.finding(
                "overwrite-overlap",
                f"where windows overlap (along {axes_text(loop)} of y) only the share of the {who} "
                f"is kept, and not the sum: = for +=?",
            )
    return None


def some_shares(case: Case) -> Finding | None:
    """All shares are right, but some are missing; or some are too many."""
    if (marks := _marks(case)) is None:
        return None
    touched, missing, wrong = marks
    extra = wrong & ~touched
    if (wrong & touched).any() or missing.any() == extra.any():
        return None
    output, column = np.argwhere(missing if missing.any() else extra)[0]
    where = "y[{}] in entry [{}]".format(
        *(
            ", ".join(str(i[at]) for i in index)
            for index, at in zip(case.indices, (output, column), strict=True)
        )
    )
    if missing.any():
        return case.finding(
            "left-out",
            f"{missing.sum()} of the {touched.sum()} shares that make up the gradient are left "
            f"out, and the others right; the first is that of {where}",
        )
    counts = touched.sum(axis=1)[extra.any(axis=1)]
    if not counts.any():
        return case.finding(
            "missing-mask",
            f"dy gets through from {len(counts)} outputs that do not depend on {case.name} at all: "
            f"a mask is missing, as of a ReLU",
        )
    near = "; are the winners of a maximum chosen by nearness?" if counts.max() == 1 else ""
    return case.finding(
        "extra-way",
        f"dy also reaches {extra.sum()} entries on which its output does not depend; the first is "
        f"that of {where}{near}",
    )


def unused_outputs(case: Case) -> Finding | None:
    """The dy of some indices along an axis of y counts for nothing."""
    if (marks := _marks(case)) is None:
        return None
    touched, missing, wrong = marks
    rows: Mask = np.asarray(touched.any(axis=1))
    gone: Mask = np.asarray(missing.any(axis=1))
    if wrong.any() or not gone.any() or (missing != touched & gone[:, np.newaxis]).any():
        return None
    for axis, index in enumerate(case.indices[0]):
        lost = np.unique(index[gone])
        if np.array_equal(np.isin(index[rows], lost), gone[rows]):
            return case.finding(
                "left-out",
                f"the dy at index {', '.join(map(str, lost))} of axis {axis} of y is not used",
            )
    return None


def missing_way(case: Case) -> Finding | None:
    """What is missing is, for each output, a multiple of one pattern: ones, the input, ..."""
    if (known := case.known_rows) is None:
        return None
    right, given = known
    lack = right - given
    is_off = np.abs(lack) > 1e-6 * np.abs(lack).max()
    few = np.argsort(np.abs(lack).reshape(len(lack), -1).max(axis=1))[-FEW:]
    axes = [axis for axis, length in enumerate(case.shape) if length > 1]
    for count in range(len(axes), 0, -1):
        for chosen in itertools.combinations(axes, count):
            along = tuple(axis + 1 for axis in chosen)
            length = int(np.prod([case.shape[axis] for axis in chosen]))
            groups = is_off.any(axis=along).sum()
            for text, *patterns in _patterns(case, chosen):
                # Of a group of which a single entry is off, nothing can be said.
                if length < 2 + len(patterns) or 2 * is_off.sum() < groups * length:
                    continue
                fitted = np.zeros_like(right)
                for pattern in patterns:
                    size = np.square(pattern).sum(axis=chosen, keepdims=True)
                    part = (lack * pattern).sum(axis=along, keepdims=True)
                    fitted += part / np.maximum(size, 1e-300) * pattern
                guess = right - fitted
                if all(case.explained_by(guess[at], given[at], right[at]) for at in (few, ...)):
                    how = _what_is_left(case, chosen, patterns, right, fitted)
                    return case.finding("missing-way", f"{text.format(axes_text(chosen))} {how}")
    return None


def spread_evenly(case: Case) -> Finding | None:
    """The gradient of a mean, where forward picks one entry."""
    if (given := case.student) is None:
        return None
    counts = np.count_nonzero(given, axis=1)
    totals = case.matrix.sum(axis=1)
    even = totals[:, np.newaxis] / np.maximum(counts, 1)[:, np.newaxis] * (given != 0)
    picks = np.count_nonzero(case.matrix, axis=1) == 1
    if not (picks.all() and counts.min() > 1 and case.explained_by(even, given, case.matrix)):
        return None
    return case.finding(
        "spread-evenly",
        f"the dy of an output is spread over {counts.min()} entries, as for a mean; but forward "
        f"picks one entry",
    )


def _patterns(case: Case, axes: tuple[int, ...]) -> Iterator[tuple[str, *tuple[Array, ...]]]:
    x = case.inputs[case.position]
    ones, centred = np.ones(case.shape), x - x.mean(axis=axes, keepdims=True)
    if case.student is None and case.upstream.size > 1:
        yield "a constant, the same whatever dy is,", ones
        return
    yield "the way through the mean, or a sum, along {}", ones
    yield "the way through the variance along {}", centred
    if len(axes) < sum(length > 1 for length in case.shape):
        yield f"the way through the norm along {{}}, a multiple of {case.name},", x
    else:
        yield f"a multiple of {case.name} itself, as of a regulariser,", x
        yield f"a multiple of the sign of {case.name}, as of a regulariser,", np.sign(x)
    if case.output.shape == case.shape:
        yield "the way through the sum along {}, a multiple of y,", case.output
    yield "the ways through the mean and the variance along {}", ones, centred


def _what_is_left(
    case: Case, axes: tuple[int, ...], patterns: list[Array], right: Array, lack: Array
) -> str:
    """Say whether a way is missing altogether, has a wrong factor, or goes through too much."""
    if (np.abs(lack[right == 0]) > 1e-8 * np.abs(lack).max()).any():
        return "is taken over more entries than in forward"
    if len(patterns) > 1 or right.shape[1:] != case.upstream.shape or len(right) < right[0].size:
        return "is missing, or one too many" if len(patterns) < 2 else "are missing"
    x = case.inputs[case.position]
    other = x - x.mean(axis=axes, keepdims=True) if np.ptp(patterns[0]) == 0 else np.ones(x.shape)
    shares = []
    for output, (row, gone) in enumerate(zip(right, lack, strict=True)):
        index = np.unravel_index(output, case.shape)
        here = np.zeros(case.shape, np.bool_)
        here[tuple(slice(None) if axis in axes else i for axis, i in enumerate(index))] = True
        here[index] = False  # there, the direct way comes on top
        basis = np.stack([patterns[0][here], other[here]], axis=1)
        part = np.linalg.lstsq(basis, row[here], rcond=None)[0][0]
        shares.append(1 - gone[here] @ patterns[0][here] / np.sum(patterns[0][here] ** 2) / part)
    share = float(np.median(shares))
    if abs(share) < 1e-3 or np.ptp(shares) > 1e-3:
        return "is missing"
    return f"is {share:.6g} times what it should be"
