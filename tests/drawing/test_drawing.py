import importlib
import io
import random
import re
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from halfnas.drawing import cells, draw_genotype, draw_mask, draw_strengths, genotype_to_dot, grids, kit, layout, panels
from halfnas.spaces import CellKind, Edge, Genotype, Mask, find_genotype, load_space, published_cells

DARTS = load_space("darts")


def scored_mask(space):
    """A mask that keeps the best half of made-up scores; each edge's scores are i + 0.25 in a shuffled order."""
    draw = random.Random(0)
    importance, kept = {}, {}
    for kind in space.kinds:
        importance[kind], kept[kind] = [], []
        for names in space.candidates(kind):
            order = draw.sample(names, len(names))
            importance[kind].append({name: order.index(name) + 0.25 for name in names})
            kept[kind].append(tuple(order[len(order) // 2 :]))
    return Mask(space.name, kept, 0.5, "nngp", 7, importance).ordered(space)


def by_gid(drawn, prefix):
    """Patches of an axes, or of all axes of a figure, whose gid starts so."""
    panels = drawn.axes if isinstance(drawn, Figure) else [drawn]
    patches = [patch for axes in panels for patch in axes.patches if (patch.get_gid() or "").startswith(prefix)]
    found = {patch.get_gid(): patch for patch in patches}
    assert len(found) == len(patches), "a gid occurs twice"
    return found


def texts(axes):
    return Counter(text.get_text() for text in axes.texts)


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    return buffer.getvalue()


def check_nothing_overlaps(figure):
    """Boxes lie apart, text lies in its box, and an arrow meets no box but its ends and its own label."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
        extents = [b.get_window_extent(renderer) for b in boxes]
        assert all(not a.overlaps(b) for a, b in combinations(extents, 2))
        labels = [text.get_window_extent(renderer) for text in axes.texts]
        for label in labels:
            assert sum(e.x0 < label.x0 and label.x1 < e.x1 for e in extents if e.y0 < label.y0 and label.y1 < e.y1) == 1
        for arrow in (patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)):
            (line,) = arrow._path_original.interpolated(1).to_polygons(closed_only=False)
            points = axes.transData.transform(line)
            met = 0
            for a, b in pairwise(points):
                middle = (a + b) / 2
                met += sum(e.x0 + 1 < middle[0] < e.x1 - 1 and e.y0 < middle[1] < e.y1 for e in extents)
            assert met <= 1, arrow.get_gid()


@pytest.mark.parametrize("name", sorted(published_cells()))
def test_published_cells_are_drawn_whole_and_readable(name):
    genotype = find_genotype(name)
    figure = draw_genotype(genotype, DARTS, title=name)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == name
    assert [axes.get_title() for axes in figure.axes] == ["normal cell", "reduce cell"]
    for axes, (kind, genes) in zip(figure.axes, genotype.cells.items(), strict=True):
        assert texts(axes) == Counter(operation for operation, _ in genes) + Counter(
            ["$c_{k-2}$", "$c_{k-1}$", "0", "1", "2", "3", "$c_{k}$"]
        )
        wanted = {f"gene:{kind}:{source}->{2 + i // 2}:{operation}" for i, (operation, source) in enumerate(genes)}
        assert set(by_gid(axes, "gene:")) == wanted
        assert set(by_gid(axes, "concat:")) == {f"concat:{kind}:{state}" for state in (2, 3, 4, 5)}
        assert sum(isinstance(patch, FancyArrowPatch) for patch in axes.patches) == 8 + 4
    assert len(png(figure)) > 10_000
    check_nothing_overlaps(figure)


def test_any_space_is_drawn(other, other_genotype):
    figure = draw_genotype(other_genotype, other)
    first, second = figure.axes
    assert figure.get_suptitle() == ""
    assert [axes.get_title() for axes in figure.axes] == ["cell", "stage cell"]
    operations = Counter(operation for operation, _ in other_genotype.cells["cell"])
    assert texts(first) == operations + Counter(["$c_{k-1}$", "0", "1", "2", "$c_{k}$"])
    # all three inputs are shown, though the cell reads only one of them
    assert texts(second) == Counter(
        ["identity", "attention", "$c_{k-3}$", "$c_{k-2}$", "$c_{k-1}$", "0", "1", "$c_{k}$"]
    )
    assert len(by_gid(first, "gene:")) == 6
    assert set(by_gid(second, "gene:")) == {"gene:stage:2->3:identity", "gene:stage:3->4:attention"}
    assert set(by_gid(second, "concat:")) == {"concat:stage:3", "concat:stage:4"}
    check_nothing_overlaps(figure)


def test_families_have_colours_and_a_legend_of_those_used():
    figure = draw_genotype(find_genotype("darts_v2"), DARTS)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "skip", "pooling", "dilated", "separable", "concatenation",
    ]  # fmt: skip
    colour = {
        text.get_text(): mpl.colors.to_hex(line.get_color())
        for text, line in zip(legend.texts, legend.get_lines(), strict=True)
    }
    assert len(set(colour.values())) == 5
    family = {"skip_connect": "skip", "max_pool_3x3": "pooling", "dil_conv_3x3": "dilated", "sep_conv_3x3": "separable"}
    for gid, arrow in by_gid(figure, "gene:").items():
        assert mpl.colors.to_hex(arrow.get_edgecolor()) == colour[family[gid.rsplit(":", 1)[1]]]
    for arrow in by_gid(figure, "concat:").values():
        assert mpl.colors.to_hex(arrow.get_edgecolor()) == colour["concatenation"]
    no_dilated = draw_genotype(find_genotype("darts_v1"), DARTS).legends[0]
    assert "dilated" not in [text.get_text() for text in no_dilated.get_texts()]


def test_edges_without_signal_are_dashed(other, other_genotype):
    genes = (("none", 0), *other_genotype.cells["cell"][1:])
    genotype = Genotype("other", {**other_genotype.cells, "cell": genes})
    figure = draw_genotype(genotype, other)
    arrows = by_gid(figure, "gene:") | by_gid(figure, "concat:")
    dashed = {gid for gid, arrow in arrows.items() if arrow.get_linestyle() == "--"}
    assert dashed == {"gene:cell:0->1:none"}
    labels = {line.get_label(): line.get_linestyle() for line in figure.legends[0].get_lines()}
    assert [label for label, line in labels.items() if line == "--"] == ["none"]
    assert '"cell_0" -> "cell_1" [label="none", color="#8C8C8C", style=dashed];' in genotype_to_dot(genotype, other)


def test_a_single_output_is_no_concatenation(make_other, other, other_genotype):
    cell = make_other({"cell": other.kinds["cell"]})
    figure = draw_genotype(Genotype("other", {"cell": other_genotype.cells["cell"]}), cell)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["skip", "pooling", "convolution", "output"]


def test_drawing_is_repeatable_and_leaves_no_global_state():
    before, state = dict(mpl.rcParams), random.getstate()
    first, second = (draw_genotype(find_genotype("p_darts"), DARTS) for _ in range(2))
    draw_mask(scored_mask(DARTS), DARTS)
    assert png(first) == png(second)
    assert dict(mpl.rcParams) == before
    assert random.getstate() == state


def test_pyplot_is_not_needed(monkeypatch, other):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now raises
    for module in (kit, layout, panels, cells, grids):
        importlib.reload(module)
    assert len(png(cells.draw_genotype(find_genotype("snas"), DARTS))) > 10_000
    assert len(png(grids.draw_mask(Mask.random(other, 0.5, seed=0), other))) > 2_000


def test_a_title_may_hold_any_characters(other, other_genotype):
    figure = draw_genotype(other_genotype, other, title="$5 {a_b} 100% \\frac $")
    assert len(png(figure)) > 5_000
    long = draw_genotype(other_genotype, other, title="wide" * 60 + "\n\nand in three lines")
    renderer = FigureCanvasAgg(long).get_renderer()
    title = long._suptitle.get_window_extent(renderer)
    assert title.x0 > 0
    assert title.x1 < long.bbox.x1
    assert not any(title.overlaps(axes.get_tightbbox(renderer)) for axes in long.axes)


def test_many_kinds_are_broken_into_rows(make_other, other, other_genotype):
    wide = make_other(dict.fromkeys("abcd", other.kinds["cell"]))
    genotype = Genotype("other", dict.fromkeys("abcd", other_genotype.cells["cell"]))
    figure = draw_genotype(genotype, wide, title="wide")
    places = [axes.get_position() for axes in figure.axes]
    assert len({round(place.y0, 6) for place in places}) > 1
    assert not any(a.overlaps(b) for a, b in combinations(places, 2))
    assert all(min(place.min) >= 0 and max(place.max) <= 1 for place in places)


def colour_of(figure, kind, edge, operation):
    (patch,) = by_gid(figure, f"candidate:{kind}:{edge}:{operation}").values()
    return patch.get_facecolor()


def is_framed(patch):
    return patch.get_linewidth() > 0 and patch.get_edgecolor()[3] > 0 and patch.get_hatch() is None


@pytest.mark.parametrize("name", ["darts", "other"])
def test_mask_with_importance(name, other):
    space = {"darts": DARTS, "other": other}[name]
    mask = scored_mask(space)
    figure = draw_mask(mask, space)
    assert "nngp" in figure.get_suptitle()
    assert len(figure.axes) == len(space.kinds)
    patches = by_gid(figure, "candidate:")
    assert len(patches) == sum(len(names) for kind in space.kinds for names in space.candidates(kind))
    for axes, kind in zip(figure.axes, space.kinds, strict=True):
        scores = [score for edge in mask.importance[kind] for score in edge.values()]
        assert texts(axes) == Counter(f"{score:.3g}" for score in scores)
        for edge, names in enumerate(space.candidates(kind)):
            kept = {name for name in names if is_framed(patches[f"candidate:{kind}:{edge}:{name}"])}
            assert kept == set(mask.kept[kind][edge])
            # darker where the score is higher
            ranked = sorted(names, key=lambda name: mask.importance[kind][edge][name])
            light = [sum(colour_of(figure, kind, edge, name)[:3]) for name in ranked]
            assert all(a > b for a, b in pairwise(light))
    assert not any(patch.get_hatch() for patch in patches.values())
    assert len(png(figure)) > 5_000


def test_mask_colours_compare_within_an_edge_only(other):
    mask = scored_mask(other)
    importance = {kind: [dict(edge) for edge in edges] for kind, edges in mask.importance.items()}
    importance["cell"][3] = {name: -1e-7 * (9 - score) for name, score in importance["cell"][3].items()}
    figure, scaled = draw_mask(mask, other), draw_mask(replace(mask, importance=importance), other)
    for name in other.candidates("cell")[3]:
        assert colour_of(scaled, "cell", 3, name) == colour_of(figure, "cell", 3, name)
    assert texts(scaled.axes[0]).keys() >= {"-4.75e-7", "-8.75e-7"}


def test_mask_with_equal_scores_gives_equal_colours():
    mask = scored_mask(DARTS)
    importance = {kind: [dict.fromkeys(edge, 0.5) for edge in edges] for kind, edges in mask.importance.items()}
    figure = draw_mask(replace(mask, importance=importance), DARTS)
    assert len({colour_of(figure, "normal", 0, name) for name in DARTS.candidates("normal")[0]}) == 1


def test_mask_without_importance():
    mask = Mask.random(DARTS, 0.5, seed=1)
    figure = draw_mask(mask, DARTS)
    for axes, kind in zip(figure.axes, DARTS.kinds, strict=True):
        assert texts(axes) == Counter()
        assert axes.get_title() == f"{kind} cell"
        assert [label.get_text() for label in axes.get_xticklabels()] == list(DARTS.candidates(kind)[0])
        assert [label.get_text() for label in axes.get_yticklabels()][:3] == [
            r"$c_{k-2}$ $\to$ 0", r"$c_{k-1}$ $\to$ 0", r"$c_{k-2}$ $\to$ 1",
        ]  # fmt: skip
        assert axes.get_yticklabels()[-1].get_text() == r"2 $\to$ 3"
    for gid, patch in by_gid(figure, "candidate:").items():
        _, kind, edge, name = gid.split(":")
        assert is_framed(patch) == (name in mask.kept[kind][int(edge)])
        assert (patch.get_hatch() is None) == is_framed(patch)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["kept", "pruned"]
    assert len(png(figure)) > 5_000


def test_mask_with_missing_scores():
    mask = scored_mask(DARTS)
    importance = {kind: [dict(edge) for edge in edges] for kind, edges in mask.importance.items()}
    kept, pruned = (
        mask.kept["normal"][0][0],
        next(n for n in DARTS.candidates("normal")[1] if n not in mask.kept["normal"][1]),
    )
    importance["normal"][0][kept] = None
    importance["normal"][1][pruned] = float("nan")
    del importance["reduce"]
    figure = draw_mask(replace(mask, importance=importance), DARTS)
    assert sum(texts(figure.axes[0]).values()) == 14 * 8 - 2
    assert texts(figure.axes[1]) == Counter()
    patches = by_gid(figure, "candidate:normal:")
    assert is_framed(patches[f"candidate:normal:0:{kept}"])
    assert patches[f"candidate:normal:1:{pruned}"].get_hatch()
    assert "pruned without a score" in [text.get_text() for text in figure.legends[0].get_texts()]
    full = draw_mask(Mask.full(DARTS), DARTS)
    assert all(is_framed(patch) for patch in by_gid(full, "candidate:").values())


def test_candidates_stand_where_their_row_and_column_say(other):
    axes = draw_mask(Mask.full(other), other).axes[1]
    columns = dict(zip([label.get_text() for label in axes.get_xticklabels()], axes.get_xticks(), strict=True))
    assert list(columns) == ["mbconv_3", "mbconv_5", "identity", "attention"]
    for gid, patch in by_gid(axes, "candidate:").items():
        _, _, edge, name = gid.split(":")
        assert isinstance(patch, Rectangle)
        assert patch.get_center() == pytest.approx((columns[name], axes.get_yticks()[int(edge)]))


def test_strengths_of_a_masked_supernet():
    mask = scored_mask(DARTS)
    strengths = {
        kind: [{name: 0.1 * (i + 1) for i, name in enumerate(edge)} for edge in edges]
        for kind, edges in mask.kept.items()
    }
    figure = draw_strengths(strengths, DARTS)
    normal, reduce, bar = figure.axes
    assert texts(normal) == texts(reduce) == Counter({"0.1": 14, "0.2": 14, "0.3": 14, "0.4": 14})
    assert bar.get_xlim() == pytest.approx((0.0, 0.4))
    patches = by_gid(figure, "candidate:")
    assert set(patches) == {
        f"candidate:{kind}:{e}:{name}"
        for kind, edges in mask.kept.items()
        for e, edge in enumerate(edges)
        for name in edge
    }
    light = [sum(colour_of(figure, "normal", 0, name)[:3]) for name in mask.kept["normal"][0]]
    assert all(a > b for a, b in pairwise(light))
    # unlike scores, weights compare between edges
    assert colour_of(figure, "normal", 0, mask.kept["normal"][0][2]) == colour_of(
        figure, "reduce", 9, mask.kept["reduce"][9][2]
    )
    assert len(png(figure)) > 5_000


@pytest.mark.parametrize("weight", [0.0, float("nan")])
def test_strengths_of_a_diverged_search_are_drawn(weight):
    strengths = {kind: [dict.fromkeys(edge, weight) for edge in DARTS.candidates(kind)] for kind in DARTS.kinds}
    figure = draw_strengths(strengths, DARTS)
    assert texts(figure.axes[0]) == Counter({f"{weight:g}": 14 * 8})
    assert len(png(figure)) > 5_000


def test_strengths_of_another_space_are_refused():
    strengths = {kind: [{} for _ in DARTS.candidates(kind)] for kind in DARTS.kinds}
    with pytest.raises(ValueError, match=r"`strengths` has cells \['normal'\], space darts has \['normal', 'reduce'\]"):
        draw_strengths({"normal": strengths["normal"]}, DARTS)
    with pytest.raises(ValueError, match=r"cell 'reduce' has 14 edges, `strengths` has 13"):
        draw_strengths({**strengths, "reduce": strengths["reduce"][1:]}, DARTS)
    with pytest.raises(ValueError, match=r"edge 0 of cell 'reduce': unknown operation 'conv_7x7'"):
        draw_strengths({**strengths, "reduce": [{"conv_7x7": 1.0}, *strengths["reduce"][1:]]}, DARTS)


@pytest.mark.parametrize("name", sorted(published_cells()))
def test_dot_has_every_gene(name):
    genotype = find_genotype(name)
    lines = [line.strip() for line in genotype_to_dot(genotype, DARTS).splitlines()]
    for kind, genes in genotype.cells.items():
        arrows = [
            re.fullmatch(rf'"{kind}_(\d)" -> "{kind}_(\d)" \[label="(\w+)", color="#\w{{6}}"\];', line)
            for line in lines
        ]
        found = [(match[3], int(match[1]), int(match[2])) for match in arrows if match]
        assert found == [(operation, source, 2 + i // 2) for i, (operation, source) in enumerate(genes)]
        assert sum(line.startswith(f'"{kind}_') and f'-> "{kind}_output"' in line for line in lines) == 4
        assert f'label="{kind} cell";' in lines
        assert f'"{kind}_0" [label="c_{{k-2}}"];' in lines
        assert f'"{kind}_5" [label="3"];' in lines
    text = "".join(lines)
    assert text.count("{") == text.count("}")


def test_dot_quotes_names(make_other):
    space = make_other({'a "b"': CellKind(1, (Edge(0, 1, ('3x3 "conv" \\',)),), None, (1,))})
    text = genotype_to_dot(Genotype("other", {'a "b"': (('3x3 "conv" \\', 0),)}), space)
    assert r'"a \"b\"_0" -> "a \"b\"_1" [label="3x3 \"conv\" \\", color="#56B4E9"];' in text


@pytest.mark.parametrize("draw", [draw_genotype, genotype_to_dot])
def test_genotype_of_another_space_is_refused(draw, other):
    with pytest.raises(ValueError, match="belongs to space 'darts', not to 'other'"):
        draw(find_genotype("darts_v2"), other)


def test_mask_of_another_space_is_refused(other):
    with pytest.raises(ValueError, match="belongs to space 'darts', not to 'other'"):
        draw_mask(Mask.full(DARTS), other)
