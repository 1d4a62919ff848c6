from collections import Counter

import pytest
import torch

from halfnas.data import Cutout


@pytest.fixture
def centre_at(monkeypatch):
    """Make the next squares stand at given centres: torch.randint is asked for y, then for x."""

    def place(y, x):
        answers = iter([y, x])
        monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor(next(answers)))

    return place


def erased(length, size=32):
    return Cutout(length)(torch.ones(1, size, size))[0] == 0


def test_worked_example(centre_at):
    centre_at(2, 4)
    # length 4 about (2, 4): rows 0 ... 3 and columns 2 ... 5.
    expected = torch.tensor(
        [
            [1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1],
        ]
    )
    assert torch.equal(Cutout(4)(torch.ones(1, 6, 6))[0].int(), expected.int())


@pytest.mark.parametrize(
    ("centre", "rows", "columns"),
    [
        ((0, 0), (0, 8), (0, 8)),
        ((31, 31), (23, 32), (23, 32)),
        ((0, 31), (0, 8), (23, 32)),
        ((16, 3), (8, 24), (0, 11)),
    ],
)
def test_clipped_at_borders(centre_at, centre, rows, columns):
    centre_at(*centre)
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[rows[0] : rows[1], columns[0] : columns[1]] = True
    assert torch.equal(erased(16), expected)


def test_mean_area_over_all_centres(centre_at):
    # DARTS' 16 on 32x32: each side is clip(c + 8, 0, 32) - clip(c - 8, 0, 32), 14 on average, so 196 pixels of 256.
    areas = []
    for y in range(32):
        for x in range(32):
            centre_at(y, x)
            areas.append(int(erased(16).sum()))
    assert sum(areas) / len(areas) == 196
    assert (min(areas), max(areas)) == (64, 256)


def test_centres_are_uniform():
    torch.manual_seed(0)
    # Length 2 erases rows y - 1 and y of 8; the last row erased is y.
    rows = Counter(int(erased(2, size=8).any(dim=1).nonzero().max()) for _ in range(4000))
    columns = Counter(int(erased(2, size=8).any(dim=0).nonzero().max()) for _ in range(4000))
    for counts in (rows, columns):
        assert set(counts) == set(range(8))
        assert all(420 < count < 580 for count in counts.values())  # 500 +- 4 standard deviations


def test_out_of_place_same_square_for_all_channels_and_values_outside_kept():
    images = torch.rand(2, 3, 32, 32) + 1
    before = images.clone()
    result = Cutout(16)(images)
    assert torch.equal(images, before)
    gone = result == 0
    assert torch.equal(gone, gone[:1, :1].expand_as(gone))
    assert gone.any()
    assert torch.equal(result[~gone], before[~gone])


def test_odd_length_as_darts():
    # length // 2 on both sides: 5 erases as much as 4.
    torch.manual_seed(0)
    four = [erased(4) for _ in range(5)]
    torch.manual_seed(0)
    assert all(torch.equal(erased(5), mask) for mask in four)


def test_not_square_images(centre_at):
    centre_at(3, 9)
    gone = Cutout(4)(torch.ones(1, 4, 10))[0] == 0
    assert gone.nonzero().tolist() == [[row, column] for row in (1, 2, 3) for column in (7, 8, 9)]


@pytest.mark.parametrize("length", [0, -2])
def test_bad_length(length):
    with pytest.raises(ValueError, match=f"`cutout_length` must be 1 pixel or more, got {length}"):
        Cutout(length)
