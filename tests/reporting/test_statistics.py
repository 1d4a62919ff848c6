"""Summaries against scipy's own intervals and closed forms."""

import math
from operator import sub, truediv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from halfnas.reporting.statistics import Summary, counting_noise, noise_of, paired, power, seeds_for, summarize


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=12).filter(lambda values: np.std(values) > 1e-3))
def test_interval_is_that_of_students_t(values):
    found = summarize(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.std == pytest.approx(np.std(values, ddof=1))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_two_values_are_points():
    """With one degree of freedom t is Cauchy's distribution, and 1 and 3 would be 2 +- 12.7."""
    found = summarize([1.0, 3.0])
    assert (found.mean, found.std) == (2.0, pytest.approx(math.sqrt(2)))
    assert (found.low, found.high) == (None, None)
    assert all(map(math.isnan, found.reach))


def test_one_value_has_no_spread():
    assert summarize([0.5]) == Summary(1, 0.5, None, None, None)


def test_equal_values_are_certain_where_values_are_exact():
    assert summarize([2.0, 2.0, 2.0]) == Summary(3, 2.0, 0.0, 2.0, 2.0)


def test_equal_values_are_no_more_certain_than_their_noise():
    found = summarize([0.9] * 3, noise=0.01, bounds=(0, 1))
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert found.std == 0.0  # what was measured
    assert (found.low, found.high) == pytest.approx((0.9 - half, 0.9 + half))
    assert summarize([0.8, 0.9, 1.0], noise=0.01) == summarize([0.8, 0.9, 1.0])
    unknown = summarize([0.9] * 3, noise=None)
    assert (unknown.low, unknown.high) == (None, None)
    assert summarize([0.8, 0.9, 1.0], noise=None) == summarize([0.8, 0.9, 1.0])


@given(st.lists(st.floats(0, 1), min_size=3, max_size=6), st.floats(0, 0.5))
def test_an_interval_stays_where_its_values_can_be(values, noise):
    found = summarize(values, noise, bounds=(0.0, 1.0))
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1


def test_the_noise_of_counting_is_binomial():
    rng = np.random.default_rng(0)
    shares = rng.binomial(360, 0.95, 20000) / 360
    assert counting_noise(0.95, 360) == pytest.approx(shares.std(), rel=0.05)
    # Of all or none, about one image.
    assert [counting_noise(share, 360) for share in (0.0, 1.0)] == pytest.approx([1 / 360] * 2, rel=0.01)


@pytest.mark.parametrize("of", [sub, truediv, lambda a, b: 1 - a / b])
def test_the_noise_of_what_is_made_of_two(of):
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.9, 0.01, 100000), rng.normal(0.8, 0.02, 100000)
    assert noise_of(of, (0.9, 0.01), (0.8, 0.02)) == pytest.approx(of(a, b).std(), rel=0.05)


def test_power_is_that_of_the_noncentral_t():
    """One side, closed form: how often mean - t s / sqrt(n) is above the margin."""
    for n in (3, 7, 20):
        expected = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 0.5 * math.sqrt(n) / 0.35)
        assert power(0.0, 0.35, n, (-0.5, math.inf)) == pytest.approx(expected, abs=1e-3)
    assert seeds_for(0.0, 0.35, (-0.5, math.inf)) == 7
    assert seeds_for(0.0, 0.35, (-0.5, 0.5)) == 8
    assert seeds_for(0.0, 0.001, (-0.5, 0.5)) == 3
    assert seeds_for(0.5, 0.35, (-0.5, 0.5)) is None  # on the edge


def test_no_values():
    with pytest.raises(ValueError, match="no values to summarize"):
        summarize([])


def test_scaled():
    assert summarize([1.0, 3.0, 5.0]).scaled(100) == summarize([100.0, 300.0, 500.0])
    assert Summary(1, 0.5, None, None, None).scaled(2) == Summary(1, 1.0, None, None, None)
    assert summarize([2.0] * 3).reach == (0, 0)


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
