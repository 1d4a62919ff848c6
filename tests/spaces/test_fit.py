"""Whether masks fit a space, and keep what their ratio says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfnas.pruning.competition import SCOPES, Competition
from halfnas.spaces import Mask, load_space, num_kept
from halfnas.spaces.load import CONF

SPACES = {path.stem: load_space(path.stem) for path in sorted((CONF / "space").glob("*.yaml"))}
DARTS = SPACES["darts"]


def read_back(mask):
    return Mask.from_json(mask.to_json(), "mask.json")


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("scope", SCOPES)
@given(ratio=st.floats(0, 1, exclude_min=True), seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_what_pruners_write_is_read(name, scope, ratio, seed):
    space = SPACES[name]
    candidates = Competition(space, ratio, scope)
    scores = np.random.default_rng(seed).normal(size=len(candidates))
    kept = np.ones(len(candidates), dtype=bool)
    kept[candidates.remove(kept, scores, candidates.targets)] = False
    mask = replace(candidates.mask(kept), ratio=ratio, pruner="nngp", seed=seed)
    read_back(mask).check(space)
    read_back(Mask.random(space, ratio, seed)).check(space)


@pytest.mark.parametrize("name", SPACES)
def test_nothing_pruned(name):
    mask = read_back(Mask.full(SPACES[name]))
    assert mask.ordered(SPACES[name]) == mask


@pytest.mark.parametrize(
    ("ratio", "pruner", "said"),
    [(0.25, "random", "0.25"), (0.9, "nngp", "0.9"), (1.0, "random", "1"), (0.5 - 1 / 8, "random", "0.375")],
)
def test_a_ratio_that_contradicts_what_is_kept(ratio, pruner, said):
    mask = replace(Mask.random(DARTS, 0.5, 0), ratio=ratio, pruner=pruner)
    mask.check(DARTS)  # on its way
    with pytest.raises(ValueError, match=rf"^mask\.json: `ratio` {said} contradicts .*, 112 of 224 candidates: "):
        read_back(mask).check(DARTS)
    with pytest.raises(ValueError, match=r"leave out `ratio` and `pruner` where no pruner made the mask$"):
        read_back(mask).ordered(DARTS)


def test_a_pruning_of_nothing_keeps_everything():
    with pytest.raises(ValueError, match=r"`ratio` 0.5 contradicts what is kept, 224 of 224"):
        read_back(replace(Mask.full(DARTS), ratio=0.5)).check(DARTS)


def test_one_candidate_more_than_the_ratio():
    mask = Mask.random(DARTS, 0.5, 0)
    fuller = next(iter(set(DARTS.candidates("normal")[0]) - set(mask.kept["normal"][0])))
    first = (*mask.kept["normal"][0], fuller)
    changed = replace(mask, kept={**mask.kept, "normal": (first, *mask.kept["normal"][1:])})
    with pytest.raises(ValueError, match="113 of 224"):
        read_back(changed).check(DARTS)
    moved = changed.without("normal", 1, next(name for name in mask.kept["normal"][1] if name != "none"))
    read_back(moved).check(DARTS)  # as pruning whole cells may leave it


def test_what_nobody_pruned_may_keep_anything():
    by_hand = replace(Mask.random(DARTS, 0.5, 0), ratio=1.0, pruner="none")
    read_back(by_hand).check(DARTS)
    content = {key: value for key, value in by_hand.to_json().items() if key not in ("ratio", "pruner", "seed")}
    Mask.from_json(content).check(DARTS)


def test_a_smaller_mask_is_of_no_file():
    mask = read_back(Mask.random(DARTS, 0.5, 0))
    operation = next(name for name in mask.kept["normal"][0] if name != "none")
    smaller = mask.without("normal", 0, operation)
    smaller.check(DARTS)
    assert (mask.source, smaller.source) == ("mask.json", "")


def test_the_file_is_named():
    mask = Mask.random(DARTS, 0.5, 0)
    with pytest.raises(ValueError, match=r"^mask\.json: the mask belongs to space 'darts', not to 'nasbench201'$"):
        read_back(mask).check(SPACES["nasbench201"])
    with pytest.raises(ValueError, match=r"^the mask belongs to space"):
        mask.check(SPACES["nasbench201"])


def test_num_kept_is_that_of_the_contract():
    assert [num_kept(0.5, 8), num_kept(0.5, 5), num_kept(0.01, 8)] == [4, 3, 1]
