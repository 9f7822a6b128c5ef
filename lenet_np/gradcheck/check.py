"""The check: run the pair, look at how it behaves, compare with differences, name the cause."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .behaviour import (
    compare_forward,
    disagreement,
    require_all_digits,
    require_no_learning,
    same_every_time,
)
from .calls import Pair
from .causes.case import Case
from .causes.diagnose import diagnose
from .differences import (
    EPSILON,
    STEP,
    Array,
    Jacobian,
    complex_step,
    jacobian,
    relative_error,
    rounding,
    slope,
)
from .problem import Problem, prepare
from .report import Finding, InputReport, Report, chance_of_missing
from .results import MisbehaviourError, as_output, sort_gradients
from .ties import check_ties

#: Up to this many entries, an input of which a sample was wrong is looked at as a whole.
WHOLE = 500
#: How often a layer that selects is checked again: its winners may lie too well to show a mistake.
REPEATS = 6
#: How often the estimated error of the differences is allowed for.
MARGIN = 4.0
TINY = float(np.finfo(np.float64).tiny)
HISTORY = ("depends-on-history", "stale-cache")


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
    may_change_dy: bool = False,
) -> Report:
    """Check that a backward pass gives the derivative of its forward pass, and say why if not.

    For a random dy, backward must give dx = Jᵀ dy with J = dy/dx by central differences.

    `cache` says how backward knows of its forward pass. "returned": forward gives (y, cache), and
    backward takes (dy, cache). "kept": forward gives y, an object remembers, backward takes dy.
    "none": forward gives y, backward takes (dy, *inputs). Backward gives one gradient, or a
    sequence or dict of one for each input.

    float32 is promoted, which is exact; whole numbers, truth values and what `constants` lists
    by name or position take no gradient. `names` are for the messages. `definition` gives y in
    another way that is known to be right, such as with loops. `tolerance` is the largest relative
    error, by norms, that passes. `entries` checks a random sample of that many of each input.
    `batch_axis` counts examples, in the first input and in y. `may_change_dy` lets backward write
    into dy.

    ValueError if these arguments make no sense. What the checked code does wrong is a finding of
    the report.
    """
    problem = prepare(inputs, cache, names, constants, tolerance, entries, batch_axis)
    # What the checked code divides by zero shows in its results, not as a warning here.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pair = Pair(forward, backward, cache, problem.names, may_change_dy)
        return _Check(pair, problem, seed).run(definition)


def assert_gradients(
    forward: Callable[..., Any], backward: Callable[..., Any], inputs: Sequence[Any], **options: Any
) -> Report:
    """Check a pair in a test: an AssertionError with the report if anything is wrong."""
    __tracebackhide__ = True  # pytest shows the line of the test
    report = check(forward, backward, inputs, **options)
    report.raise_if_failed()
    return report


class _Check:
    """One check, and what it has found so far."""

    def __init__(
        self, pair: Pair, problem: Problem, seed: int, only: Sequence[int] | None = None
    ) -> None:
        self.pair, self.problem, self.seed = pair, problem, seed
        #: The inputs by which to differentiate. A check of only some is itself a repetition.
        self.chosen, self.is_first = only or problem.wanted, only is None
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
        notes = (*self.notes, *self.pair.notes)
        return Report(tuple(findings), tuple(self.reports), notes)

    def _run(self, definition: Callable[..., Any] | None) -> None:
        inputs, rng = self.problem.inputs, self.rng
        # Other inputs that are as good: signs and zeros stay what they are.
        self.previous = [
            x * (1 + 0.25 * rng.uniform(-1, 1, x.shape)) if position in self.problem.wanted else x
            for position, x in enumerate(inputs)
        ]
        # It also shows a cache that is not renewed.
        require_all_digits(self.pair, self.previous, self.problem.wanted)
        self.output = y = same_every_time(self.pair, inputs, self.previous)
        self.problem.require_batch(y)
        self.forward_right = True
        if definition is not None:
            found = compare_forward(y, definition, self.problem)
            self.findings += found
            self.forward_right = not found
        self.upstreams = [np.asarray(rng.standard_normal(y.shape)) for _ in range(2)]
        results = []
        for dy in self.upstreams:
            self.pair.run(self.previous)
            result = self.pair.gradients(inputs, dy)
            results.append(sort_gradients(result, self.problem.names, self.problem.wanted))
        require_no_learning(self.pair, inputs, y)
        for finding in results[0].findings + results[1].findings:
            if finding not in self.findings:
                self.findings.append(finding)
        self.analytic = [sorted_.gradients for sorted_ in results]
        self.findings += disagreement(
            self.pair, self.problem, self.upstreams[0], self.analytic[0], self.previous
        )
        self.noise = rounding(self._value, inputs, self.problem.wanted, y.reshape(-1), rng)
        self._differentiate(definition)

    def _value(self, inputs: Sequence[Any]) -> Array:
        """Compute the outputs, NaN where that fails: outside its domain a function may raise."""
        try:
            return self.pair.value(inputs)
        except MisbehaviourError:
            return np.full(self.upstreams[0].shape, np.nan)

    # --- the comparison -------------------------------------------------------------------------

    def _differentiate(self, definition: Callable[..., Any] | None) -> None:
        jacobians: dict[int, Jacobian] = {}
        wrong: list[int] = []
        tied: list[int] = []
        for position in self.chosen:
            found = self._jacobian(position)
            if found is None:
                self.findings.append(
                    Finding(
                        "kinks",
                        self.problem.names[position],
                        "no entry could be checked: at each of them the function has a kink or a "
                        "jump. Choose other inputs, without equal values and zeros",
                    )
                )
                continue
            jacobians[position] = found
            gradient = self.analytic[0].get(position)
            if gradient is None:
                continue
            if gradient.shape != self.problem.inputs[position].shape:
                wrong.append(position)
                continue
            result = _hold_against(
                self.pair, self.problem, position, found, self.upstreams, self.analytic
            )
            self.reports.append(result.report)
            self.notes += result.notes
            (tied if result.agree else wrong).append(position)
        if wrong and not self.forward_right and definition is not None:
            wrong = [p for p in wrong if not self._right_for(definition, p, jacobians[p])]
        for position in wrong:
            self._enter(self._diagnose(position, jacobians))
        for position in tied:
            self.findings += check_ties(
                self.pair,
                self.problem,
                position,
                jacobians[position],
                self._value,
                self.output,
                self.noise,
            )
            if self.is_first and _selects(jacobians[position]):
                self._repeat(position)
        self._note_zeros(jacobians, tied)
        self.findings.sort(key=lambda finding: finding.code == "unknown")

    def _note_zeros(self, jacobians: dict[int, Jacobian], agreeing: list[int]) -> None:
        """Say where a gradient is right because there is none."""
        without = [p for p in agreeing if not np.any(np.nan_to_num(jacobians[p].values))]
        if without and len(without) == len(jacobians):
            self.notes.append(
                "every derivative is zero at these inputs, and so nothing could be told: choose "
                "others (are all units dead?)"
            )
            return
        for position in without:
            self.notes.append(
                f"y does not depend on {self.problem.names[position]}, and its gradient is zero"
            )

    def _repeat(self, position: int) -> None:
        """Check again with the same entries in another order.

        Where outputs only select entries, as a maximum does, a mistake shows only if the winners
        lie badly.
        """
        name, x = self.problem.names[position], self.problem.inputs[position]
        for _ in range(REPEATS):
            inputs = list(self.problem.inputs)
            inputs[position] = self.rng.permuted(x.reshape(-1)).reshape(x.shape)
            if self._right_along_a_line(inputs, position):
                continue
            problem = self.problem._replace(inputs=inputs, notes=[])
            again = _Check(self.pair, problem, self.seed, [position])
            report = again.run(None)
            if report.inputs and report.inputs[0].relative_error > problem.tolerance:
                self.findings += [f for f in again.findings if f.input == name]
                place = [entry.name for entry in self.reports].index(name)
                self.reports[place] = report.inputs[0]
                self.notes.append(
                    f"{name}: right as given, wrong with its entries in another order"
                )
                return

    def _right_along_a_line(self, inputs: Sequence[Any], position: int) -> bool:
        """Compare one number: the change of dy y along a random direction; a few forward passes."""
        dy, x = self.rng.standard_normal(self.output.shape), inputs[position]
        way = self.rng.standard_normal(x.shape)
        here = self._value(inputs).reshape(-1)
        noise = np.sqrt(np.sum(np.square(dy) * np.square(EPSILON * here.reshape(dy.shape))))

        def value_at(offset: float) -> Array:
            moved = [*inputs[:position], x + offset * way, *inputs[position + 1 :]]
            return np.array([np.vdot(dy, self._value(moved))])

        found = slope(value_at, value_at(0.0), np.array([noise]), STEP)
        try:
            result = self.pair.gradients(inputs, dy)
            sorted_ = sort_gradients(result, self.problem.names, self.problem.wanted)
        except MisbehaviourError:
            return True
        given = sorted_.gradients.get(position)
        if given is None or given.shape != x.shape or not found.smooth:
            return True
        size = float(np.linalg.norm(given) * np.linalg.norm(way))
        return bool(abs(np.vdot(given, way) - found.value[0]) <= 1e-6 * size + 4 * found.error[0])

    def _enter(self, cause: Finding) -> None:
        """Add a cause. One that depends on earlier calls explains the numbers better than none."""
        history = [f for f in self.findings if f.input == cause.input and f.code in HISTORY]
        if history and cause.code in ("unknown", "nearly-right"):
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
        """Find the cause, for the upstream gradient for which the result is worse."""
        inputs, whole = self.problem.inputs, dict(jacobians)
        if len(whole[position].entries) < inputs[position].size <= WHOLE:
            whole[position] = jacobian(self._value, inputs, position, None, self.noise)
        cases = [self._case(position, whole, n) for n in range(2) if position in self.analytic[n]]
        return diagnose(max(cases, key=Case.distance))

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
            self.output,
            dy,
            self.problem.batch_axis,
            again,
            numeric_at,
            self.previous,
        )


def _selects(found: Jacobian) -> bool:
    """Say whether each output is one entry, and some entries are none of the outputs."""
    size = np.abs(found.values[:, found.smooth])
    taken = size > 0
    if not taken.any() or np.ptp(size[taken]) > 1e-6 or taken.sum(axis=1).max() > 1:
        return False
    elementwise = len(taken) == taken.shape[1] and not taken[~np.eye(len(taken), dtype=bool)].any()
    return not elementwise and not taken.any(axis=0).all()


# --- one gradient against the differences, for every upstream gradient ---------------------------


class _Comparison(NamedTuple):
    """The result for one input."""

    agree: bool
    report: InputReport
    notes: list[str]


def _hold_against(
    pair: Pair,
    problem: Problem,
    position: int,
    found: Jacobian,
    upstreams: Sequence[Array],
    gradients: Sequence[dict[int, Any]],
) -> _Comparison:
    """Hold a gradient against the differences; the report is of the upstream with the larger error.

    They agree if |a - n| <= tolerance (|a| + |n|) + what the differences err by, in norms.
    """
    name, smooth = problem.names[position], found.smooth
    error, agree, notes = 0.0, True, []
    report: InputReport | None = None
    for dy, given in zip(upstreams, gradients, strict=True):
        numeric, uncertain = (part[smooth] for part in found.pull_back(dy))
        missing = np.full(problem.inputs[position].shape, np.nan)
        a = given.get(position, missing).reshape(-1)[found.entries[smooth]]
        size = float(np.linalg.norm(a) + np.linalg.norm(numeric))
        allowed = MARGIN * float(np.linalg.norm(uncertain))
        if report is None and problem.tolerance * size < allowed < 1e-2 * size:
            sharper = complex_step(_without_copies(pair), problem.inputs, position, found)
            if sharper is not None:
                return _hold_against(pair, problem, position, sharper, upstreams, gradients)
            notes.append(
                f"{name}: the differences are good to {allowed / size:.0e} only, because y is "
                f"large beside its changes"
            )
        elif report is None and 0 < size * 1e-2 <= allowed:
            notes.append(f"{name}: rounding hides any gradient below {allowed:.0e}")
        distance = float(np.linalg.norm(a - numeric))
        # "not <=" and not ">": a NaN must fail.
        agree &= distance <= problem.tolerance * size + allowed
        # Two gradients that are zero to rounding are equal.
        this = 0.0 if max(distance, size) <= allowed else distance / max(size, TINY)
        if report is None or not this <= error:
            error = this
            report = _report(problem, position, found, error, (a, numeric, uncertain))
    assert report is not None
    return _Comparison(bool(agree), report, notes)


def _without_copies(pair: Pair) -> Any:
    """Give the forward pass itself: its complex result must not be taken for a mistake."""
    if pair.style == "returned":
        return lambda inputs: pair.forward(*inputs)[0]
    return lambda inputs: pair.forward(*inputs)


def _report(
    problem: Problem,
    position: int,
    found: Jacobian,
    error: float,
    numbers: tuple[Array, Array, Array],
) -> InputReport:
    """Put the numbers of one input together."""
    analytic, numeric, uncertain = numbers
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
