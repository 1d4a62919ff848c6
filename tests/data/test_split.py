import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset, Subset, TensorDataset

from halfnas.data import holdout, two_halves, two_halves_by_class
from halfnas.data.split import class_labels


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


SORTED = torch.arange(4).repeat_interleave(torch.tensor([20, 30, 10, 41]))


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.9])
def test_halves_of_a_sorted_set_have_every_class_in_its_share(fraction):
    first, second = two_halves_by_class(SORTED, fraction)
    assert len(first) == int(fraction * 101)
    assert first == sorted(first)
    assert second == sorted(second)
    assert sorted(first + second) == list(range(101))
    share = SORTED[first].bincount() - fraction * SORTED.bincount()
    assert share.abs().max() <= 1
    assert SORTED[second].bincount(minlength=4).min() > 0


def test_halves_by_class_are_always_the_same():
    torch.manual_seed(0)
    halves = two_halves_by_class(SORTED)
    torch.manual_seed(1)
    assert two_halves_by_class(SORTED) == halves
    assert halves[0] != list(range(50))


@pytest.mark.parametrize(
    "labels",
    [torch.arange(40), torch.tensor([0] * 20 + [1] * 19 + [2]), torch.arange(20).repeat_interleave(2)],
    ids=["as many classes as images", "one image of a class", "a half has fewer images than there are classes"],
)
def test_classes_that_cannot_be_split(labels):
    fraction = 0.25
    first, second = two_halves_by_class(labels, fraction)
    assert (len(first), len(second)) == (10, 30)
    assert first == sorted(first)
    assert second == sorted(second)
    assert sorted(first + second) == list(range(40))
    assert first != list(range(10))
    assert two_halves_by_class(labels, fraction) == (first, second)


class Listed(Dataset):
    """Images with labels 5, 6, 7, ...; those read are counted."""

    def __init__(self, targets=None):
        self.read = 0
        if targets is not None:
            self.targets = targets

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.read += 1
        return torch.zeros(1, 2, 2), 5 + index


def test_labels_of_any_dataset():
    numbers = torch.tensor([3, 1, 2, 0, 5, 4])
    assert torch.equal(class_labels(TensorDataset(torch.zeros(6, 1, 2, 2), numbers)), numbers)
    for targets in (numbers, numbers.tolist()):
        images = Listed(targets)
        assert torch.equal(class_labels(images), numbers)
        assert torch.equal(class_labels(Subset(images, range(1, 4))), numbers[1:4])
        assert images.read == 0
    images = Listed()
    assert class_labels(images).tolist() == [5, 6, 7, 8, 9, 10]
    assert class_labels(Subset(images, range(3))).tolist() == [5, 6, 7]


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
    with pytest.raises(ValueError, match=r"`train_fraction` must leave images on both sides, got .* of 10 images"):
        two_halves_by_class(torch.arange(10) % 2, fraction)
    with pytest.raises(ValueError, match=r"`holdout_fraction` must leave images on both sides, got .* of 10 images"):
        holdout(10, fraction, seed=0)
