"""Gradient checks that say why: does a backward pass give the derivative of its forward pass?

`check` takes any pair of functions of arrays and gives a `Report`. It needs NumPy alone, and
nothing of the rest of the package. Habits that make the answer worth something:

- float64 only. A difference of two nearly equal float32 numbers has two or three right digits
  left, and the check would raise false alarms or have to be deaf to real ones.
- A random upstream gradient. With an upstream of ones a softmax backward that returns zeros
  passes, because the sum of a softmax is constant; so does any backward that ignores upstream.
- One error for a whole gradient, by norms. Entry by entry, the tiny entries would all look wrong.
- No comparison at a kink: there the difference quotient is neither of the two derivatives.
"""

from .check import assert_gradients, check
from .report import Finding, GradientError, InputReport, Report

__all__ = ["Finding", "GradientError", "InputReport", "Report", "assert_gradients", "check"]
