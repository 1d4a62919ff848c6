"""Every bound of a setting, at its limit and beyond it."""

import pytest

from halfnas.config.plan import make_plan
from halfnas.errors import ConfigError

BOUNDS = [
    ("seed", 0, -1, "must be at least 0"),
    ("pruner.repeats", 1, 0, "must be at least 1"),
    ("pruner.max_repeats", 1, 0, "must be at least 1"),
    ("pruner.rounds", 1, 0, "must be at least 1: 1 removes everything at once"),
    ("pruner.image_size", 4, 0, "must be at least 1"),
    ("pruner.stability", 1, 1.01, "must be at most 1: an agreement"),
    ("pruner.stability", 0.01, 0, "must be positive: an agreement"),
    ("pruner.num_batches", 1, 0, "must be at least 1"),
    ("pruner.batch_size", 2, 1, "must be at least 2"),
    ("pruner.candidates_per_call", 1, 0, "must be at least 1"),
    ("optimized_budget", 0.1, 0, "must be positive"),
    ("searcher.epochs", 1, 0, "must be at least 1"),
    ("searcher.warmup_epochs", 0, -1, "must be at least 0"),
    ("searcher.batch_size", 2, 1, "must be at least 2"),
    ("searcher.train_fraction", 0.01, 0, "must be positive: both halves"),
    ("searcher.train_fraction", 0.99, 1, "must be less than 1: both halves"),
    ("searcher.learning_rate", 1e-9, 0, "must be positive"),
    ("searcher.architecture_learning_rate", 1e-9, -1, "must be positive"),
    ("evaluation.epochs", 1, 0, "must be at least 1"),
    ("evaluation.batch_size", 2, 1, "must be at least 2"),
    ("evaluation.learning_rate", 1e-9, float("nan"), "must be positive"),
    ("evaluation.drop_path", 0, 1, "must be less than 1"),
    ("evaluation.label_smoothing", 0.99, -0.1, "must be at least 0"),
    ("evaluation.holdout_fraction", 0.0, 1.0, "must be less than 1"),
    ("evaluation.cutout_length", 0, -1, "must be at least 0"),
    ("dataset.num_workers", 0, -1, "must be at least 0"),
    ("searcher.momentum", 0, 1, "must be less than 1"),
    ("evaluation.momentum", 0.9, -3, "must be at least 0"),
    ("searcher.weight_decay", 0, -1e-4, "must be at least 0"),
    ("searcher.architecture_weight_decay", 0, -1, "must be at least 0"),
    ("evaluation.weight_decay", 0, -1, "must be at least 0"),
]


def problems_of(cfg):
    try:
        make_plan(cfg)
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize(("name", "good", "bad", "rule"), BOUNDS)
def test_bounds(settings, name, good, bad, rule):
    others = ["searcher.warmup_epochs=0", "evaluation.holdout_fraction=0"]
    at_limit = [f"{name}={good}", *(other for other in others if not other.startswith(name))]
    assert not [problem for problem in problems_of(settings(*at_limit)) if problem.startswith(f"`{name}`")]
    [problem] = problems_of(settings(f"{name}={bad}"))
    assert problem.startswith(f"`{name}` {rule}")
    assert problem.endswith((f"got {bad}", f"got {float(bad)}"))
