"""What memory and time were measured at, and what is not compared."""

from pathlib import Path

import pytest

from halfnas.reporting.conditions import apart, conditions, in_words, measured_at, why_not
from halfnas.reporting.groups import Group
from halfnas.reporting.runs import Run

SETTINGS = {
    "searcher.batch_size": 64,
    "searcher.epochs": 50,
    "evaluation.batch_size": 96,
    "evaluation.epochs": 600,
    "trainer.precision": "32-true",
}
METRICS = {
    "search/peak_live_mib": 100.0,
    "search/seconds": 10.0,
    "search/image_size_px": 32.0,
    "evaluate/seconds": 20.0,
    "prune/seconds": 5.0,
}


def group(settings=None, metrics=None):
    run = Run(Path("a"), "done", None, 0, SETTINGS | (settings or {}), METRICS | (metrics or {}))
    return Group({}, [run])


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("search/peak_live_mib", "batch size 64, 32-true, 32x32 pixels"),
        ("search/step_ms", "batch size 64, 32-true, 32x32 pixels"),
        ("total/search_seconds", "batch size 64, 32-true, 32x32 pixels"),
        ("evaluate/seconds", "training 96, 32-true, 32x32 pixels"),
        ("prune/seconds", "32-true, 32x32 pixels"),  # batches of scores are what a pruner is
        ("total/seconds", "batch size 64, training 96, 32-true, 32x32 pixels, search and evaluate and prune"),
        ("evaluate/test_acc", ""),
        ("evaluate/params", ""),
    ],
)
def test_what_a_number_was_measured_at(metric, words):
    assert in_words(conditions(group(), metric)) == words


def test_all_that_a_group_was_measured_at():
    assert measured_at(group()) == "batch size 64, training 96, 32-true, 32x32 pixels"
    on_cuda = group(metrics={"search/peak_allocated_mib": 9.0})
    assert measured_at(on_cuda) == "batch size 64, training 96, 32-true, 32x32 pixels, CUDA"
    assert measured_at(Group({}, [Run(Path("a"), "done", None, 0, SETTINGS, {"evaluate/test_acc": 0.9})])) == ""


@pytest.mark.parametrize(
    ("settings", "metrics", "metric", "why"),
    [
        ({}, {}, "search/peak_live_mib", None),
        ({"searcher.learning_rate": 1.0}, {}, "search/peak_live_mib", None),
        ({"searcher.batch_size": 256}, {}, "search/peak_live_mib", "batch size 64, not 256"),
        ({"searcher.batch_size": 256}, {}, "evaluate/seconds", None),
        ({"evaluation.batch_size": 64}, {}, "evaluate/seconds", "batch size of the training 96, not 64"),
        ({"evaluation.batch_size": 64}, {}, "total/seconds", "batch size of the training 96, not 64"),
        ({"evaluation.batch_size": 64}, {}, "total/search_seconds", None),
        ({"trainer.precision": "bf16-mixed"}, {}, "prune/seconds", "precision 32-true, not bf16-mixed"),
        ({}, {"search/image_size_px": 8.0}, "search/step_ms", "image size 32, not 8"),
        ({}, {"search/peak_allocated_mib": 1.0}, "search/seconds", "device no CUDA, not CUDA"),
        ({"searcher.batch_size": 256}, {}, "search/val_acc", None),
        ({"searcher.batch_size": 256, "searcher.epochs": 0}, {}, "search/seconds", None),  # nothing is trained
        ({}, {}, "search/step_activations_mib", "what is recomputed is missing in it; peak_live_mib has all "),
    ],
)
def test_what_is_not_compared(settings, metrics, metric, why):
    found = why_not(group(), group(settings, metrics), metric)
    assert found is None if why is None else found.startswith(why)


def test_totals_of_other_stages_are_not_compared():
    searched = {key: value for key, value in METRICS.items() if not key.startswith("evaluate/")}
    alone = Group({}, [Run(Path("a"), "done", None, 0, SETTINGS, searched)])
    assert why_not(group(), alone, "total/seconds") == "stages search and evaluate and prune, not search and prune"


def test_an_image_size_that_nobody_wrote_down_is_in_no_ones_way():
    old = {key: value for key, value in METRICS.items() if not key.endswith("_px")}
    before = Group({}, [Run(Path("a"), "done", None, 0, SETTINGS, old)])
    assert why_not(group(), before, "search/peak_live_mib") is None


def test_groups_that_can_be_compared_stand_together():
    small, large, other = group(), group({"searcher.batch_size": 256}), group({"ratio": 0.5})
    without = Group({}, [Run(Path("a"), "done", None, 0, SETTINGS, {})])
    assert apart([small, large, without, other], "search/peak_live_mib") == [[small, other], [large]]
    assert apart([small, large], "evaluate/params") == []
