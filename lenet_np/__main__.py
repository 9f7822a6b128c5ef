"""The front door: ``python -m lenet_np COMMAND``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from lenet_np import __version__
from lenet_np.tools.cli.screen import fail, guarded, reason, say

PROGRAM = "python -m lenet_np"
#: Name: one line for the listing, in a newcomer's order; each is a module of `tools.commands`.
COMMANDS = {
    "doctor": "say whether this machine is ready",
    "train": "train LeNet-5 through the 0-1 loss",
    "evaluate": "say how well a trained network reads",
    "predict": "read pictures of digits with a trained network",
    "plot": "draw pictures of runs",
    "report": "put all about a run on one page",
    "explore": "make a page to draw on, of a run or two",
    "gradcheck": "check the gradients of the package itself",
    "coursework": "exercises for a course, and their marking",
    "study": "run the experiments of docs/ again",
    "benchmark": "measure the speed, also against PyTorch",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first of the program's words, or of others, names, or list all.

    Return the command's exit status; 1 if it cannot be imported or written to the screen; 2 there
    is no such command; 130 interrupted.
    """
    return guarded(PROGRAM, _run, sys.argv[1:] if argv is None else argv)


def _run(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        say(_listing())
        return 0
    name, *rest = words
    if name == "--version":
        say(f"lenet_np {__version__}")
        return 0
    if name not in COMMANDS:
        return fail(PROGRAM, 2, f"no command {name!r}{_suggestion(name)} ({PROGRAM} lists them)")
    try:
        with _leave_at_ctrl_c():
            command = import_module(f"lenet_np.tools.commands.{name}")
    except ImportError as error:
        return fail(
            PROGRAM, 1, f"{name} cannot start: {reason(error)} ({PROGRAM} doctor tells more)"
        )
    status: int = command.main(rest)
    return status


@contextmanager
def _leave_at_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the program at once while a command is imported.

    A KeyboardInterrupt in the middle of NumPy's import may come out of it as an ImportError.
    """

    def leave(*_: object) -> None:
        os._exit(fail(PROGRAM, 130, "interrupted"))

    before = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Or it is ignored, or somebody else's.
    if not in_main_thread or before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listing() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    return (
        f"usage: {PROGRAM} COMMAND [--help]\n\n"
        f"LeNet-5 in NumPy, trained through the 0-1 loss.\n\n{commands}\n\n"
        f"{PROGRAM} COMMAND --help explains a command.\n"
        f"{PROGRAM} --version names the version."
    )


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), COMMANDS, n=1)
    return f"; did you mean {near[0]}?" if near else ""


if __name__ == "__main__":
    raise SystemExit(main())
