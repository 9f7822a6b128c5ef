"""Judging a forward pass and its gradients, part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from ..gradcheck import check
from .layouts import Array
from .task import (
    PASSED,
    Exercise,
    Failed,
    Known,
    Remark,
    compare,
    fail,
    require_array,
    require_order,
)

SHAPES, UNCHANGED = "shapes", "inputs unchanged"


def pair_parts(forward: int, **gradients: int) -> dict[str, int]:
    """Give the points of the parts that `judge_pairs` judges."""
    named = {f"gradient of {name}": points for name, points in gradients.items()}
    return {"forward": forward, **named, SHAPES: 1, UNCHANGED: 1}


class Pair(NamedTuple):
    """A forward and a backward pass on one set of inputs, and what they must give."""

    case: str  # what is special about the inputs
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    inputs: dict[str, Array]
    y: Known
    dy: Array
    gradients: dict[str, Known]  # for dy
    cache: str = "returned"  # as for `gradcheck.check`

    def run(self) -> tuple[Any, tuple[Any, ...]]:
        """Give y, and what backward is to be given besides dy."""
        result = self.forward(*(x.copy() for x in self.inputs.values()))
        if self.cache != "returned":
            return result, ()
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            fail("cache", f"with {self.case}: forward must return the pair (y, cache)")
        return result[0], (result[1],)

    def gradient(self, name: str) -> Any:
        """Give one of the gradients for dy."""
        result = self.backward(self.dy.copy(), *self.run()[1])
        return result if len(self.inputs) == 1 else result[list(self.inputs).index(name)]


def student_pair(
    exercise: Exercise, name: str, case: str, inputs: dict[str, Array], *how: int
) -> Pair:
    """Take ``{name}_forward``, which is given the inputs and ``how``, and its backward pass."""
    forward = exercise.student[f"{name}_forward"]
    given = (*inputs.values(), *how)
    y = exercise.know(f"{name}_forward", *given)["y"]
    dy = exercise.normal(99, *y.right.shape)
    gradients = exercise.know(f"{name}_backward", dy, *given)
    return Pair(
        case,
        lambda *given: forward(*given, *how),
        exercise.student[f"{name}_backward"],
        inputs,
        y,
        dy,
        dict(zip(inputs, gradients.values(), strict=True)),
    )


def judge_pairs(exercise: Exercise, batch_axis: int | None, *pairs: Pair) -> None:
    """Judge the forward pass, each gradient, the shapes, and that inputs stay as they are."""
    with exercise.part("forward"):
        for pair in pairs:
            compare(f"with {pair.case}: y", pair.run()[0], pair.y, "forward-wrong")
    found: list[Sequence[Remark]] = []  # of each pair; part None: about all gradients
    for pair in pairs:
        try:
            found.append(_check(exercise.seed, batch_axis, pair))
        except BaseException as error:  # of backward, that is not for the gradient check
            found.append(exercise.explain(error))
    if exercise.parts["forward"] == PASSED:
        with exercise.part("forward"):
            _raise_first(found, "forward")
    for name in pairs[0].inputs:
        with exercise.part(f"gradient of {name}"):
            _judge_gradient(exercise, name, found, pairs)
    with exercise.part(SHAPES):
        exercise.require_something_right()
        for remark in (*exercise.remarks, *chain(*found)):
            if remark.code in ("shape", "layout"):
                raise Failed(remark._replace(part=None))
        _require_runs(found, "the shapes")
        for pair in pairs:
            require_array("y", pair.run()[0], pair.y.right.shape)
    with exercise.part(UNCHANGED):
        exercise.require_something_right()
        _raise_first(found, UNCHANGED)
        _require_runs(found, "this")


def _judge_gradient(
    exercise: Exercise, name: str, found: Sequence[Sequence[Remark]], pairs: Sequence[Pair]
) -> None:
    if exercise.parts["forward"] == PASSED:
        _raise_first(found, None, f"gradient of {name}")
        return
    # A gradient may be right although the forward pass is not. Other differences say nothing.
    for pair in pairs:
        try:
            compare(name, pair.gradient(name), pair.gradients[name])
        except BaseException as error:
            remarks = exercise.explain(error)
            if remarks[0].code == "not-written":
                raise Failed(*remarks) from None
            fail("not-judged", f"the gradient of {name} waits for a forward pass that is right")


def _raise_first(found: Sequence[Sequence[Remark]], *parts: str | None) -> None:
    """End a part with what was found on the first inputs on which anything was."""
    for remarks in found:
        about = [remark._replace(part=None) for remark in remarks if remark.part in parts]
        if about:
            raise Failed(*about)


def _require_runs(found: Sequence[Sequence[Remark]], what: str) -> None:
    """Leave open what cannot be seen, because one of the two functions does not run."""
    for remark in chain(*found):
        if remark.code == "not-written":
            raise Failed(remark._replace(part=None))
        if remark.part in ("forward", None):
            fail("not-judged", f"{what} can be judged when both functions run")


def _check(seed: int, batch_axis: int | None, pair: Pair) -> list[Remark]:
    """Check a pair against differences, and sort the findings by part."""

    def forward(*given: Array) -> Any:
        result = pair.forward(*given)
        returned = pair.cache == "returned" and isinstance(result, tuple) and result
        require_order("y", result[0] if returned else result, pair.y.right.shape)
        return result

    given, names = list(pair.inputs.values()), list(pair.inputs)
    report = check(
        forward,
        pair.backward,
        [np.array(x) for x in given],
        names=names,
        cache=pair.cache,
        batch_axis=batch_axis,
        seed=seed,
    )
    remarks = []
    for finding in report.findings:
        where, part = "", None
        if finding.code == "in-place":
            part = UNCHANGED
        elif finding.input is not None:
            part = f"gradient of {finding.input}"
            where = f"{part}: "
        elif not finding.message.startswith("backward") and "gradient" not in finding.code:
            part = "forward"
        message = f"with {pair.case}: {where}{finding.message}"
        remarks.append(Remark(finding.code, message, finding.line, part))
    return remarks
