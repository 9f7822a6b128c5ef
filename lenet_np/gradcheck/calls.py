"""Running code that may do anything: write into its inputs, forget, raise, return nonsense.

Every call gets copies, so nothing that the code does to them changes a later call, and a look at
the copies afterwards shows whether it did. What goes wrong becomes a `Finding` with the line.
"""

from __future__ import annotations

import inspect
import linecache
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .differences import Array
from .report import Finding
from .results import MisbehaviourError, as_output, describe

#: Longer lines of source are cut.
WIDTH = 80
STYLES = ("returned", "kept", "none")
#: Lines in these folders are not the student's.
_HERE = str(Path(__file__).parent)
_NUMPY = str(Path(np.__file__).parent)
_STANDARD = sysconfig.get_paths()["stdlib"]
_PACKAGES = "site-packages"


class Pair:
    """A forward and a backward pass of any of the three styles, called the same way.

    MisbehaviourError where one of them raises, or returns what cannot be used.
    """

    def __init__(
        self, forward: Any, backward: Any, style: str, names: Sequence[str], may_change_dy: bool
    ) -> None:
        self.forward, self.backward, self.style, self.names = forward, backward, style, names
        self.may_change_dy, self.notes = may_change_dy, list[str]()
        #: What was seen without being looked for, each thing once.
        self.seen: dict[tuple[str, str | None, str], Finding] = {}

    def value(self, inputs: Sequence[Any]) -> Array:
        """Compute the outputs: a copy, in float64."""
        return self.run(inputs)[0]

    def run(self, inputs: Sequence[Any]) -> tuple[Array, Any]:
        """Compute the outputs, and keep the cache that backward needs."""
        given = [x.copy() for x in inputs]
        result = call("forward", self.forward, *given)
        self._look(inputs, given, "forward", self.names, lambda read: self.forward(*read))
        cache: Any = None
        if self.style == "returned":
            if not isinstance(result, (tuple, list)) or len(result) != 2:
                raise MisbehaviourError(
                    Finding(
                        "cache",
                        None,
                        f"forward must return the pair (y, cache), got {describe(result)}; several "
                        f"outputs must be stacked into one y",
                    )
                )
            result, cache = result
        return as_output(result), cache

    def pull_back(self, dy: Array, cache: Any, inputs: Sequence[Any]) -> Any:
        """Call backward, right after `run` with the same inputs; give what it returned."""
        originals = [dy, *inputs] if self.style == "none" else [dy]
        given = [x.copy() for x in originals]
        extra = [cache] if self.style == "returned" else []
        self._require_arguments(*given, *extra)
        result = call("backward", self.backward, *given, *extra)
        # Gradients may be views of what was given: a later call must not change them.
        result = _copied(result)
        self._look(
            originals,
            given,
            "backward",
            ["dy", *self.names],
            lambda read: self.backward(*read, *extra),
        )
        return result

    def _require_arguments(self, *arguments: Any) -> None:
        """Look whether backward can be called like this at all."""
        wanted = {"returned": "dy, cache", "kept": "dy", "none": "dy, *inputs"}[self.style]
        try:
            signature = inspect.signature(self.backward)
            signature.bind(*arguments)
        except ValueError:
            return  # its signature is not known
        except TypeError as error:
            text = f"backward cannot be called with ({wanted}): {error}"
            try:
                signature.bind(*arguments[1:])
                rest = wanted.removeprefix("dy").removeprefix(", ")
                text = (
                    f"backward takes no dy. If this is a loss, give "
                    f"lambda {wanted}: dy * backward({rest}) for it"
                )
            except (TypeError, UnboundLocalError):
                pass
            raise MisbehaviourError(Finding("arguments", None, text)) from error

    def gradients(self, inputs: Sequence[Any], dy: Array) -> Any:
        """Run forward and then backward; give what that returned."""
        _, cache = self.run(inputs)
        return self.pull_back(dy, cache, inputs)

    def _look(
        self,
        originals: Sequence[Any],
        given: Sequence[Any],
        function: str,
        names: Sequence[str],
        again: Callable[[list[Any]], Any],
    ) -> None:
        """Note which of the given arrays were changed in place, and by which line."""
        for original, copy, name in zip(originals, given, names, strict=False):
            if np.array_equal(original, copy):
                continue
            if name == "dy" and self.may_change_dy:
                note = (
                    "backward changes dy in place, which is allowed here: nobody may need it after"
                )
                self.notes += [] if note in self.notes else [note]
                continue
            key = ("in-place", name, function)
            if key in self.seen:
                continue
            # Given arrays that refuse to be written to, the code names its own line.
            locked = [x.copy() for x in originals]
            for x in locked:
                x.flags.writeable = False
            line = None
            try:
                again(locked)
            except ValueError as error:
                line = line_of(error.__traceback__)
            except Exception:
                pass  # It has been seen to work on arrays that can be written to.
            self.seen[key] = Finding(
                "in-place",
                None if name == "dy" else name,
                f"{function} changes {name} in place: whoever called it still needs the old "
                f"values; make a new array",
                line,
            )


def call(role: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function, and turn an exception into a finding with the line that raised it.

    MisbehaviourError for every exception but KeyboardInterrupt; `role` is for its message.
    """
    try:
        return function(*arguments)
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise MisbehaviourError(
            Finding("exception", None, f"{role} raised {text}", line_of(error.__traceback__))
        ) from error


def line_of(traceback: TracebackType | None) -> str | None:
    """Find the innermost line that is neither NumPy's, nor Python's, nor of this package.

    It reads "file.py:12: source".
    """
    found = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        ours = (
            file.startswith((_HERE, _NUMPY))
            or file.endswith((".pyx", ".pxd"))
            or (file.startswith(_STANDARD) and _PACKAGES not in file)
        )
        if not ours and not (found and _PACKAGES in file):
            source = linecache.getline(file, traceback.tb_lineno).strip()
            source = source if len(source) <= WIDTH else f"{source[: WIDTH - 4]} ..."
            found = f"{Path(file).name}:{traceback.tb_lineno}: {source}".rstrip(": ")
        traceback = traceback.tb_next
    return found


def _copied(result: Any) -> Any:
    if isinstance(result, np.ndarray):
        return result.copy()
    if isinstance(result, dict):
        return {key: _copied(value) for key, value in result.items()}
    if isinstance(result, (tuple, list)):
        return [_copied(value) for value in result]
    return result
