"""Randomness as a function of (seed, purpose, index): nothing depends on what ran before."""

from __future__ import annotations

from typing import Literal

import numpy as np

Purpose = Literal["weights", "shuffle", "noise", "diagnostics", "weight noise"]
_PURPOSES: dict[Purpose, int] = {
    "weights": 0,
    "shuffle": 1,
    "noise": 2,
    "diagnostics": 3,
    "weight noise": 4,
}


def generator(seed: int, purpose: Purpose, *index: int) -> np.random.Generator:
    """Make the random generator for one purpose at one moment.

    The index is the epoch of a shuffle, the step of noise; for noise in the weights the step and
    the part of the minibatch, or the step and the network.

    Weights, shuffles and noise never share a stream: changing the number of samples does not
    change the shuffle, and step 1,000 draws the same noise whether or not the run was interrupted
    before it.
    """
    return np.random.default_rng(
        np.random.SeedSequence([seed, _PURPOSES[purpose], *(index or (0,))])
    )
