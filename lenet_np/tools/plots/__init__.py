"""Pictures of runs: a module for each, one style, and the command ``python -m lenet_np plot``."""
