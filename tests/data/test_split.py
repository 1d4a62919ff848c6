import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfnas.data import holdout, two_halves


def test_two_halves_of_cifar():
    # quark0/darts: split = int(np.floor(0.5 * 50000)); the first 25,000 indices and the others, in order.
    assert two_halves(50_000) == (range(25_000), range(25_000, 50_000))


def test_two_halves_rounds_down():
    assert two_halves(1437) == (range(718), range(718, 1437))
    assert two_halves(10, 0.75) == (range(7), range(7, 10))


@given(st.integers(10, 300), st.floats(0.11, 0.89), st.integers(0, 5))
def test_both_cover_everything_once(n, fraction, seed):
    for first, second in (two_halves(n, fraction), holdout(n, fraction, seed)):
        assert sorted([*first, *second]) == list(range(n))
    assert len(two_halves(n, fraction)[0]) == len(holdout(n, fraction, seed)[1]) == int(fraction * n)


def test_holdout_is_random_and_fixed_by_its_seed():
    train, held_out = holdout(1000, 0.1, seed=3)
    assert len(held_out) == 100
    assert held_out != sorted(held_out)
    assert 350 < sum(held_out) / 100 < 650  # drawn from everywhere: 499.5 +- 5 standard errors
    assert holdout(1000, 0.1, seed=3) == (train, held_out)
    assert set(holdout(1000, 0.1, seed=4)[1]) != set(held_out)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 0.05])
def test_an_empty_side_is_an_error(fraction):
    with pytest.raises(ValueError, match=r"`train_fraction` must leave images on both sides, got .* of 10 images"):
        two_halves(10, fraction)
    with pytest.raises(ValueError, match=r"`holdout_fraction` must leave images on both sides, got .* of 10 images"):
        holdout(10, fraction, seed=0)
