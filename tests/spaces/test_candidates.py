import numpy as np
import pytest

from halfnas.spaces import DartsSpace, Mask
from halfnas.spaces.candidates import Candidates, Place
from other_space import UnevenSpace

UNEVEN = UnevenSpace()
DARTS = DartsSpace(init_channels=16, num_cells=8)
NONES = (0, 5, 12)


def test_places_are_in_the_order_of_the_space():
    candidates = Candidates.of(UNEVEN)

    assert candidates.places == (
        Place("first", 0, "none"), Place("first", 0, "a"), Place("first", 0, "b"), Place("first", 0, "c"),
        Place("first", 1, "a"), Place("first", 1, "none"),
        Place("second", 0, "a"), Place("second", 0, "b"), Place("second", 0, "c"),
        Place("second", 1, "b"),
        Place("second", 2, "b"), Place("second", 2, "a"), Place("second", 2, "none"),
    )  # fmt: skip
    assert [candidates.index[place] for place in candidates.places] == list(range(13))
    assert candidates.edges.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 4, 4]
    assert candidates.is_none.tolist() == [j in NONES for j in range(13)]


def test_a_family_is_an_operation_in_a_kind_of_cell():
    assert Candidates.of(UNEVEN).families.tolist() == [0, 1, 2, 3, 1, 0, 4, 5, 6, 5, 5, 4, 7]


def test_flags_name_candidates_on_their_own_edge():
    candidates = Candidates.of(UNEVEN)
    flags = np.zeros(13, dtype=bool)
    flags[[1, 3, 4, 6, 9, 10]] = True

    assert candidates.kept(flags) == {"first": (("a", "c"), ("a",)), "second": (("a",), ("b",), ("b",))}


def test_numbers_of_edges_and_kinds():
    candidates = Candidates.of(UNEVEN)
    assert len(candidates) == len(list(candidates)) == 13
    assert candidates.within.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2, 0, 0, 1, 2]
    assert candidates.alternatives.tolist() == [4] * 4 + [2] * 2 + [3] * 3 + [1] + [3] * 3
    assert candidates.of_kind("first") == slice(0, 6)
    assert candidates.of_kind("second") == slice(6, 13)
    assert candidates.operations("second") == ("a", "b", "c", "none")


def test_values_by_name_and_on_a_grid():
    candidates = Candidates.of(UNEVEN)
    assert candidates.named(range(13))["second"] == [{"a": 6, "b": 7, "c": 8}, {"b": 9}, {"b": 10, "a": 11, "none": 12}]
    nan = np.nan
    np.testing.assert_equal(
        candidates.grid(("second",), np.arange(13.0)), [[6, 7, 8, nan], [nan, 9, nan, nan], [11, 10, nan, 12]]
    )


def test_layers_of_a_chain_share_a_table():
    assert Candidates.of(UNEVEN).tables() == [("first",), ("second",)]
    chain = Candidates({"layer_1": [("a", "b")], "layer_2": [("b", "c", "a")]})
    [kinds] = chain.tables()
    assert kinds == ("layer_1", "layer_2")
    assert chain.operations(*kinds) == ("a", "b", "c")
    nan = np.nan
    np.testing.assert_equal(chain.grid(kinds, np.arange(5.0)), [[0, 1, nan], [4, 2, 3]])


def test_fractions_are_those_of_edges():
    kept = {"first": (("a", "b"), ("a",)), "second": (("a",), ("b",), ("b", "a", "none"))}
    found = Candidates.of(UNEVEN).fractions(kept)
    np.testing.assert_allclose(found, [0.5] * 6 + [1 / 3] * 3 + [1] * 4)


def test_of_a_mask_and_of_masks_of_a_space_that_nothing_describes():
    masks = [Mask.random(DARTS, 0.25, seed) for seed in range(3)]
    assert len(Candidates(masks[0].kept)) == 2 * 28
    together = Candidates.of_masks(masks)
    for e, names in enumerate(together.names["reduce"]):
        assert set(names) == {name for mask in masks for name in mask.kept["reduce"][e]}
        assert list(names) == sorted(names)


@pytest.mark.parametrize("space", [UNEVEN, DARTS], ids=lambda space: space.name)
def test_names_there_and_back(space):
    candidates = Candidates.of(space)
    kept = Mask.random(space, 0.5, 0).kept
    assert candidates.kept(candidates.flags(kept)) == dict(kept)
