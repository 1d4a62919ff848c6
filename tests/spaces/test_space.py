import pytest

from halfnas.spaces import CellKind, DartsSpace, Edge, Genotype, SearchSpace, find_genotype


@pytest.fixture
def space():
    return DartsSpace(init_channels=4, num_cells=3)


def changed(**cells):
    """darts_v2 with other genes or outputs, given as in a genotype.json."""
    return Genotype.from_json({**find_genotype("darts_v2").to_json(), **cells})


def genes(first=("sep_conv_3x3", 0), number=8):
    others = [("sep_conv_3x3", source) for source in (1, 0, 1, 0, 1, 0, 1)]
    return [list(gene) for gene in [first, *others][:number]]


def test_a_cell_that_keeps_all_edges():
    edges = tuple(Edge(source, target, ("none", "conv")) for target in (1, 2, 3) for source in range(target))
    kind = CellKind(num_inputs=1, edges=edges, edges_per_node=None, output=(3,))
    assert kind.nodes == (1, 2, 3)
    assert [kind.edges_into(node) for node in kind.nodes] == [(0,), (1, 2), (3, 4, 5)]
    assert [kind.genes_into(node) for node in kind.nodes] == [1, 2, 3]
    assert {kind.choices(edge) for edge in edges} == {("none", "conv")}


def test_a_node_with_fewer_edges_than_it_may_keep():
    edges = tuple(Edge(source, target, ("conv",)) for target in (1, 2, 3) for source in range(target))
    kind = CellKind(num_inputs=1, edges=edges, edges_per_node=2, output=(3,))
    assert [kind.genes_into(node) for node in kind.nodes] == [1, 2, 2]


def test_none_is_no_choice_where_edges_are_selected():
    edge = Edge(0, 1, ("skip", "none", "conv"))
    assert CellKind(num_inputs=1, edges=(edge,), edges_per_node=1, output=(1,)).choices(edge) == ("skip", "conv")
    assert CellKind(num_inputs=1, edges=(edge,), edges_per_node=None, output=(1,)).choices(edge) == edge.candidates


class NoPartialChannels(SearchSpace):
    name = "other"
    kinds = {}  # noqa: RUF012 - never changed

    def operation(self, name, edge, *, search):
        raise NotImplementedError

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        raise NotImplementedError


def test_a_space_without_partial_channels():
    other = NoPartialChannels(num_classes=10, in_channels=3)
    other.check_partial_channels(1)
    other.check_images(1)
    with pytest.raises(ValueError, match="the other space has no partial channels, got partial_channels=4"):
        other.check_partial_channels(4)
    with pytest.raises(ValueError, match=r"`partial_channels` must be at least 1 \(all channels\), got 0"):
        other.check_partial_channels(0)


def test_genotypes_of_the_space(space):
    space.check_genotype(find_genotype("darts_v2"))
    space.check_genotype(changed(normal=genes()))
    space.check_genotype(changed(normal_concat=[4, 5]))
    space.check_genotype(Genotype("darts", find_genotype("darts_v2").cells))  # outputs left to the space


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (Genotype("nasbench201", {"cell": (("conv", 0),)}), "belongs to space 'nasbench201', not to 'darts'"),
        (Genotype("darts", {"normal": ()}), r"has cells \['normal'\], darts has \['normal', 'reduce'\]"),
        (changed(normal=genes(number=7)), r"cell 'normal' needs 8 \(operation, source\) pairs, got 7"),
        (changed(reduce=[]), "cell 'reduce' needs 8 .* got 0"),
        (changed(normal=genes(("sep_conv_3x3", 2))), r"cell 'normal': node 2 cannot read state 2; it reads \[0, 1\]"),
        (changed(normal=genes(("conv_7x7", 0))), "cell 'normal': unknown operation 'conv_7x7'; known: max_pool_3x3, "),
        (changed(reduce=genes(("none", 0))), "cell 'reduce': unknown operation 'none'; known: max_pool_3x3, "),
        (
            changed(normal=[["sep_conv_3x3", 1], *genes()[1:]]),
            "^genotype: cell 'normal': node 2 reads state 1 twice; it has one edge from it$",
        ),
        (changed(reduce_concat=[2, 3, 3, 4]), r"output \[2, 3, 3, 4\] must be some of nodes \[2, 3, 4, 5\], each once"),
        (changed(normal_concat=[]), r"cell 'normal': output \[\] must be some of nodes \["),
        (changed(reduce_concat=[2, 6]), r"cell 'reduce': output \[2, 6\] must be some of nodes \["),
    ],
)
def test_genotypes_that_are_not_of_the_space(space, genotype, message):
    with pytest.raises(ValueError, match=message):
        space.check_genotype(genotype)
