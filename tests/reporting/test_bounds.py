import pytest

from halfnas.reporting.bounds import bounds_of, is_possible


@pytest.mark.parametrize(
    ("metric", "value", "expected"),
    [
        ("evaluate/test_acc", 1, True),
        ("evaluate/test_acc", 0.0, True),
        ("evaluate/test_acc", 97.0, False),
        ("search/seconds", -1.0, False),
        ("search/step_ms", 0, True),
        ("search/peak_live_mib", 1e101, False),
        ("evaluate/test_images", -5, False),
        ("search/decision_margin", -5, True),
        ("search/train_loss", float("nan"), False),
        ("evaluate/params", 10**400, False),
        ("evaluate/params", True, False),
        ("evaluate/params", "1", False),
        ("evaluate/params", None, False),
    ],
    ids=range(13),
)
def test_what_a_metric_can_be(metric, value, expected):
    assert is_possible(metric, value) == expected


def test_accuracies_are_shares():
    assert bounds_of("search/val_acc") == (0.0, 1.0)
