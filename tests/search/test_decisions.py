"""What a search would choose, by how much, and whether that is more than its start, counted by hand."""

import pytest
import torch

from halfnas.search import BetaDecay, BilevelSearch
from halfnas.search.decisions import ROUNDING, Decisions
from halfnas.spaces import Mask, load_space, tie_break

SPACE = load_space("nasbench201")
NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def strengths(*edges):
    """Those of the six edges: the first ones as given, the others with one candidate and so without a choice."""
    return {"cell": [*(dict(edge) for edge in edges), *[{"skip_connect": 1.0}] * (6 - len(edges))]}


def decisions(*edges, seed=0):
    return Decisions.of(SPACE, strengths(*edges), seed)


def test_a_worked_example():
    start = decisions(
        {"none": 0.3, "skip_connect": 0.3, "nor_conv_1x1": 0.4},
        {"none": 0.1, "nor_conv_3x3": 0.5, "avg_pool_3x3": 0.4},
        {"none": 0.6, "nor_conv_3x3": 0.4},
        {"skip_connect": 0.51, "nor_conv_3x3": 0.49},
    )
    now = decisions(
        {"none": 0.2, "skip_connect": 0.5, "nor_conv_1x1": 0.3},  # moved, gap 0.2
        {"none": 0.1, "nor_conv_3x3": 0.6, "avg_pool_3x3": 0.3},  # 0.3
        {"none": 0.4, "nor_conv_3x3": 0.6},  # moved: `none` can be chosen where all edges stay; 0.2
        {"skip_connect": 0.9, "nor_conv_3x3": 0.1},  # 0.8
    )
    assert list(now.chosen.values()) == ["skip_connect", "nor_conv_3x3", "nor_conv_3x3", "skip_connect"]
    assert now.moved_from(start) == 0.5
    assert now.moved_by_chance == pytest.approx((2 / 3 + 2 / 3 + 1 / 2 + 1 / 2) / 4)
    assert now.margin == pytest.approx((0.2 + 0.3 + 0.2 + 0.8) / 4)
    assert now.relative_margin == pytest.approx((0.2 / 0.5 + 0.3 / 0.6 + 0.2 / 0.6 + 0.8 / 0.9) / 4)
    assert not now.is_tie_break(start)
    assert start.moved_from(start) == 0


def test_none_is_no_choice_where_a_node_selects_its_edges():
    space = load_space("darts")
    edge = {"none": 0.9, "skip_connect": 0.06, "max_pool_3x3": 0.04}
    only = {"none": 0.5, "skip_connect": 0.5}
    found = Decisions.of(space, {"normal": [edge] * 7 + [only] * 7, "reduce": [only] * 14}, seed=0)
    assert found.chosen == {("normal", e): "skip_connect" for e in range(7)}
    assert found.margin == pytest.approx(0.02)


def test_equal_starts_go_by_the_seed():
    equal = [dict.fromkeys(NAMES, 0.2)] * 6
    for seed in range(4):
        found = decisions(*equal, seed=seed)
        for (kind, edge), name in found.chosen.items():
            assert name == min(NAMES, key=lambda other: tie_break(seed, kind, edge, other))
        assert found.is_tie_break(found)
    assert decisions(*equal, seed=0).moved_from(decisions(*equal, seed=1)) > 0


def test_a_random_start_is_a_tie_break_and_a_decision_is_none():
    """Softmax of alpha with a spread of 1e-3, and of one with 0.3."""
    start = decisions({"skip_connect": 0.5002, "nor_conv_3x3": 0.4998})
    assert decisions({"skip_connect": 0.5005, "nor_conv_3x3": 0.4995}).is_tie_break(start)
    assert not decisions({"skip_connect": 0.57, "nor_conv_3x3": 0.43}).is_tie_break(start)


def test_a_wide_start_that_has_not_moved_is_a_tie_break():
    """Whatever its margin; one that has moved is none."""
    start = decisions({"skip_connect": 0.6, "nor_conv_3x3": 0.4}, {"skip_connect": 0.7, "nor_conv_3x3": 0.3})
    assert start.is_tie_break(start)
    assert decisions(
        {"skip_connect": 0.7, "nor_conv_3x3": 0.3}, {"skip_connect": 0.8, "nor_conv_3x3": 0.2}
    ).is_tie_break(start)
    moved = decisions({"skip_connect": 0.3, "nor_conv_3x3": 0.7}, {"skip_connect": 0.8, "nor_conv_3x3": 0.2})
    assert not moved.is_tie_break(start)


def test_what_makes_a_difference_between_equals_is_the_task():
    equal = decisions({"skip_connect": 0.5, "nor_conv_3x3": 0.5})
    assert not decisions({"skip_connect": 0.5005, "nor_conv_3x3": 0.4995}).is_tie_break(equal)
    assert decisions({"skip_connect": 0.5 + 1e-8, "nor_conv_3x3": 0.5}).is_tie_break(equal)


def test_where_there_is_no_choice():
    assert not decisions().chosen


@pytest.fixture
def search():
    """A search of NAS-Bench-201 that has not been trained."""
    space = load_space("nasbench201", init_channels=4, num_cells=3, in_channels=1)
    settings = {
        "partial_channels": 1, "edge_normalization": None, "epochs": 3, "warmup_epochs": 1, "batch_size": 4,
        "learning_rate": 0.1, "learning_rate_min": 0.01, "momentum": 0.9, "weight_decay": 3e-4, "gradient_clip": 5.0,
        "architecture_learning_rate": 6e-4, "architecture_betas": (0.5, 0.999), "architecture_weight_decay": 1e-3,
    }  # fmt: skip
    module = BilevelSearch(space, {"engine": "plain"}, regularizer=BetaDecay(25.0), **settings)
    torch.manual_seed(0)
    module.begin(Mask.full(space))
    return module


def test_the_end_of_a_search_says_whether_it_is_a_tie_break(search):
    metrics = search.metrics()
    assert metrics["search/tie_break"] == 1
    assert metrics["search/relative_margin"] == metrics["search/relative_margin_start"] > ROUNDING
    assert metrics["search/moved_edges_chance"] == pytest.approx(0.8)
    assert metrics["search/architecture_epochs"] == 2
    with torch.no_grad():
        search.supernet.alpha["cell"].mul_(1000)
    assert search.metrics()["search/tie_break"] == 0


def test_what_the_start_preferred_is_saved(search):
    checkpoint = {}
    search.on_save_checkpoint(checkpoint)
    with torch.no_grad():
        search.supernet.alpha["cell"].neg_()
    search.begin(Mask.full(search._space))
    assert search._start.chosen != checkpoint["start"]["chosen"]
    search.on_load_checkpoint(checkpoint)
    assert search._start.chosen == checkpoint["start"]["chosen"]
