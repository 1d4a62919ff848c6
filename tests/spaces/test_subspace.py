"""Spaces with the cells of DARTS and other candidates: S1 to S4 of RobustDARTS, and those of a yaml of one's own."""

import pytest
import torch

from halfnas import build_network, build_supernet
from halfnas.spaces import DartsSpace, Genotype, Mask, find_genotype, load_space, num_kept

PAIR = ("skip_connect", "sep_conv_3x3")
GIVEN = {"s2": PAIR, "s3": ("none", *PAIR), "s4": ("noise", "sep_conv_3x3")}
# automl/RobustDARTS, src/spaces.py, primitives_1; N: normal, R: reduce; a letter a candidate
LETTERS = {
    "k": "skip_connect", "m": "max_pool_3x3", "a": "avg_pool_3x3", "s": "sep_conv_3x3", "3": "dil_conv_3x3",
    "5": "dil_conv_5x5",
}  # fmt: skip
S1 = {
    "normal": "k3 k5 k5 ks k3 mk ks ks k3 ks mk k3 35 35",
    "reduce": "ma m3 ma ma k5 ma ms k3 k5 ma ma k5 k5 k5",
}


def small(candidates, **changes):
    return DartsSpace(init_channels=4, num_cells=3, candidates=candidates, **changes)


def test_s1():
    space = load_space("s1")
    for kind, edges in S1.items():
        assert space.candidates(kind) == tuple(tuple(LETTERS[letter] for letter in edge) for edge in edges.split())


@pytest.mark.parametrize("name", GIVEN)
def test_the_others_have_the_same_candidates_everywhere(name):
    space = load_space(name)
    assert {space.candidates(kind) for kind in space.kinds} == {(GIVEN[name],) * 14}


@pytest.mark.parametrize("name", ["s1", *GIVEN])
def test_cells_and_sizes_are_those_of_darts(name):
    space, darts = load_space(name), load_space("darts")
    assert space.name == name
    for kind, cell in darts.kinds.items():
        found = space.kinds[kind]
        assert [(e.source, e.target) for e in found.edges] == [(e.source, e.target) for e in cell.edges]
        assert (found.edges_per_node, found.output) == (cell.edges_per_node, cell.output)
    assert (space.init_channels, space.num_cells, space.stem) == (darts.init_channels, darts.num_cells, darts.stem)


@pytest.mark.parametrize(("name", "kept"), [("s1", 1), ("s2", 1), ("s3", 2), ("s4", 1)])
def test_what_half_keeps(name, kept):
    space = load_space(name)
    assert {num_kept(0.5, len(edge)) for kind in space.kinds for edge in space.candidates(kind)} == {kept}


@pytest.mark.parametrize("name", ["s1", *GIVEN])
def test_a_genotype_names_its_space_and_is_built_in_it(name):
    torch.manual_seed(0)
    space = load_space(name, init_channels=4, num_cells=3)
    genotype = build_supernet(space, Mask.random(space, 0.5, seed=0)).genotype()
    assert genotype.space == name
    network = build_network(genotype, init_channels=4, num_cells=3, num_classes=10)
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    assert network.space.name == name


def test_names_tell_spaces_apart():
    darts, s1 = small(None), load_space("s1")
    with pytest.raises(ValueError, match="the mask belongs to space 's1', not to 'darts'"):
        Mask.random(s1, 0.5, seed=0).check(darts)
    with pytest.raises(ValueError, match="the genotype belongs to space 'darts', not to 's1'"):
        s1.check_genotype(find_genotype("darts_v2"))
    disguised = Genotype("s1", find_genotype("darts_v2").cells)
    with pytest.raises(
        ValueError, match="cell 'normal': unknown operation 'sep_conv_3x3'; known: skip_connect, dil_con"
    ):
        s1.check_genotype(disguised)


def test_ways_to_write_candidates():
    edges = [list(PAIR)] * 13 + [["max_pool_3x3"]]
    space = small({"normal": list(PAIR), "reduce": edges})
    assert space.candidates("normal") == (PAIR,) * 14
    assert space.candidates("reduce") == (*(PAIR,) * 13, ("max_pool_3x3",))
    assert small(PAIR).candidates("reduce") == (PAIR,) * 14


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"normal": PAIR}, "`candidates` must name the cells normal, reduce, got normal"),
        ({"normal": PAIR, "reduced": PAIR}, "`candidates` must name the cells normal, reduce, got normal, reduced"),
        ({}, "`candidates` must name the cells normal, reduce, got none"),
        (
            {"normal": [PAIR] * 13, "reduce": PAIR},
            "`candidates` of cell 'normal' must be one list for all edges, or 14 lists, one an edge; got 13 lists",
        ),
        (
            {"normal": [PAIR, "none"], "reduce": PAIR},
            "`candidates` of cell 'normal': names and lists of names are mixed",
        ),
        (
            [*PAIR, "conv_7x7"],
            "`candidates` of edge 0 of cell 'normal': unknown operation 'conv_7x7'; known: none, .*, noise",
        ),
        (["none"], r"`candidates` of edge 0 of cell 'normal' must have an operation besides 'none', got \['none'\]"),
        ([], r"`candidates` of edge 0 of cell 'normal' must have an operation besides 'none', got \[\]"),
        (
            {"normal": PAIR, "reduce": [PAIR] * 13 + [(*PAIR, "skip_connect")]},
            "`candidates` of edge 13 of cell 'reduce' name an operation twice: skip_connect, sep_conv_3x3, ",
        ),
    ],
)
def test_refused_candidates(candidates, message):
    with pytest.raises(ValueError, match=message):
        small(candidates)
