"""Summaries against scipy's own intervals and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from halfnas.reporting.statistics import Summary, paired_difference, paired_ratio, summarize


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


def test_difference_over_the_seeds_that_both_have():
    first, second = {0: 1.0, 1: 2.0, 2: 4.0, 7: 9.0}, {1: 1.5, 2: 3.0, 3: 100.0}
    assert paired_difference(first, second) == summarize([0.5, 1.0])
    assert paired_difference(second, first).mean == -0.75
    assert paired_difference({0: 1.0}, {0: 0.5}) == Summary(1, 0.5, None, None, None)


def test_pairs_take_out_what_a_seed_does_to_both():
    first = {seed: 10.0 * seed + 1 for seed in range(5)}
    second = {seed: 10.0 * seed for seed in range(5)}
    found = paired_difference(first, second)
    assert (found.low, found.high) == (1.0, 1.0)


def test_ratio_over_the_seeds_that_both_have():
    assert paired_ratio({0: 1.0, 1: 3.0, 5: 7.0}, {0: 2.0, 1: 4.0}) == summarize([0.5, 0.75])


def test_nothing_is_a_multiple_of_zero():
    assert paired_ratio({0: 1.0, 1: 3.0}, {0: 0.0, 1: 4.0}) == summarize([0.75])
    assert paired_ratio({0: 1.0}, {0: 0.0}) is None


@pytest.mark.parametrize("paired", [paired_difference, paired_ratio])
def test_no_seed_in_common(paired):
    assert paired({0: 1.0}, {1: 1.0}) is None
    assert paired({}, {0: 1.0}) is None
