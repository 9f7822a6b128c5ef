"""The front door: ``python -m lenet_np COMMAND``."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "train": ("lenet_np.train", "train LeNet-5 through the 0-1 loss"),
    "benchmark": ("lenet_np.benchmark.command", "measure the speed, also against PyTorch"),
    "study": ("lenet_np.studies.command", "run the experiments of docs/ again"),
    "gradcheck": ("lenet_np.gradcheck.__main__", "check the gradients of the package itself"),
    "coursework": ("lenet_np.coursework.command", "exercises for a course, and their marking"),
    "plot": ("lenet_np.plots", "draw the accuracy of finished runs"),
}


def main() -> int:
    """Run the command that the first word names, or list the commands.

    Returns
    -------
    int : the exit status; 2 for an unknown command.
    """
    listing = "\n".join(f"  {name:10} {text}" for name, (_, text) in COMMANDS.items())
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(f"usage: python -m lenet_np COMMAND [--help]\n\n{listing}")
        return 0
    if sys.argv[1] not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"python -m lenet_np: no command {sys.argv[1]!r}; takes {known}", file=sys.stderr)
        return 2
    status: int = import_module(COMMANDS[sys.argv[1]][0]).main(sys.argv[2:])
    return status


if __name__ == "__main__":
    raise SystemExit(main())
