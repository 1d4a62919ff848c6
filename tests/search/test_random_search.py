from collections import Counter

import pytest

from halfnas.search import RandomSearch
from halfnas.spaces import NONE, DartsSpace, Mask, NASBench201Space

SPACE = DartsSpace(init_channels=4, num_cells=3)


def found(mask, seed, space=SPACE):
    method = RandomSearch(space, seed=seed, epochs=50, warmup_epochs=15, batch_size=64)
    assert method.epochs == method.frozen_epochs == 0
    method.begin(mask)
    return method.genotype


def test_the_seed_decides():
    mask = Mask.random(SPACE, 0.5, 0)
    assert found(mask, 1) == found(mask, 1)
    assert len({found(mask, seed) for seed in range(20)}) == 20


def test_an_architecture_of_the_mask():
    for seed in range(10):
        mask = Mask.random(SPACE, 0.25, seed)
        genotype = found(mask, seed)
        SPACE.check_genotype(genotype)
        for edge, (operation, _) in zip(SPACE.kinds["normal"].edges_of(genotype.normal), genotype.normal, strict=True):
            assert operation in mask.kept["normal"][edge]
            assert operation != NONE


def test_the_same_seed_draws_mask_and_architecture_independently():
    """On the first edge of a random mask of one seed: every place among those kept is chosen as often."""
    space = NASBench201Space(init_channels=4, num_cells=3)
    places = Counter()
    for seed in range(600):
        mask = Mask.random(space, 0.5, seed)
        places[mask.kept["cell"][0].index(found(mask, seed, space).cell[0][0])] += 1
    assert set(places) == {0, 1, 2}
    for number in places.values():
        assert abs(number - 200) < 5 * (600 * 2 / 9) ** 0.5


def test_a_mask_of_another_space_is_refused():
    with pytest.raises(ValueError, match="belongs to space 'nasbench201', not to 'darts'"):
        found(Mask.full(NASBench201Space(init_channels=4, num_cells=3)), 0)
