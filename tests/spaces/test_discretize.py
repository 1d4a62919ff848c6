import math
from collections import Counter

import pytest
import torch

from halfnas.networks import build_supernet
from halfnas.spaces import CellKind, DartsSpace, Edge, SearchSpace, discretize

# edges into node 2: 0, 1; node 3: 2-4; node 4: 5-8; node 5: 9-13
NUM_EDGES = 14


@pytest.fixture
def space():
    return DartsSpace(init_channels=4, num_cells=3)


def normal_genes(space, changes, default=None):
    """Genes of the normal cell with `default` on all edges but those in `changes`."""
    default = {"none": 0.5, "skip_connect": 0.5} if default is None else default
    edges = [changes.get(edge, default) for edge in range(NUM_EDGES)]
    return discretize(space, {"normal": edges, "reduce": [default] * NUM_EDGES}).normal


def softmax(alpha):
    total = sum(math.exp(a) for a in alpha.values())
    return {name: math.exp(a) / total for name, a in alpha.items()}


def test_all_equal_gives_the_first_operation_and_the_lowest_states(space):
    equal = dict.fromkeys(space.candidates("normal")[0], 0.125)
    genotype = discretize(space, {"normal": [equal] * NUM_EDGES, "reduce": [equal] * NUM_EDGES})
    assert genotype.normal == genotype.reduce == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    assert genotype.normal_concat == genotype.reduce_concat == (2, 3, 4, 5)
    assert genotype.space == "darts"


def test_ties_do_not_depend_on_the_order_of_the_dictionary(space):
    backwards = dict.fromkeys(reversed(space.candidates("normal")[0]), 0.125)
    assert normal_genes(space, {}, backwards) == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4


def test_order_by_strength_within_a_node(space):
    genes = normal_genes(
        space,
        {
            0: {"sep_conv_3x3": 0.2, "skip_connect": 0.1},
            1: {"sep_conv_3x3": 0.1, "dil_conv_5x5": 0.3},
            2: {"avg_pool_3x3": 0.2},
            3: {"avg_pool_3x3": 0.1},
            4: {"sep_conv_5x5": 0.4},
        },
    )
    assert genes[:2] == (("dil_conv_5x5", 1), ("sep_conv_3x3", 0))  # both kept, the stronger first
    assert genes[2:4] == (("sep_conv_5x5", 2), ("avg_pool_3x3", 0))  # state 1 is the weakest
    assert genes[4:6] == (("skip_connect", 0), ("skip_connect", 1))  # equal: the lower states


def test_tie_for_the_last_place_goes_to_the_lower_state(space):
    tie = {"sep_conv_3x3": 0.3}
    genes = normal_genes(space, {9: {"sep_conv_3x3": 0.1}, 10: tie, 11: tie, 12: tie, 13: {"sep_conv_3x3": 0.4}})
    assert genes[6:8] == (("sep_conv_3x3", 4), ("sep_conv_3x3", 1))


def test_none_is_never_chosen_where_edges_are_selected_but_weakens_its_edge(space):
    # Edge 2 has the largest alpha of an operation, but more of `none`:
    #   e^2 / (e^3 + e^2 + 1) = 0.259 < e^0.5 / (2 + e^0.5) = 0.452 < e / (2 + e) = 0.576
    node_3 = {
        2: softmax({"none": 3.0, "sep_conv_3x3": 2.0, "skip_connect": 0.0}),
        3: softmax({"none": 0.0, "sep_conv_3x3": 1.0, "skip_connect": 0.0}),
        4: softmax({"none": 0.0, "sep_conv_3x3": 0.0, "skip_connect": 0.5}),
    }
    assert node_3[2]["sep_conv_3x3"] == pytest.approx(0.2595, abs=1e-4)
    assert node_3[2]["none"] > max(max(edge.values()) for edge in (node_3[3], node_3[4]))
    assert normal_genes(space, node_3)[2:4] == (("sep_conv_3x3", 1), ("skip_connect", 2))


def test_only_kept_operations_are_chosen(space):
    # an edge that keeps `none` and one more still has a choice
    genes = normal_genes(space, {0: {"none": 0.99, "dil_conv_3x3": 0.01}, 1: {"none": 0.999, "sep_conv_5x5": 0.001}})
    assert genes[:2] == (("dil_conv_3x3", 0), ("sep_conv_5x5", 1))


def test_kinds_do_not_mix(space):
    skip, pool = {"skip_connect": 1.0}, {"avg_pool_3x3": 1.0}
    genotype = discretize(space, {"normal": [skip] * NUM_EDGES, "reduce": [pool] * NUM_EDGES})
    assert {name for name, _ in genotype.normal} == {"skip_connect"}
    assert {name for name, _ in genotype.reduce} == {"avg_pool_3x3"}


class AllEdges(SearchSpace):
    name = "all_edges"

    @property
    def kinds(self):
        edges = tuple(Edge(source, target, ("none", "a", "b")) for target in (1, 2) for source in range(target))
        return {"cell": CellKind(num_inputs=1, edges=edges, edges_per_node=None, output=(2,))}

    def operation(self, name, edge, *, search):
        raise NotImplementedError

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        raise NotImplementedError


def test_a_space_that_keeps_all_edges_keeps_their_order():
    space = AllEdges(num_classes=10, in_channels=3)
    strengths = [{"a": 0.1, "b": 0.2}, {"a": 0.3, "b": 0.1}, {"none": 0.1, "b": 0.9}]
    genotype = discretize(space, {"cell": strengths})
    assert genotype.cell == (("b", 0), ("a", 0), ("b", 1))
    space.check_genotype(genotype)


def test_a_space_that_keeps_all_edges_may_choose_none():
    space = AllEdges(num_classes=10, in_channels=3)
    strengths = [{"none": 0.3, "b": 0.2}, {"none": 0.2, "a": 0.2}, {"none": 0.1, "b": 0.2}]
    genotype = discretize(space, {"cell": strengths})
    assert genotype.cell == (("none", 0), ("none", 0), ("b", 1))  # of equals the first in the space
    space.check_genotype(genotype)


# --- ties -------------------------------------------------------------------------------------------------------------


def all_equal(space):
    return {kind: [dict.fromkeys(names, 0.125) for names in space.candidates(kind)] for kind in space.kinds}


def test_with_a_seed_no_operation_and_no_edge_is_favoured(space):
    """400 seeds, four nodes and two kinds: each of seven operations in a seventh of 6400 genes; six standard errors."""
    genes = Counter()
    sources = Counter()
    for seed in range(400):
        genotype = discretize(space, all_equal(space), seed)
        space.check_genotype(genotype)
        genes.update(name for kind in ("normal", "reduce") for name, _ in genotype.cells[kind])
        sources.update(source for kind in ("normal", "reduce") for _, source in genotype.cells[kind][-2:])
    assert set(genes) == set(space.candidates("normal")[0]) - {"none"}
    assert all(abs(count / 6400 - 1 / 7) < 6 * math.sqrt(6 / 49 / 6400) for count in genes.values())
    assert set(sources) == set(range(5))  # two of the five edges into the last node
    assert all(abs(count / 800 - 2 / 5) < 6 * math.sqrt(6 / 25 / 800) for count in sources.values())


def test_a_seed_gives_one_genotype(space):
    found = [discretize(space, all_equal(space), seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    backwards = {
        kind: [dict(reversed(list(edge.items()))) for edge in edges] for kind, edges in all_equal(space).items()
    }
    assert discretize(space, backwards, 0) == found[0]


def test_a_seed_changes_nothing_where_no_two_are_equal(space):
    strengths = {
        kind: [{name: softmax({"x": e, "y": o})["x"] + o + 10 * e for o, name in enumerate(names)} for e, names in
               enumerate(space.candidates(kind))] for kind in space.kinds
    }  # fmt: skip
    assert {discretize(space, strengths, seed) for seed in range(5)} == {discretize(space, strengths)}


def test_a_supernet_hands_the_seed_on(space):
    supernet = build_supernet(space)
    with torch.no_grad():
        for parameter in supernet.architecture_parameters():
            parameter.zero_()
    assert supernet.genotype().normal == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    assert len({supernet.genotype(seed) for seed in range(5)}) == 5


# --- strengths that are not finite ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("operation", ["none", "sep_conv_3x3"])
def test_strengths_that_are_not_finite(space, value, operation, seed):
    strengths = all_equal(space)
    strengths["reduce"][5][operation] = value
    message = f"the strength of '{operation}' on edge 5 of cell 'reduce' is {value}: nothing is chosen"
    with pytest.raises(ValueError, match=message):
        discretize(space, strengths, seed)
