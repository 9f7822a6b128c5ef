"""A door: ``python -m lenet_np.train`` is ``python -m lenet_np train``."""

from lenet_np.tools.commands.train import main

if __name__ == "__main__":
    raise SystemExit(main())
