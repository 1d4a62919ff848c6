"""Tables of trained accuracy: looked up by hand, and refused where they are not what they should be."""

import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from halfnas import Mask, load_space
from halfnas.spaces.nasbench201 import ARCHITECTURE
from halfnas.spaces.trained import TrainedTable

MACRO = load_space("nasbench_macro")
EVERY = ["".join(digits) for digits in itertools.product("012", repeat=8)]
COLUMNS = ("architecture", "digits_valid", "digits_test", "phone_ms")


def rows(architectures=EVERY):
    """The accuracy in percent is 10 and the number of twos, in test images 1 more; a layer takes a tenth of a ms."""
    return [[text, 10 + text.count("2"), 11 + text.count("2"), (8 - text.count("0")) / 10] for text in architectures]


@pytest.fixture
def write(tmp_path):
    def write(content, columns=COLUMNS, name="table.csv"):
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *content])
        return path

    return write


def test_a_table_of_ones_own(write):
    table = TrainedTable.load(write(rows()), MACRO, "digits")
    assert len(table) == 6561
    assert table.best == pytest.approx(0.18)
    assert table.measured == "digits_valid"  # before test images
    found = table.look_up(MACRO.parse_architecture("22222201"))
    # 1 with eight twos and 8 * 2 with seven are better.
    assert found == {"true_acc": 0.16, "true_rank": 17 / 6561, "true_latency_phone_ms": 0.7}
    assert table.look_up(MACRO.parse_architecture("22222222"))["true_rank"] == 0


def test_the_order_of_rows_does_not_matter(write):
    backwards = TrainedTable.load(write(rows(EVERY[::-1])), MACRO, "digits")
    assert backwards.look_up(MACRO.parse_architecture("00000001"))["true_acc"] == 0.10
    assert backwards.architectures == tuple(EVERY[::-1])  # of row n, as `accuracies` is
    assert backwards.accuracies[backwards.architectures.index("22222201")] == 0.16


def test_accuracies_of_several_runs_are_averaged(write):
    several = [[text, 10, 20, 60] for text in EVERY]
    columns = ("arch_str", "digits_test_0", "digits_test_1", "digits_test_2")
    table = TrainedTable.load(write(several, columns), MACRO, "digits")
    assert table.look_up(MACRO.parse_architecture("01210212")) == {"true_acc": pytest.approx(0.3), "true_rank": 0}


def test_what_a_mask_leaves(write):
    table = TrainedTable.load(write(rows()), MACRO, "digits")
    mask = Mask.random(MACRO, ratio=0.5, seed=1)
    candidates = {layer: cell.edges[0].candidates for layer, cell in MACRO.kinds.items()}
    kept = [{str(candidates[layer].index(name)) for name in names} for layer, (names,) in mask.kept.items()]
    left = {EVERY[n] for n in table.left_by(mask)}
    assert left == {text for text in EVERY if all(digit in some for digit, some in zip(text, kept, strict=True))}
    assert len(left) == 2**8
    assert len(table.left_by(Mask.full(MACRO))) == 6561


def test_what_a_mask_leaves_of_a_cell_with_several_edges():
    space = load_space("nasbench201")
    every = [ARCHITECTURE.format(*names) for names in itertools.product(space.candidates("cell")[0], repeat=6)]
    table = TrainedTable(space, every, np.full(len(every), 0.9))
    kept = [("skip_connect",), ("none", "nor_conv_3x3"), *[("avg_pool_3x3",)] * 4]
    left = {table.architectures[n] for n in table.left_by(Mask("nasbench201", {"cell": kept}))}
    assert left == {
        ARCHITECTURE.format("skip_connect", second, *["avg_pool_3x3"] * 4) for second in ("none", "nor_conv_3x3")
    }


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (rows(EVERY[:-1]), COLUMNS, "6,560 of the 6,561 architectures of nasbench_macro are there"),
        ([*rows(), rows()[5]], COLUMNS, "00000012 stands there twice"),
        ([*rows()[1:], ["9" * 8, 1, 1, 1]], COLUMNS, "has the digits"),
        (rows(), ("text", *COLUMNS[1:]), "no column `architecture`"),
        (rows(), ("architecture", "c_valid", "c_test_0", "x_ms"), "no accuracies of dataset digits .*c$"),
        ([["0" * 8, "high", 1, 1], *rows()[1:]], COLUMNS, "column digits_valid: could not convert string to float"),
        ([["0" * 8, "nan", 1, 1], *rows()[1:]], COLUMNS, "digits_valid: line 2 is not finite"),
        ([["0" * 8, 101, 1, 1], *rows()[1:]], COLUMNS, "must be accuracies in percent"),
        ([["0" * 8, 10], *rows()[1:]], COLUMNS, "line 2 has another number of entries"),
        ([], COLUMNS, "an empty table"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_the_space(write, content, columns, message):
    with pytest.raises(ValueError, match=message) as raised:
        TrainedTable.load(write(content, columns), MACRO, "digits")
    assert "table.csv" in str(raised.value)


def test_a_table_that_is_missing_or_cannot_be(tmp_path):
    with pytest.raises(
        ValueError, match=r"nasbench_macro\.csv: no such table of accuracies of the nasbench_macro space"
    ):
        TrainedTable.load(tmp_path, MACRO, "cifar10")
    with pytest.raises(ValueError, match="not all architectures of the darts space are trained"):
        TrainedTable.load(tmp_path, load_space("darts"), "cifar10")


@pytest.mark.parametrize(
    ("space", "architecture", "dataset", "accuracy"),
    [
        ("nasbench_macro", "00000000", "cifar10", (45.32 + 45.33 + 45.44) / 3),
        ("nasbench_macro", "00000001", "cifar10", (64.34 + 64.21 + 64.12) / 3),
        (
            "nasbench201",
            "|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|none~2|",
            "cifar100",
            40.78,
        ),
    ],
)
def test_rows_of_the_published_tables(space, architecture, dataset, accuracy):
    """Read by eye from the files."""
    space = load_space(space)
    folder = Path(os.environ.get("HALFNAS_DATA", "data"))
    if not (folder / space.tables[0]).is_file():
        pytest.skip(f"no {(folder / space.tables[0]).resolve()}; set HALFNAS_DATA to the folder of {space.tables[0]}")
    table = TrainedTable.load(folder, space, dataset)
    found = table.look_up(space.parse_architecture(architecture))
    assert found["true_acc"] == pytest.approx(accuracy / 100, abs=1e-12)
    assert found["true_rank"] == np.mean(table.accuracies > found["true_acc"])
    if space.name == "nasbench201":
        assert found["true_latency_raspi4_ms"] == 15.213
