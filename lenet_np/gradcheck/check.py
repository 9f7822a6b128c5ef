"""The check: run the pair, look at how it behaves, compare with differences, name the cause."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_np.gradcheck.arguments import Problem, prepare
from lenet_np.gradcheck.behaviour import disagreement, same_every_time
from lenet_np.gradcheck.calls import Array, MisbehaviourError, Pair, as_output
from lenet_np.gradcheck.case import Case
from lenet_np.gradcheck.diagnose import diagnose
from lenet_np.gradcheck.differences import (
    Jacobian,
    complex_step,
    jacobian,
    relative_error,
    rounding,
)
from lenet_np.gradcheck.forward import compare_forward
from lenet_np.gradcheck.report import Finding, InputReport, Report, chance_of_missing
from lenet_np.gradcheck.results import sort_gradients
from lenet_np.gradcheck.ties import check_ties

#: Up to this many entries, an input of which a sample was wrong is looked at as a whole.
WHOLE = 4000
HISTORY = ("depends-on-history", "stale-cache")
#: How often the estimated error of the differences is allowed for.
MARGIN = 4.0
TINY = float(np.finfo(np.float64).tiny)


def check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    cache: str = "returned",
    names: Sequence[str] | None = None,
    constants: Collection[int | str] = (),
    definition: Callable[..., Any] | None = None,
    tolerance: float = 1e-7,
    seed: int = 0,
    entries: int | None = None,
    batch_axis: int | None = None,
) -> Report:
    """Check that a backward pass gives the derivative of its forward pass, and say why if not.

    For a random dy, backward must give dx = Jᵀ dy with J = dy/dx by central differences.

    Parameters
    ----------
    forward : function of the inputs
    backward : function
        With cache "returned": forward gives (y, cache), backward takes (dy, cache). With "kept":
        forward gives y and an object remembers, backward takes dy. With "none": forward gives y,
        backward takes (dy, *inputs). It gives one gradient, or a sequence or dict of one for
        each input.
    inputs : arrays, float64
        float32 is promoted, which is exact. Whole numbers and truth values are constants.
    cache : "returned", "kept" or "none"
    names : names of the inputs for the messages, optional
    constants : positions or names of inputs that take no gradient, such as labels
    definition : function of the inputs giving y, optional
        The forward pass in another way that is known to be right, such as with loops.
    tolerance : float
        The largest relative error, by norms, that passes.
    seed : int
        Of the upstream gradient and of what else is drawn.
    entries : int, optional
        Check a random sample of that many entries of each input.
    batch_axis : int, optional
        The axis that counts examples, in the first input and in y.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If the arguments of this function make no sense. What the checked code does wrong is a
        finding of the report.
    """
    problem = prepare(inputs, cache, names, constants, tolerance, entries, batch_axis)
    # What the checked code divides by zero shows in its results, not as a warning here.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Check(Pair(forward, backward, cache, problem.names), problem, seed).run(definition)


class _Check:
    """One check, and what it has found so far."""

    def __init__(self, pair: Pair, problem: Problem, seed: int) -> None:
        self.pair, self.problem = pair, problem
        self.rng = np.random.default_rng([seed, 8191])
        self.findings: list[Finding] = []
        self.reports: list[InputReport] = []
        self.notes = list(problem.notes)

    def run(self, definition: Callable[..., Any] | None) -> Report:
        try:
            self._run(definition)
        except MisbehaviourError as stop:
            self.findings.append(stop.finding)
        findings = [*self.pair.seen.values(), *self.findings]
        return Report(tuple(findings), tuple(self.reports), tuple(self.notes))

    def _run(self, definition: Callable[..., Any] | None) -> None:
        inputs, rng = self.problem.inputs, self.rng
        # Other inputs that are as good: signs and zeros stay what they are.
        self.previous = [
            x * (1 + 0.25 * rng.uniform(-1, 1, x.shape)) if x.dtype == np.float64 else x
            for x in inputs
        ]
        self.pair.run(self.previous)  # so that a cache that is not renewed shows
        y = same_every_time(self.pair, inputs, self.previous)
        self.problem.require_batch(y)
        self.forward_right = True
        if definition is not None:
            found = compare_forward(y, definition, self.problem)
            self.findings += found
            self.forward_right = not found
            if found and found[0].message.startswith("y has shape"):
                return
        self.upstreams = [rng.standard_normal(y.shape) for _ in range(2)]
        results = []
        for dy in self.upstreams:
            self.pair.run(self.previous)
            result = self.pair.gradients(inputs, dy)
            results.append(sort_gradients(result, self.problem.names, self.problem.wanted))
        self.findings += results[0].findings
        self.analytic = [sorted_.gradients for sorted_ in results]
        self.findings += disagreement(
            self.pair, self.problem, self.upstreams[0], self.analytic[0], self.previous
        )
        self.noise = rounding(self._value, inputs, y.reshape(-1), rng)
        self._compare(y, definition)

    def _value(self, inputs: Sequence[Any]) -> Array:
        """Compute the outputs, NaN where that fails: outside its domain a function may raise."""
        try:
            return self.pair.value(inputs)
        except MisbehaviourError:
            return np.full(self.upstreams[0].shape, np.nan)

    # --- the comparison -------------------------------------------------------------------------

    def _compare(self, y: Array, definition: Callable[..., Any] | None) -> None:
        jacobians, wrong, tied = {}, [], []
        for position in self.problem.wanted:
            found = self._jacobian(position)
            if found is None:
                self._explain_no_slope(position, y)
                continue
            jacobians[position] = found
            gradient = self.analytic[0].get(position)
            if gradient is None:
                continue
            if gradient.shape != self.problem.inputs[position].shape or not self._agree(
                position, found
            ):
                wrong.append(position)
            else:
                tied.append(position)
        if wrong and not self.forward_right and definition is not None:
            wrong = [p for p in wrong if not self._right_for(definition, p, jacobians[p])]
        for position in wrong:
            self._enter(self._diagnose(position, jacobians))
        for position in tied:
            self.findings += check_ties(
                self.pair, self.problem, position, jacobians[position], self._value, y, self.noise
            )

    def _enter(self, cause: Finding) -> None:
        """Add a cause. One that depends on earlier calls explains the numbers better than none."""
        history = [f for f in self.findings if f.input == cause.input and f.code in HISTORY]
        if history and cause.code == "unknown":
            return
        if cause.code == "stale-cache":
            self.findings = [f for f in self.findings if f not in history]
        self.findings.append(cause)

    def _jacobian(self, position: int) -> Jacobian | None:
        """Differentiate by the entries that are to be checked; None if all lie at kinks."""
        x, most = self.problem.inputs[position], self.problem.entries
        chosen = np.arange(x.size)
        if most is not None and most < x.size:
            chosen = np.sort(self.rng.permutation(x.size)[:most])
            self.notes.append(
                f"{most} of {x.size} entries of {self.problem.names[position]} were drawn: an "
                f"error that hits 1% of them is missed with probability "
                f"{chance_of_missing(most):.0%}"
            )
        found = jacobian(self._value, self.problem.inputs, position, chosen, self.noise)
        return found if found.smooth.any() else None

    def _explain_no_slope(self, position: int, y: Array) -> None:
        name = self.problem.names[position]
        arrays = [self.problem.inputs[p] for p in self.problem.wanted]
        if _in_float32(y) and not all(map(_in_float32, arrays)):
            self.findings.append(
                Finding(
                    "dtype",
                    name,
                    "forward computes in float32 on the way, although y is float64: differences "
                    "have too few digits to be compared with; keep the dtype of the inputs",
                )
            )
            return
        self.findings.append(
            Finding(
                "kinks",
                name,
                "no entry could be checked: at each of them the function has a kink or a jump. "
                "Choose other inputs, without equal values and zeros",
            )
        )

    def _agree(self, position: int, found: Jacobian) -> bool:
        """Compare the gradients for all upstreams, and enter the result into the report."""
        x, smooth = self.problem.inputs[position], found.smooth
        entries = found.entries[smooth]
        error, agree = 0.0, True
        worst: tuple[Array, Array, Array] = (np.zeros(0), np.zeros(0), np.zeros(0))
        for number, (dy, gradients) in enumerate(zip(self.upstreams, self.analytic, strict=True)):
            numeric, uncertain = (part[smooth] for part in found.pull_back(dy))
            a = gradients[position] if position in gradients else np.full(x.shape, np.nan)
            a = a.reshape(-1)[entries]
            size = float(np.linalg.norm(a) + np.linalg.norm(numeric))
            allowed = MARGIN * float(np.linalg.norm(uncertain))
            if number == 0 and self.problem.tolerance * size < allowed < 1e-2 * size:
                sharper = complex_step(self._complex, self.problem.inputs, position, found)
                if sharper is not None:
                    return self._agree(position, sharper)
                self.notes.append(
                    f"{self.problem.names[position]}: the differences are good to "
                    f"{allowed / size:.0e} only, because y is large beside its changes"
                )
            distance = float(np.linalg.norm(a - numeric))
            # "not <=" and not ">": a NaN must fail.
            agree &= distance <= self.problem.tolerance * size + allowed
            # Two gradients that are zero to rounding are equal.
            this = 0.0 if max(distance, size) <= allowed else distance / max(size, TINY)
            if number == 0 or not this <= error:
                error, worst = this, (a, numeric, uncertain)
        self.reports.append(_input_report(self.problem, position, found, error, *worst))
        return agree

    def _complex(self, inputs: Sequence[Any]) -> Any:
        result = self.pair.forward(*inputs)
        return result[0] if self.pair.style == "returned" else result

    # --- the cause ------------------------------------------------------------------------------

    def _right_for(self, definition: Callable[..., Any], position: int, found: Jacobian) -> bool:
        """Say whether a gradient is right for the definition, though not for forward."""
        inputs = self.problem.inputs
        try:
            exact = jacobian(
                lambda values: as_output(definition(*[x.copy() for x in values])),
                inputs,
                position,
                found.entries,
            )
        except MisbehaviourError:
            return False
        a = self.analytic[0][position]
        if a.shape != inputs[position].shape or not exact.smooth.any():
            return False
        numeric = exact.pull_back(self.upstreams[0])[0][exact.smooth]
        if relative_error(a.reshape(-1)[exact.entries[exact.smooth]], numeric) > 1e-6:
            return False
        self.notes.append(
            f"the gradient of {self.problem.names[position]} is right for the definition: it is "
            f"forward that is wrong"
        )
        return True

    def _diagnose(self, position: int, jacobians: dict[int, Jacobian]) -> Finding:
        """Find the cause, for the first upstream gradient for which the result is wrong."""
        inputs, whole = self.problem.inputs, dict(jacobians)
        for other, found in jacobians.items():
            if len(found.entries) < inputs[other].size <= WHOLE:
                whole[other] = jacobian(self._value, inputs, other, None, self.noise)
        first = self._case(position, whole, 0)
        if first.explained_by(first.right) and position in self.analytic[1]:
            return diagnose(self._case(position, whole, 1))
        return diagnose(first)

    def _case(self, position: int, jacobians: dict[int, Jacobian], number: int) -> Case:
        """Put the evidence together for one of the upstream gradients."""
        inputs, dy = self.problem.inputs, self.upstreams[number]
        numeric = {}
        for other, found in jacobians.items():
            gradient = np.full(inputs[other].shape, np.nan)
            gradient.reshape(-1)[found.entries] = found.pull_back(dy)[0]
            numeric[other] = gradient

        def again(upstream: Array) -> Array | None:
            try:
                result = self.pair.gradients(inputs, upstream)
                sorted_ = sort_gradients(result, self.problem.names, self.problem.wanted)
            except MisbehaviourError:
                return None
            return sorted_.gradients.get(position)

        def numeric_at(values: Sequence[Any], entries: NDArray[np.intp]) -> Array:
            return jacobian(self._value, values, position, entries, self.noise).pull_back(dy)[0]

        return Case(
            position,
            self.problem.names,
            inputs,
            self.analytic[number][position],
            numeric,
            jacobians[position],
            dy,
            self.problem.batch_axis,
            again,
            numeric_at,
            self.previous,
        )


def _in_float32(values: Array) -> bool:
    return np.array_equal(values, values.astype(np.float32))


def _input_report(
    problem: Problem,
    position: int,
    found: Jacobian,
    error: float,
    analytic: Array,
    numeric: Array,
    uncertain: Array,
) -> InputReport:
    """Put the numbers of one input together."""
    shape = problem.inputs[position].shape
    distance = np.abs(analytic - numeric)
    worst = int(np.argmax(np.where(np.isnan(distance), np.inf, distance)))
    index = np.unravel_index(int(found.entries[found.smooth][worst]), shape)
    # Entries that rounding explains have no relative error worth naming.
    size = np.maximum(np.abs(analytic) + np.abs(numeric), TINY)
    by_entry = np.where(np.maximum(distance, 1e-3 * size) > MARGIN * uncertain, distance / size, 0)
    return InputReport(
        problem.names[position],
        shape,
        tuple(int(i) for i in index),
        float(analytic[worst]),
        float(numeric[worst]),
        error,
        float(by_entry.max()),
        int(np.count_nonzero(found.smooth)),
        int(np.count_nonzero(~found.smooth)),
    )
