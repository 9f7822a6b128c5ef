"""The experiments behind ``docs/``: sets of runs over seeds and settings, and their figures."""
