"""Numbers of metrics as text, and which metric stands for accuracy and memory."""

from pathlib import Path

import pytest

from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import ACCURACIES, BY_KEY, accuracy_of, memory_of, metrics_of, ranked, search_time_of
from halfnas.reporting.runs import Run
from halfnas.reporting.statistics import summarize

ACCURACY, SECONDS = BY_KEY["evaluate/test_acc"], BY_KEY["search/seconds"]


def group(*metrics):
    runs = [Run(Path(f"{seed}"), "done", None, seed, {}, each) for seed, each in enumerate(metrics)]
    return Group({}, runs)


def test_accuracies_are_percent():
    summary = summarize([0.98, 0.99, 0.985])
    assert ACCURACY.label == "test accuracy (%)"
    assert ACCURACY.text(0.98765) == "98.77"
    assert ACCURACY.spread(summary) == "98.50 ± 0.50"
    # 98.5 +- 4.30265 * 0.5 / sqrt(3), Student's t for two degrees of freedom
    assert ACCURACY.interval(summary) == "[97.26, 99.74]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0012345, "0.0012"), (9.0, "9.00"), (30.4149, "30.4"), (113.37, "113"), (41218.0, "41,218"), (0.0, "0")],
)
def test_three_digits(value, text):
    assert SECONDS.text(value) == text


def test_a_single_value_has_no_interval():
    summary = summarize([2.5])
    assert SECONDS.spread(summary) == "2.50"
    assert SECONDS.interval(summary) == SECONDS.interval(summary, "+") == ""


def test_changes_have_a_sign():
    assert ACCURACY.change(summarize([0.012])) == "+1.20"
    assert SECONDS.change(summarize([-3.0])) == "-3.00"
    assert ACCURACY.interval(summarize([0.01] * 3), "+") == "[+1.00, +1.00]"


def test_the_most_final_accuracy():
    assert accuracy_of([group({"search/val_acc": 0.5}), group({"evaluate/test_acc": 0.9})]) is ACCURACIES[0]
    assert accuracy_of([group({"search/val_acc": 0.5})]) is ACCURACIES[-1]
    assert accuracy_of([group({})]) is None


def test_the_peak_of_a_step_unless_more_have_that_of_cuda():
    cuda, step = "search/peak_allocated_mib", "search/peak_live_mib"
    both = group({cuda: 10.0, step: 5.0})
    assert memory_of([both, both]).key == step
    assert memory_of([both, group({step: 5.0})]).key == step
    assert memory_of([both, group({cuda: 5.0})]).key == cuda
    assert memory_of([group({})]) is None


def test_what_backward_needs_stands_for_no_memory():
    """With supernet.recompute=nodes it says that nothing is saved, where the peak halves."""
    assert memory_of([group({"search/step_activations_mib": 5.0})]) is None


def test_the_time_of_a_search_has_its_pruning_in_it():
    both = group({"total/search_seconds": 3.0, "search/seconds": 2.0})
    assert search_time_of([both]).key == "total/search_seconds"
    assert search_time_of([both, group({"search/seconds": 2.0})]).key == "search/seconds"  # of a given mask
    assert search_time_of([group({"total/seconds": 9.0})]) is None


def test_metrics_that_are_there_in_their_order():
    runs = [*group({"search/seconds": 1.0, "other": 2.0}).runs, *group({"evaluate/test_acc": 1.0}).runs]
    assert [metric.key for metric in metrics_of(runs)] == ["evaluate/test_acc", "search/seconds"]


def test_ranked_by_accuracy():
    low, high, without = group({"search/val_acc": 0.1}), group({"search/val_acc": 0.9}), group({})
    assert ranked([without, low, high]) == [high, low, without]
    assert ranked([without]) == [without]
