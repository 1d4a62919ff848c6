import random
from collections import Counter
from itertools import combinations

import pytest

from halfnas.spaces import NONE, NUMBERS_PER_EDGE, DartsSpace, Mask, NASBench201Space, sample_genotype

DARTS = DartsSpace(init_channels=4, num_cells=3)
BENCH = NASBench201Space(init_channels=4, num_cells=3)


def test_a_worked_example():
    """The numbers of an edge: its rank among those of its node, then the place of its operation among those kept."""
    mask = Mask.full(DARTS)
    ranks = [0.3, 0.2, 0.9, 0.1, 0.5, 0.4, 0.3, 0.2, 0.1, 0.9, 0.8, 0.0, 0.7, 0.6]  # of the edges of nodes 2, 3, 4, 5
    places = [0.0, 0.99, 0.5, 1 / 7, 2 / 7, 0.6, 0.2, 0.9, 0.3, 0.4, 0.1, 0.45, 0.0, 0.7]
    numbers = [number for pair in zip(ranks, places, strict=True) for number in pair]
    genotype = sample_genotype(DARTS, mask, iter(numbers * 2).__next__)
    names = [name for name in DARTS.candidates("normal")[0] if name != NONE]
    assert genotype.normal == genotype.reduce == (
        (names[0], 0), (names[6], 1),  # both edges of node 2
        (names[1], 1), (names[2], 2),  # of node 3: ranks 0.9, 0.1, 0.5
        (names[6], 2), (names[2], 3),  # of node 4: ranks 0.4, 0.3, 0.2, 0.1
        (names[3], 2), (names[4], 4),  # of node 5: ranks 0.9, 0.8, 0.0, 0.7, 0.6
    )  # fmt: skip


@pytest.mark.parametrize("space", [DARTS, BENCH])
def test_every_draw_is_an_architecture_of_the_mask(space):
    mask = Mask.random(space, 0.4, 3)
    draw = random.Random(0)
    for _ in range(50):
        genotype = sample_genotype(space, mask, draw.random)
        space.check_genotype(genotype)
        for name, genes in genotype.cells.items():
            for edge, (operation, _) in zip(space.kinds[name].edges_of(genes), genes, strict=True):
                assert operation in mask.kept[name][edge]


def test_it_always_uses_up_the_same_numbers():
    numbers = iter([0.5] * NUMBERS_PER_EDGE * 28)
    sample_genotype(DARTS, Mask.full(DARTS), numbers.__next__)
    with pytest.raises(StopIteration):
        next(numbers)


def test_edges_and_operations_are_drawn_uniformly():
    mask, draw, count = Mask.random(DARTS, 0.5, 1), random.Random(0), 4000
    drawn = [sample_genotype(DARTS, mask, draw.random) for _ in range(count)]
    pairs = Counter(tuple(sorted(source for _, source in genotype.normal[6:8])) for genotype in drawn)
    assert set(pairs) == set(combinations(range(5), 2))  # node 5 reads 2 of 5 states
    for number in pairs.values():
        assert abs(number - count / 10) < 5 * (count * 0.1 * 0.9) ** 0.5
    kept = [name for name in mask.kept["normal"][0] if name != NONE]  # the first edge, always there
    operations = Counter(genotype.normal[0][0] for genotype in drawn)
    assert set(operations) == set(kept)
    for number in operations.values():
        assert abs(number - count / len(kept)) < 5 * (count / len(kept)) ** 0.5


def test_none_is_drawn_where_a_cell_may_have_it():
    draw = random.Random(0)
    drawn = [sample_genotype(BENCH, Mask.full(BENCH), draw.random) for _ in range(50)]
    assert any(genotype.count(NONE, "cell") for genotype in drawn)
