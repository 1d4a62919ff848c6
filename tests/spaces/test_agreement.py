"""The agreement of masks against counting, and by chance against drawing."""

import numpy as np
import pytest

from halfnas.spaces.agreement import agreement


def test_share_of_equal_decisions():
    assert agreement([True, True, False, False], [True, False, False, False]) == 0.75
    assert agreement([1, 0], [1, 0]) == 1.0
    assert agreement([1, 0], [0, 1]) == 0.0


def test_by_chance():
    """Two of four kept and one of four, at random: counted over 10,000 pairs."""
    rng = np.random.default_rng(0)
    first, second = (np.argsort(rng.random((10_000, 4)), axis=1) < kept for kept in (2, 1))
    chance = agreement([2 / 4] * 4, [1 / 4] * 4)
    assert chance == pytest.approx(0.5)
    assert agreement(first, second).mean() == pytest.approx(chance, abs=0.01)


def test_leading_dimensions_are_broadcast():
    masks = np.random.default_rng(0).random((3, 8)) < 0.5
    matrix = agreement(masks[:, None], masks)
    assert matrix.shape == (3, 3)
    assert matrix[0, 2] == (masks[0] == masks[2]).mean()
