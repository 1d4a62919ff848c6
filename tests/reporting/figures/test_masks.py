"""Shares and agreement of masks against counting."""

import numpy as np
import pytest

from halfnas.reporting.figures.mask_maps import mask_figures
from halfnas.reporting.figures.masks import Masked, agreement_of, candidates_of, masked_groups
from halfnas.reporting.study import read_study
from halfnas.spaces import Mask, load_space

SPACE = load_space("darts")


def masked(*seeds, ratio=0.5):
    return Masked(None, {seed: Mask.random(SPACE, ratio, seed) for seed in seeds})


def decisions(mask):
    return [
        name in kept
        for kind in SPACE.kinds
        for names, kept in zip(SPACE.candidates(kind), mask.kept[kind], strict=True)
        for name in names
    ]


def test_agreement_within_a_group_is_between_seeds():
    group = masked(0, 1, 2)
    candidates = candidates_of("darts", list(group.masks.values()))
    a, b, c = (np.array(decisions(mask)) for mask in group.masks.values())
    found = agreement_of(group, group, candidates)
    assert found[0] == pytest.approx(np.mean([(a == b).mean(), (a == c).mean(), (b == c).mean()]))
    assert found[1:] == (pytest.approx(0.5), 3)  # 4 of 8: 1/4 + 1/4


def test_agreement_of_two_groups_is_between_different_seeds():
    first, second = masked(0, 1), masked(1, 2)
    candidates = candidates_of("darts", [*first.masks.values(), *second.masks.values()])
    flags = {seed: np.array(decisions(Mask.random(SPACE, 0.5, seed))) for seed in range(3)}
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = np.mean([(flags[s] == flags[t]).mean() for s, t in pairs])
    assert agreement_of(first, second, candidates)[0] == pytest.approx(expected)


def test_chance_follows_from_what_edges_keep():
    group = masked(0, 1, ratio=0.25)
    assert agreement_of(group, group, candidates_of("darts", list(group.masks.values())))[1] == pytest.approx(
        1 / 16 + 9 / 16
    )


def test_one_seed():
    group = masked(0)
    candidates = candidates_of("darts", list(group.masks.values()))
    assert agreement_of(group, group, candidates) is None
    assert agreement_of(group, masked(0), candidates)[0] == 1.0


def test_a_space_that_no_file_describes():
    mask = Mask("mine", {"cell": (("a", "b"), ("b",))})
    other = Mask("mine", {"cell": (("a",), ("b", "c"))})
    candidates = candidates_of("mine", [mask, other])
    assert candidates.operations("cell") == ("a", "b", "c")
    grid = candidates.grid(("cell",), (candidates.flags(mask.kept).astype(float) + candidates.flags(other.kept)) / 2)
    np.testing.assert_equal(grid, [[1.0, 0.5, np.nan], [np.nan, 1.0, 0.5]])


def test_figures_of_a_sweep(sweep):
    drawings, problems = mask_figures(read_study([sweep]).groups)
    assert problems == []
    assert [each.name for each in drawings] == ["masks_darts_normal", "masks_darts_reduce", "agreement_darts"]
    normal, _, agreements = drawings
    assert "Left out: 2 groups; they keep everything" in normal.caption
    image = normal.figure.axes[0].images[0].get_array()
    kept = [Mask.random(SPACE, 0.25, seed).kept["normal"] for seed in range(3)]
    share = np.mean([name in each[0] for each in kept for name in [SPACE.candidates("normal")[0][0]]])
    assert image.shape == (14, 8)
    assert image[0, 0] == pytest.approx(share)
    assert "0.62 at ratio 0.25, 0.50 at ratio 0.5" in agreements.caption
    assert [axes.get_title() for axes in agreements.figure.axes if axes.images] == [
        "ratio 0.25, chance 0.62", "ratio 0.5, chance 0.50"
    ]  # fmt: skip


def test_one_pruner_has_rows_of_agreement(tmp_path, write_sweep):
    write_sweep(tmp_path / "in", pruners=("nngp",))
    drawings, _ = mask_figures(read_study([tmp_path]).groups)
    names = [label.get_text() for label in drawings[-1].figure.axes[0].get_yticklabels()]
    assert names == ["ratio 0.25", "ratio 0.5"]


def test_a_mask_that_cannot_be_read(tmp_path, write_sweep):
    write_sweep(tmp_path / "in", ratios=(0.5,))
    (tmp_path / "in" / "nngp-0.5-0" / "mask.json").write_text("{")
    drawings, problems = mask_figures(read_study([tmp_path]).groups)
    assert len(problems) == 1
    assert "nngp-0.5-0/mask.json: not complete JSON" in problems[0]
    assert "n = 2 to 3" in drawings[0].caption


def test_a_mask_of_another_space(tmp_path, write_sweep):
    """The others of its group are drawn, whether a file describes that space or not."""
    write_sweep(tmp_path / "in", ratios=(0.5,), seeds=range(4))
    Mask.random(load_space("nasbench201"), 0.5, 0).save(tmp_path / "in" / "nngp-0.5-0" / "mask.json")
    Mask("mine", {"cell": (("a",),)}).save(tmp_path / "in" / "nngp-0.5-1" / "mask.json")
    (found, _), problems = masked_groups(read_study([tmp_path]).groups)
    assert [*found.masks] == [2, 3]
    assert ["nngp-0.5-0/mask.json: not of the same space" in problem for problem in problems] == [True, False]
    assert "nngp-0.5-1/mask.json: not of the same space" in problems[1]


def test_masks_of_other_cells_than_their_space_has(tmp_path, write_sweep):
    write_sweep(tmp_path / "in", ratios=(0.5,))
    Mask("darts", {"normal": (("skip_connect",),)}).save(tmp_path / "in" / "nngp-0.5-0" / "mask.json")
    _, problems = mask_figures(read_study([tmp_path]).groups)
    assert len(problems) == 1
    assert "nngp-0.5-0/mask.json: the mask has cells ['normal'], space darts has" in problems[0]


def test_odd_masks_of_a_space_that_no_file_describes(tmp_path, write_run):
    for seed in range(4):
        edges = (("a", "b")[: seed % 2 + 1], ("b",)) if seed else (("a",),)
        write_run(tmp_path / str(seed), seed=seed, mask=Mask("mine", {"cell": edges}), metrics={})
    drawings, problems = mask_figures(read_study([tmp_path]).groups)
    assert [drawing.name for drawing in drawings] == ["masks_mine_cell", "agreement_mine"]
    assert len(problems) == 1
    assert "0/mask.json: not of the same space and cells as the masks of other seeds or groups" in problems[0]


def test_without_masks(tmp_path, write_run):
    write_run(tmp_path / "a")
    assert mask_figures(read_study([tmp_path]).groups) == ([], [])
