"""How fast it is, and compared with what: ``python -m lenet_np benchmark``."""
