"""Randomness as a function of (seed, purpose, index): nothing depends on what ran before."""

from __future__ import annotations

from typing import Literal

import numpy as np

Purpose = Literal["weights", "shuffle", "noise", "diagnostics"]
_PURPOSES: dict[Purpose, int] = {"weights": 0, "shuffle": 1, "noise": 2, "diagnostics": 3}


def generator(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """Make the random generator for one purpose at one moment: epoch of a shuffle, step of noise.

    Weights, shuffles and noise never share a stream: changing the number of samples does not
    change the shuffle, and step 1,000 draws the same noise whether or not the run was interrupted
    before it.
    """
    return np.random.default_rng(np.random.SeedSequence([seed, _PURPOSES[purpose], index]))
