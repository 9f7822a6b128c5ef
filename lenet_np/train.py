"""A door: ``python -m lenet_np.train`` is ``python -m lenet_np train``."""

import sys

from lenet_np.tools.cli.screen import guarded
from lenet_np.tools.commands.train import main
from lenet_np.tools.commands.train_arguments import PROGRAM

if __name__ == "__main__":
    raise SystemExit(guarded(PROGRAM, main, sys.argv[1:]))
