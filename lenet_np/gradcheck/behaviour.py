"""Is it the same every time, whatever was asked before? And is it what was asked for?"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .calls import Pair
from .differences import Array, relative_error
from .problem import Problem
from .report import Finding, draw_map
from .results import MisbehaviourError, sort_gradients

#: Sums in another order differ in the last digits; nothing else may.
SAME = 1e-12
#: Two ways of computing y in float64 agree to about 1e-14.
AGREE = 1e-9


def same_every_time(pair: Pair, inputs: Sequence[Any], others: Sequence[Any]) -> Array:
    """Compute y several times, with other inputs in between.

    MisbehaviourError if it is not always the same: then there is nothing to differentiate.
    """
    # Code may draw from NumPy's global generator, whose state can be put back.
    state = np.random.get_state()  # noqa: NPY002
    first, second = pair.value(inputs), pair.value(inputs)
    if not _same(first, second):
        np.random.set_state(state)  # noqa: NPY002
        third = pair.value(inputs)
        code = "not-deterministic"
        text = "it draws random numbers, or something is kept from call to call"
        if _same(first, third):
            text = "it draws random numbers from np.random; hand the noise in, or fix its seed"
        elif _same(third - second, second - first) or _same_in_the_same_state(pair, inputs):
            code = "depends-on-history"
            text = "something is kept from call to call, such as a state or a generator; start anew"
        text = f"forward gives another y for the same inputs, called twice: {text}"
        raise MisbehaviourError(Finding(code, None, text))
    pair.value(others)
    if not _same(first, pair.value(inputs)):
        raise MisbehaviourError(
            Finding(
                "depends-on-history",
                None,
                "forward gives another y for the same inputs after a call with other inputs: "
                "something is kept from call to call",
            )
        )
    return first


def _same_in_the_same_state(pair: Pair, inputs: Sequence[Any]) -> bool:
    """Say whether two copies of the object that forward belongs to give the same y."""
    try:
        owners = [copy.deepcopy(pair.forward.__self__) for _ in range(2)]
        forwards = [getattr(owner, pair.forward.__name__) for owner in owners]
        one, other = (Pair(f, None, pair.style, (), False).value(inputs) for f in forwards)
    except Exception:
        return False  # no method, or it cannot be copied
    return _same(one, other)


def require_all_digits(pair: Pair, inputs: Sequence[Any], wanted: Sequence[int]) -> None:
    """Refuse outputs that were computed in fewer digits and then made float64 again.

    The inputs must use all of their digits.
    """

    def short(y: Array) -> bool:
        # Whole numbers, halves and the like come out of float64 too.
        simple = np.array_equal(256 * y, np.round(256 * y))
        return np.array_equal(y, y.astype("f4")) and not simple

    if not short(pair.value(inputs)):
        return
    # What is left of a cancellation has few digits too, but not a little away.
    moved = [x + 0.01 * np.sign(x) if p in wanted else x for p, x in enumerate(inputs)]
    try:
        again = short(pair.value(moved))
    except MisbehaviourError:
        again = True
    if again:
        raise MisbehaviourError(
            Finding(
                "dtype",
                None,
                "forward computes in float32 on the way, although y is float64: a difference of "
                "two such numbers has too few digits; keep the dtype of the inputs, for "
                "instance np.zeros(shape, x.dtype) and .astype(x.dtype)",
            )
        )


def require_no_learning(pair: Pair, inputs: Sequence[Any], y: Array) -> None:
    """Refuse a backward that changes what forward computes: it learns on the way."""
    if _same(pair.value(inputs), y):
        return
    raise MisbehaviourError(
        Finding(
            "learns",
            None,
            "after backward, forward gives another y for the same inputs: backward changes the "
            "parameters. Take the learning step elsewhere; or, with a rate of 1, return the change "
            "of the parameters, old minus new, as their gradients, and put the old ones back",
        )
    )


def disagreement(
    pair: Pair,
    problem: Problem,
    dy: Array,
    gradients: dict[int, Any],
    others: Sequence[Any],
) -> list[Finding]:
    """Compute the gradients again, and after other calls in between: one finding for each input."""
    findings: dict[int, Finding] = {}
    latest: dict[int, Any] = {}

    def expect_again(result: Any, when: str, code: str = "depends-on-history") -> None:
        again = sort_gradients(result, problem.names, problem.wanted).gradients
        for position, before in gradients.items():
            now, last = again.get(position), latest.get(position)
            latest[position] = now
            if _adds_up(last, now, before):
                findings[position] = Finding(
                    "depends-on-history",
                    problem.names[position],
                    "the gradient is added to that of the calls before, and never starts anew",
                )
            if position in findings or (now is not None and _same(before, now)):
                continue
            text = f"{when} the gradient is another one, for the same inputs and dy"
            if code == "stale-cache":
                text += ": a cache must belong to its call, and not be one place for all calls"
            findings[position] = Finding(code, problem.names[position], text)

    try:
        state = np.random.get_state()  # noqa: NPY002
        once = pair.gradients(problem.inputs, dy)
        np.random.set_state(state)  # noqa: NPY002
        again = sort_gradients(
            pair.gradients(problem.inputs, dy), problem.names, problem.wanted
        ).gradients
        expect_again(once, "called a second time,")
        if findings and all(p in again and _same(latest[p], again[p]) for p in findings):
            text = "backward draws random numbers of its own: a mask must be the one of forward"
            return [Finding("not-deterministic", f.input, text) for f in findings.values()]
        expect_again(pair.gradients(problem.inputs, dy), "called a third time,")
        if pair.style == "returned":
            _, cache = pair.run(problem.inputs)
            pair.pull_back(dy, cache, problem.inputs)
            again = pair.pull_back(dy, cache, problem.inputs)
            expect_again(again, "from the same cache a second time,")
            _, cache = pair.run(problem.inputs)
            pair.run(others)
            again = pair.pull_back(dy, cache, problem.inputs)
            expect_again(again, "after forward ran on other inputs,", "stale-cache")
    except MisbehaviourError as stop:
        return [*findings.values(), stop.finding]
    return list(findings.values())


def _adds_up(last: Any, now: Any, once: Array) -> bool:
    """Say whether a result is the one before plus the gradient itself."""
    if last is None or now is None or not (last.shape == now.shape == once.shape):
        return False
    return bool(np.any(once)) and relative_error(now, last + once) < 1e-9 and not _same(now, once)


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and (
        np.array_equal(one, other) or relative_error(one, other) < SAME
    )


# --- is the forward pass the one that was asked for? ---------------------------------------------


def compare_forward(y: Array, definition: Callable[..., Any], problem: Problem) -> list[Finding]:
    """Compare y with the definition, and say what explains the difference: one finding at most.

    MisbehaviourError if y has another shape.
    """
    expected = _of(definition, problem.inputs)
    if y.shape != expected.shape:
        message = f"y has shape {y.shape}, and should have {expected.shape}"
        raise MisbehaviourError(Finding("forward-wrong", None, message))
    if relative_error(y, expected) <= AGREE:
        return []
    for text, values in _candidates(y, expected, definition, problem):
        if values.shape == y.shape and relative_error(y, values) <= AGREE:
            return [Finding("forward-wrong", None, f"y is not what it should be: {text}")]
    wrong = np.abs(y - expected) > 1e-9 * np.abs(expected).max(initial=0.0)
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(y - expected)), y.shape))
    return [
        Finding(
            "forward-wrong",
            None,
            f"y is not what it should be at {np.count_nonzero(wrong)} of {wrong.size} entries, "
            f"worst at {worst}: {y[worst]:.9g} instead of {expected[worst]:.9g}\n"
            f"{draw_map(np.where(wrong, 3, 0), problem.batch_axis)}",
        )
    ]


def _of(definition: Callable[..., Any], inputs: list[Any]) -> Array:
    return np.asarray(definition(*[x.copy() for x in inputs]), dtype=np.float64)


def _candidates(
    y: Array, expected: Array, definition: Callable[..., Any], problem: Problem
) -> Iterator[tuple[str, Array]]:
    """Yield what y would be for common mistakes."""
    yield "it has the wrong sign", -expected
    c = float(np.vdot(y, expected)) / max(float(np.vdot(expected, expected)), 1e-300)
    if y.size > 1:
        yield f"it is {c:.9g} times what it should be", c * expected
    if y.ndim > 1:
        for order in itertools.permutations(range(y.ndim)):
            if order != tuple(range(y.ndim)):
                yield f"its axes are in the order {order}", expected.transpose(order)
                mixed = expected.transpose(order).reshape(y.shape)
                yield "it is reshaped where it should be transposed", mixed
    for position in problem.wanted:
        x, name = problem.inputs[position], problem.names[position]
        yield f"{name} is left out", _changed(definition, problem, position, np.zeros_like(x))
        for axes in [(-2, -1), (1, 2), (0, 1)] if x.ndim >= 3 else []:
            turned = np.flip(x, axes).copy()
            yield (
                f"{name} is flipped along axes {axes}: a convolution for a correlation?",
                _changed(definition, problem, position, turned),
            )
        if x.ndim == 2 and x.shape[0] == x.shape[1]:
            yield f"{name} is transposed", _changed(definition, problem, position, x.T.copy())


def _changed(
    definition: Callable[..., Any], problem: Problem, position: int, value: Array
) -> Array:
    inputs = [*problem.inputs[:position], value, *problem.inputs[position + 1 :]]
    return _of(definition, inputs)
