"""Reading with a trained network: the commands ``evaluate`` and ``predict``."""
