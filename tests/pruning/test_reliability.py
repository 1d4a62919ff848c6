import math

import numpy as np
import pytest

from halfnas.pruning import reliability
from halfnas.pruning.competition import Competition
from halfnas.pruning.reliability import chance_agreement, full_agreement, half_agreement
from halfnas.spaces import DartsSpace, Mask
from halfnas.spaces.agreement import agreement

SPACE = DartsSpace(init_channels=16, num_cells=8)
PS = (0.125, 0.25, 0.5, 0.625, 0.875)


def by_mean(num_candidates=20, num_kept=10):
    """make_mask: the candidates with the highest means are kept."""

    def make(rows):
        kept = np.zeros(num_candidates, dtype=bool)
        kept[np.argsort(rows.mean(axis=0))[num_candidates - num_kept :]] = True
        return kept

    return make


def test_agreement_counts_kept_and_dropped_alike():
    a, b = np.array([1, 1, 0, 0, 0], dtype=bool), np.array([1, 0, 1, 0, 0], dtype=bool)

    assert agreement(a, b) == agreement(b, a) == pytest.approx(3 / 5)
    assert agreement(a, a) == 1.0
    assert agreement(a, ~a) == 0.0


def test_chance_of_half_is_half():
    groups = np.repeat(np.arange(28), 8)
    kept = np.tile([1, 1, 1, 1, 0, 0, 0, 0], 28).astype(bool)

    assert chance_agreement(kept, groups) == pytest.approx(0.5)
    assert chance_agreement(np.ones(224, dtype=bool), groups) == 1.0


def test_chance_of_uneven_groups():
    """3 of 4, 1 of 2 and the only one: (4 (9 + 1)/16 + 2 (1/2) + 1) / 7."""
    kept = np.array([1, 1, 0, 1, 0, 1, 1], dtype=bool)

    assert chance_agreement(kept, np.array([0, 0, 0, 0, 1, 1, 2])) == pytest.approx((2.5 + 1 + 1) / 7)


@pytest.mark.parametrize(("scope", "ratio"), [("edge", 0.25), ("edge", 0.5), ("kind", 0.6), ("global", 0.3)])
def test_chance_is_the_agreement_of_random_masks(scope, ratio):
    candidates = Competition(SPACE, ratio, scope)
    rng = np.random.default_rng(0)

    def draw():
        kept = np.zeros(224, dtype=bool)
        for group, target in enumerate(candidates.targets):
            kept[rng.choice(np.flatnonzero(candidates.groups == group), target, replace=False)] = True
        return kept

    masks = [draw() for _ in range(200)]
    found = np.mean([agreement(a, b) for a, b in zip(masks[::2], masks[1::2], strict=True)])
    assert chance_agreement(masks[0], candidates.groups) == pytest.approx(found, abs=0.01)


def test_chance_is_the_agreement_of_the_random_pruner():
    candidates = Competition(SPACE, 0.5)
    masks = [candidates.flags(Mask.random(SPACE, 0.5, seed).kept) for seed in range(100)]
    found = np.mean([agreement(a, b) for a, b in zip(masks[::2], masks[1::2], strict=True)])

    assert chance_agreement(masks[0], candidates.groups) == pytest.approx(found, abs=0.015)


@pytest.mark.parametrize("num_repeats", [2, 3, 6, 7])
def test_halves_are_disjoint_and_as_large_as_can_be(num_repeats):
    seen = []

    def make(rows):
        seen.append(rows[:, 0].tolist())
        return np.ones(3, dtype=bool)

    assert half_agreement(np.arange(num_repeats * 3.0).reshape(num_repeats, 3), make, seed=0) == 1.0
    left_out = set()
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert len(first) == len(second) == num_repeats // 2
        assert not set(first) & set(second)
        left_out |= set(np.arange(num_repeats) * 3.0) - {*first, *second}
    if num_repeats % 2 == 1:
        assert len(left_out) == num_repeats  # another one each time
    if num_repeats > 3:
        assert len({frozenset(half) for half in seen}) > 4


def test_two_repeats_have_one_halving():
    calls = []

    def make(rows):
        calls.append(rows)
        return rows[0] > 0

    assert half_agreement(np.array([[1.0, -1, 1, 1], [1, 1, -1, 1]]), make, seed=0) == 0.5
    assert len(calls) == 2


def test_equal_repeats_agree():
    row = np.random.default_rng(0).normal(size=20)

    assert half_agreement(np.tile(row, (6, 1)), by_mean(), seed=0) == 1.0


@pytest.mark.parametrize("num_kept", [5, 10])
def test_noise_agrees_by_chance(num_kept):
    p = num_kept / 20
    rng = np.random.default_rng(0)
    found = [half_agreement(rng.normal(size=(8, 20)), by_mean(num_kept=num_kept), seed) for seed in range(100)]

    assert np.mean(found) == pytest.approx(p**2 + (1 - p) ** 2, abs=0.02)


def test_halves_are_drawn_from_the_seed():
    rows = np.random.default_rng(0).normal(size=(9, 20))

    assert half_agreement(rows, by_mean(), seed=1) == half_agreement(rows, by_mean(), seed=1)
    assert half_agreement(rows, by_mean(), seed=1) != half_agreement(rows, by_mean(), seed=2)


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.5, 0.9, 0.99])
def test_agreement_at_one_half_has_a_closed_form(rho):
    """Sheppard 1899: two standard normal numbers have the same sign with probability 1/2 + arcsin(rho) / pi."""
    of_halves = 0.5 + math.asin(rho) / math.pi
    full_rho = 2 * rho / (1 + rho)  # Spearman-Brown for twice as many repeats

    assert full_agreement(of_halves, 10, 0.5) == pytest.approx(0.5 + math.asin(full_rho) / math.pi, abs=1e-4)


@pytest.mark.parametrize("p", PS)
@pytest.mark.parametrize("rho", [0.1, 0.6, 0.95])
def test_agreement_of_bivariate_normal_numbers(p, rho):
    """By simulation: halves have correlation rho."""
    rng = np.random.default_rng(0)
    threshold = float(np.quantile(rng.normal(size=400_000), 1 - p))

    def simulate(correlation):
        x = rng.normal(size=400_000)
        y = correlation * x + math.sqrt(1 - correlation**2) * rng.normal(size=400_000)
        return ((x > threshold) == (y > threshold)).mean()

    predicted = full_agreement(simulate(rho), 8, p)
    assert predicted == pytest.approx(simulate(2 * rho / (1 + rho)), abs=0.01)


@pytest.mark.parametrize(("num_repeats", "times"), [(2, 2), (3, 3), (5, 2.5), (9, 2.25)])
def test_an_odd_repeat_counts_for_the_whole(num_repeats, times):
    of_halves = 0.5 + math.asin(0.4) / math.pi
    full_rho = times * 0.4 / (1 + (times - 1) * 0.4)

    assert full_agreement(of_halves, num_repeats, 0.5) == pytest.approx(0.5 + math.asin(full_rho) / math.pi, abs=1e-4)


@pytest.mark.parametrize("p", PS)
def test_agreement_grows_with_that_of_halves(p):
    chance = p**2 + (1 - p) ** 2
    found = [full_agreement(of_halves, 16, p) for of_halves in np.linspace(chance, 1, 12)]

    assert np.diff(found).min() > 0
    assert found[0] == pytest.approx(chance, abs=1e-4)  # from chance comes chance
    assert found[-1] == pytest.approx(1, abs=1e-3)
    assert all(whole >= half for whole, half in zip(found, np.linspace(chance, 1, 12) - 1e-3, strict=True))


@pytest.mark.parametrize("p", PS)
@pytest.mark.parametrize("less", [0.01, 0.1])
def test_worse_than_chance_is_chance(p, less):
    chance = p**2 + (1 - p) ** 2

    assert full_agreement(chance - less, 16, p) == pytest.approx(chance, abs=1e-4)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_masks_without_a_choice_agree(fraction):
    assert full_agreement(1.0, 4, fraction) == 1.0


@pytest.mark.parametrize("p", PS)
def test_agreement_at_the_ends(p):
    assert reliability._agreement(0.0, p) == pytest.approx(p**2 + (1 - p) ** 2, abs=1e-4)
    assert reliability._agreement(1.0, p) == pytest.approx(1.0, abs=1e-4)
    assert reliability._agreement(0.5, 0.5) == pytest.approx(2 / 3, abs=1e-4)


@pytest.mark.parametrize("signal", [0.1, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_prediction_is_the_agreement_of_two_prunings(signal, ratio):
    """Scores of DARTS candidates: a signal, and noise of size 1 in every repeat; masks of the highest means."""
    candidates = Competition(SPACE, ratio)
    num_repeats = 12
    everything = np.ones(224, dtype=bool)

    def make(rows):
        kept = everything.copy()
        kept[candidates.remove(everything, rows.mean(axis=0), candidates.targets)] = False
        return kept

    predicted, true = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth = signal * rng.normal(size=224)
        first, second = truth + rng.normal(size=(2, num_repeats, 224))
        halves = half_agreement(first, make, seed)
        predicted.append(full_agreement(halves, num_repeats, float(make(first).mean())))
        true.append(agreement(make(first), make(second)))

    assert np.mean(predicted) == pytest.approx(np.mean(true), abs=0.03)
