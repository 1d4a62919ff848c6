"""Chains of layers: one row a layer instead of a picture a layer."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from halfnas.drawing import draw_genotype, draw_mask, draw_strengths, genotype_to_dot
from halfnas.drawing.summary import describe_genotype
from halfnas.spaces import Genotype, Mask, load_space
from halfnas.spaces.nasbench_macro import from_architecture_string

SPACES = {name: load_space(name) for name in ("nasbench_macro", "mobilenet")}


def last(space):
    """Every layer has its last candidate."""
    cells = {kind: ((space.candidates(kind)[0][-1], 0),) for kind in space.kinds}
    return Genotype(space.name, cells, dict.fromkeys(cells, (1,)))


@pytest.mark.parametrize(("name", "lines"), [("nasbench_macro", 2), ("mobilenet", 3)])
def test_layers_are_boxes_in_lines(name, lines):
    space = SPACES[name]
    genotype = last(space)
    figure = draw_genotype(genotype, space, title="found")
    [axes] = figure.axes
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    assert [box.get_gid() for box in boxes] == [
        f"gene:{kind}:0->1:{genes[0][0]}" for kind, genes in genotype.cells.items()
    ]
    assert sum(isinstance(patch, FancyArrowPatch) for patch in axes.patches) == len(boxes) - 1
    assert len({box.get_y() for box in boxes}) == lines
    written = [text.get_text() for text in axes.texts]
    assert written[1::2] == [str(number) for number in range(1, len(boxes) + 1)]
    assert written[::2] == [genes[0][0] for genes in genotype.cells.values()]
    renderer = FigureCanvasAgg(figure).get_renderer()
    extents = [box.get_window_extent(renderer) for box in boxes]
    assert not any(a.overlaps(b) for a, b in combinations(extents, 2))
    for box, text in zip(extents, axes.texts[::2], strict=True):
        label = text.get_window_extent(renderer)
        assert box.x0 < label.x0 < label.x1 < box.x1
    assert figure.get_figwidth() < 10
    assert [text.get_text() for text in figure.legends[0].get_texts()] in (["convolution"], ["skip", "convolution"])


@pytest.mark.parametrize("name", SPACES)
def test_masks_and_strengths_are_one_grid(name):
    space = SPACES[name]
    mask = Mask.random(space, 0.5, seed=0)
    strengths = {kind: [dict.fromkeys(edge, 0.5) for edge in edges] for kind, edges in mask.kept.items()}
    for figure in (draw_mask(mask, space), draw_strengths(strengths, space)):
        axes = figure.axes[0]
        assert axes.get_title() == "layers"
        assert [label.get_text() for label in axes.get_yticklabels()] == list(space.kinds)
        columns = [label.get_text() for label in axes.get_xticklabels()]
        assert set(columns) == {operation for kind in space.kinds for operation in space.candidates(kind)[0]}
        tops = {}
        for patch in axes.patches:
            _, kind, edge, operation = patch.get_gid().split(":")
            tops.setdefault(kind, set()).add(round(patch.get_y(), 6))
            assert edge == "0"
            assert operation in space.candidates(kind)[0]
        assert all(len(found) == 1 for found in tops.values())
        assert len(set.union(*tops.values())) == len(space.kinds)


def test_dot():
    text = genotype_to_dot(from_architecture_string("01200000"), SPACES["nasbench_macro"])
    assert '  "layer_2" [label="mbconv_3x3_e3", color="#56B4E9"];' in text
    assert '  "layer_7" -> "layer_8";' in text
    assert text.count("->") == 7
    assert "cluster" not in text


def test_in_words():
    genotype = from_architecture_string("01200000")
    assert describe_genotype(genotype) == (
        "Layers: 1 skip_connect  2 mbconv_3x3_e3  3 mbconv_5x5_e6  4 skip_connect  5 skip_connect  6 skip_connect  "
        "7 skip_connect  8 skip_connect"
    )
    assert SPACES["nasbench_macro"].architecture_string(genotype) == "01200000"
    assert SPACES["mobilenet"].architecture_string(last(SPACES["mobilenet"])) is None
