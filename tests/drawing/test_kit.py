"""What all figures share."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.lines import Line2D

import halfnas.drawing
from halfnas.drawing import kit


def test_public_names_are_looked_up_when_they_are_used():
    for name in halfnas.drawing.__all__:
        assert getattr(halfnas.drawing, name).__name__ == name
    with pytest.raises(AttributeError, match=r"module 'halfnas.drawing' has no attribute 'nothing'"):
        _ = halfnas.drawing.nothing


def test_the_table_of_a_run_needs_no_figures():
    code = "import sys, halfnas.drawing.summary; print(sorted({'matplotlib', 'networkx', 'wandb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_text_width():
    assert kit.text_width("", 8.0) == kit.text_width(" ", 8.0) == 0.0
    assert kit.text_width("sep_conv_3x3", 16.0) == pytest.approx(2 * kit.text_width("sep_conv_3x3", 8.0), rel=1e-6)
    # a digit of DejaVu Sans is 0.636 em wide
    assert kit.text_width("0" * 72, 10.0) == pytest.approx(72 * 0.636 * 10 / 72, rel=0.01)
    assert kit.text_width("$c_{k}$", 8.0) < kit.text_width("c_{k}", 8.0), "a formula is measured as it is set"


def test_names_that_fit():
    assert kit.shorten("nngp\n x") == "nngp x"
    assert kit.shorten("${a}") == r"\${a}"
    assert kit.shorten("a" * 30 + "b" * 30, 10) == "aaaa…bbbbb"
    assert kit.shorten("a" * 10, 10) == "a" * 10
    assert (kit.cell_title("normal"), kit.cell_title("cell"), kit.cell_title("my_cell")) == (
        "normal cell", "cell", "my_cell",
    )  # fmt: skip


def test_a_matrix_has_its_numbers_and_is_blank_where_there_is_none():
    _, axes = kit.new_axes(2, 2)
    kit.matrix(axes, np.array([[0.5, np.nan], [0.75, 1.0]]), ["a", "b"], low=0.5)
    assert [(text.get_text(), text.get_color()) for text in axes.texts] == [
        ("0.50", "white"), ("0.75", "black"), ("1.00", "black"),
    ]  # fmt: skip
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert axes.images[0].get_clim() == (0.5, 1)


@pytest.mark.parametrize(("names", "columns"), [(["a"], 1), (["a"] * 4, 4), (["a" * 40] * 4, 1)])
def test_a_legend_has_as_many_columns_as_fit(names, columns):
    figure, _ = kit.new_axes(2)
    kit.legend_below(figure, [Line2D([], [], label=name) for name in names])
    assert figure.legends[0]._ncols == columns


def test_a_figure_is_saved_in_a_new_folder(tmp_path):
    figure, _ = kit.new_axes(1, 2)
    path = kit.save(figure, tmp_path / "new" / "a.png")
    assert path.read_bytes() == kit.to_png(figure)
    assert path.read_bytes().startswith(b"\x89PNG")
