import pytest

from halfnas.jobs.objective import Objective

METRICS = {"search/val_acc": 0.9, "search/peak_live_mib": 300.0}
FREE = Objective("search/val_acc", "search/peak_live_mib")


def within(budget):
    return Objective("search/val_acc", "search/peak_live_mib", budget).value(METRICS)


def test_without_a_budget_it_is_the_metric():
    assert FREE.value(METRICS) == 0.9


def test_within_the_budget_it_is_the_metric():
    assert within(300.0) == within(1000.0) == 0.9


def test_over_the_budget_the_least_excess_is_best_and_worse_than_any_accuracy():
    assert 0 > within(299.0) > within(200.0) > within(100.0)
    assert within(200.0) == pytest.approx(-0.5)


def test_what_was_not_measured():
    assert FREE.value({}) is None
    assert FREE.missing({}) == ["search/val_acc"]
    limited = Objective("search/val_acc", "search/peak_allocated_mib", 1.0)
    assert limited.missing(METRICS) == ["search/peak_allocated_mib"]
    assert limited.value(METRICS) is None
