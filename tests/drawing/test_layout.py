from itertools import combinations, pairwise

import pytest

from halfnas.drawing.layout import CLEARANCE, OUTPUT, CellLayout, arrows, edge_name, state_name, states
from halfnas.spaces import CellKind, Edge, Genotype, find_genotype, load_space, published_cells

DARTS = load_space("darts")


def box(layout, item):
    """Left, right, upper and lower side."""
    (width, height), x, y = layout.sizes[item], layout.x[item], layout.y[item]
    return x - width / 2, x + width / 2, y - height / 2, y + height / 2


def met(layout, line):
    """The boxes that a line meets: those that the middle of one of its short pieces lies in."""
    found = set()
    for a, b in pairwise(line):
        for item in layout.text:
            x, y = (a + b) / 2
            left, right, top, bottom = box(layout, item)
            if left + 1e-6 < x < right - 1e-6 and top < y < bottom:
                found.add(item)
    return found


def check(layout):
    """Things in a column are apart, all lie within the size, and an arrow meets no box but its own label."""
    columns = {}
    for item in layout.x:
        columns.setdefault(round(layout.x[item], 6), []).append(item)
        left, right, top, bottom = box(layout, item)
        assert left >= -1e-9
        assert top >= -1e-9
        assert right <= layout.size[0] + 1e-9
        assert bottom <= layout.size[1] + 1e-9
    for column in columns.values():
        for above, below in pairwise(sorted(column, key=layout.y.get)):
            assert box(layout, below)[2] - box(layout, above)[3] >= CLEARANCE - 1e-9
    assert [route[0] for route in layout.routes] == [
        ("state", state) for state in (*(source for _, source, _ in layout.arrows), *layout.outputs)
    ]
    for number, route in enumerate(layout.routes):
        path = layout.path(route)
        (line,) = path.interpolated(1).to_polygons(closed_only=False)
        assert (line[1:, 0] > line[:-1, 0] - 1e-9).all(), "an arrow runs backwards"
        labels = {item for item in layout.text if item[:2] == ("gene", number)}
        if number < len(layout.arrows):
            operation, _, target = layout.arrows[number]
            assert route[-1] == ("state", target)
            assert [layout.text[item] for item in labels] == [operation]
            assert labels <= set(route)
        else:
            assert route[-1] == OUTPUT
            assert labels == set()
        assert met(layout, line) == labels
        assert path.vertices[0][1] == path.vertices[1][1], "it leaves level, and arrives so"
        assert path.vertices[-1][1] == path.vertices[-2][1]
        start, end = box(layout, route[0]), box(layout, route[-1])
        assert path.vertices[0][0] == pytest.approx(start[1])
        assert path.vertices[-1][0] == pytest.approx(end[0])
        assert start[2] < path.vertices[0][1] < start[3]
        assert end[2] < path.vertices[-1][1] < end[3]


@pytest.mark.parametrize("name", sorted(published_cells()))
def test_published_cells(name):
    genotype = find_genotype(name)
    for kind in DARTS.kinds:
        layout = CellLayout(genotype, DARTS, kind)
        assert layout.name == kind
        assert layout.arrows == [(op, source, 2 + i // 2) for i, (op, source) in enumerate(genotype.cells[kind])]
        assert layout.outputs == (2, 3, 4, 5)
        assert len(layout.text) == 6 + 1 + 8
        check(layout)


def test_another_space(other, other_genotype):
    for kind in other.kinds:
        check(CellLayout(other_genotype, other, kind))
    stage = CellLayout(other_genotype, other, "stage")
    assert [stage.text["state", state] for state in range(3)] == ["$c_{k-3}$", "$c_{k-2}$", "$c_{k-1}$"]
    assert stage.arrows == [("identity", 2, 3), ("attention", 3, 4)]
    # inputs that no gene reads stand with the others, in their order
    assert len({stage.x["state", state] for state in range(3)}) == 1
    assert stage.y["state", 0] < stage.y["state", 1] < stage.y["state", 2]


def test_outputs_of_the_genotype_go_before_those_of_the_space():
    genes = find_genotype("darts_v2").cells
    layout = CellLayout(Genotype("darts", genes, {"normal": (3, 5)}), DARTS, "normal")
    assert layout.outputs == (3, 5)
    assert [route[0] for route in layout.routes[8:]] == [("state", 3), ("state", 5)]
    check(layout)


def test_arrows_to_a_state_end_apart(other, other_genotype):
    layout = CellLayout(other_genotype, other, "cell")
    ends = sorted(layout.path(route).vertices[-1][1] for route in layout.routes if route[-1] == ("state", 3))
    assert len(ends) == 3
    assert all(b - a > 0.05 for a, b in pairwise(ends))


def test_a_chain_is_level(make_other):
    kind = CellKind(1, tuple(Edge(i, i + 1, ("conv",)) for i in range(4)), None, (4,))
    layout = CellLayout(
        Genotype("other", {"chain": tuple(("conv", i) for i in range(4))}), make_other({"chain": kind}), "chain"
    )
    check(layout)
    assert max(layout.y.values()) == pytest.approx(min(layout.y.values()))
    order = [("state", i) for i in range(5)]
    assert [layout.x[item] for item in order] == sorted(layout.x[item] for item in order)


def test_arrows_that_need_not_cross_do_not(make_other):
    """Two chains side by side, with the nodes in an order that would cross them."""
    edges = (Edge(1, 2, ("conv",)), Edge(0, 3, ("conv",)), Edge(2, 4, ("conv",)), Edge(3, 5, ("conv",)))
    kind = CellKind(2, edges, None, (4, 5))
    genotype = Genotype("other", {"two": (("conv", 1), ("conv", 0), ("conv", 2), ("conv", 3))})
    layout = CellLayout(genotype, make_other({"two": kind}), "two")
    check(layout)
    y = {state: layout.y["state", state] for state in range(6)}
    assert y[0] < y[1]
    assert y[3] < y[2]
    assert y[5] < y[4]


def crossings(layout):
    """How often two arrows cross between two columns."""
    links = {link for route in layout.routes for link in pairwise(route)}
    return sum(
        layout.x[a[0]] == layout.x[b[0]] and (layout.y[a[0]] - layout.y[b[0]]) * (layout.y[a[1]] - layout.y[b[1]]) < 0
        for a, b in combinations(links, 2)
    )


def test_few_arrows_cross():
    """The numbers are those of this layout when it was written; the worst of the orders tried has 11 and 10."""
    genotype = find_genotype("darts_v2")
    assert crossings(CellLayout(genotype, DARTS, "normal")) <= 3
    assert crossings(CellLayout(genotype, DARTS, "reduce")) <= 1


@pytest.mark.parametrize("name", ["darts_v2", "p_darts", "snas"])
def test_long_arrows_are_nearly_level_where_they_pass_columns(name):
    """Measured: 0.2 in. at most, and 0.4 to 0.6 in. with columns that are centred instead of aligned."""
    for kind in DARTS.kinds:
        layout = CellLayout(find_genotype(name), DARTS, kind)
        for route in layout.routes[: len(layout.arrows)]:
            heights = [layout.y[item] for item in route[1:-1]]
            assert max(heights) - min(heights) < 0.3


def test_arrows_of_a_cell():
    kind = CellKind(2, tuple(Edge(s, t, ("conv", "skip")) for t in (2, 3) for s in range(t)), 2, (2, 3))
    genotype = Genotype("other", {"cell": (("conv", 1), ("skip", 0), ("skip", 2), ("conv", 0))})
    assert arrows(genotype, "cell", kind) == [("conv", 1, 2), ("skip", 0, 2), ("skip", 2, 3), ("conv", 0, 3)]
    assert states(kind) == (0, 1, 2, 3)
    assert [state_name(state, kind) for state in states(kind)] == ["$c_{k-2}$", "$c_{k-1}$", "0", "1"]
    assert edge_name(Edge(1, 2, ()), kind) == r"$c_{k-1}$ $\to$ 0"
