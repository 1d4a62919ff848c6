"""Summaries against scipy's own intervals and closed forms."""

import math
from operator import sub, truediv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from halfnas.reporting.statistics import Summary, paired, summarize


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12).filter(lambda values: np.std(values) > 1e-3))
def test_interval_is_that_of_students_t(values):
    found = summarize(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_two_values_in_closed_form():
    """With one degree of freedom t is Cauchy's distribution: its 97.5% quantile is tan(0.475 pi)."""
    found = summarize([1.0, 3.0])
    half = math.tan(0.475 * math.pi)
    assert (found.mean, found.std) == (2.0, pytest.approx(math.sqrt(2)))
    assert (found.low, found.high) == (pytest.approx(2 - half), pytest.approx(2 + half))


def test_one_value_has_no_spread():
    assert summarize([0.5]) == Summary(1, 0.5, None, None, None)


def test_equal_values_are_certain():
    assert summarize([2.0, 2.0, 2.0]) == Summary(3, 2.0, 0.0, 2.0, 2.0)


def test_no_values():
    with pytest.raises(ValueError, match="no values to summarize"):
        summarize([])


def test_scaled():
    assert summarize([1.0, 3.0]).scaled(100) == summarize([100.0, 300.0])
    assert Summary(1, 0.5, None, None, None).scaled(2) == Summary(1, 1.0, None, None, None)
    assert summarize([2.0, 2.0]).half_width == summarize([2.0]).half_width == 0


def test_pairs_are_of_the_seeds_that_both_have():
    first, second = {0: 1.0, 1: 2.0, 2: 4.0, 7: 9.0}, {3: 100.0, 2: 3.0, 1: 1.5}
    assert paired(sub, first, second) == [0.5, 1.0]
    assert paired(sub, second, first) == [-0.5, -1.0]
    assert paired(truediv, {0: 1.0, 1: 3.0, 5: 7.0}, {0: 2.0, 1: 4.0}) == [0.5, 0.75]


def test_pairs_take_out_what_a_seed_does_to_both():
    first = {seed: 10.0 * seed + 1 for seed in range(5)}
    second = {seed: 10.0 * seed for seed in range(5)}
    found = summarize(paired(sub, first, second))
    assert (found.low, found.high) == (1.0, 1.0)


def test_no_seed_in_common():
    assert paired(sub, {0: 1.0}, {1: 1.0}) == paired(sub, {}, {0: 1.0}) == []
