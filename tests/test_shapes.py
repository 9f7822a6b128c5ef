"""The filters of `predict` in NumPy, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lenet_np.tools.pictures.shapes import blur, depth, grow, label, spread

EIGHT = np.ones((3, 3))


def masks() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:90, :70]
    radius, angle = np.hypot(y - 45, x - 35), np.arctan2(y - 45, x - 35)
    found = {
        "empty": np.zeros((5, 4), bool),
        "full": np.ones((6, 9), bool),
        "one pixel": np.ones((1, 1), bool),
        "corners": (x + y) % 2 == 0,
        "half": x < 35,
        "rings": np.sin(radius) > 0,
        "spiral": np.sin(radius / 2 + angle) > 0,
        "comb": (y == 89) | (x % 2 == 0),
    }
    for trial in range(40):
        shape, share = rng.integers(1, 60, 2), rng.random()
        found[f"noise {trial}"] = rng.random(shape) < share
    return found


@pytest.mark.parametrize(("name", "mask"), masks().items())
def test_labels_depths_and_growth_are_scipy_s(name, mask):
    np.testing.assert_array_equal(label(mask), ndimage.label(mask, EIGHT)[0])
    expected = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    np.testing.assert_allclose(depth(mask), expected, rtol=1e-14)
    for reach in (1, 4, 100):
        expected = ndimage.binary_dilation(mask, EIGHT, iterations=reach)
        np.testing.assert_array_equal(grow(mask, reach), expected)


@pytest.mark.parametrize("sigma", [0.07, 0.7, 2.5, 9.0])
@pytest.mark.parametrize("shape", [(40, 31, 3), (7, 50, 1)])
def test_the_blur_is_scipy_s(sigma, shape):
    values = np.random.default_rng(1).random(shape)
    expected = ndimage.gaussian_filter(values, (sigma, sigma, 0))
    np.testing.assert_allclose(blur(values, sigma), expected, rtol=1e-12)


@pytest.mark.parametrize("radius", [1, 2, 3, 7])
def test_the_disc_is_scipy_s(radius):
    values = np.random.default_rng(2).random((40, 31)) ** 9
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = x**2 + y**2 <= (radius + 0.5) ** 2
    expected = ndimage.grey_dilation(values, footprint=disc, mode="constant")
    np.testing.assert_array_equal(spread(values, radius), expected)
