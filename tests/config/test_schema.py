"""Checks that need nothing but the settings, on hand-made ones."""

import pytest
from omegaconf import OmegaConf

from halfnas.config.schema import RULES, STAGES, check, job_folder, overrides_hash


def settings(**values):
    plain = {"stage": "pipeline", "ratio": 0.5, "seed": 0, "mask": None, "genotype": None}
    groups = {
        "pruner": {"name": "nngp", "repeats": 3},
        "searcher": {"epochs": 50, "warmup_epochs": 15},
        "evaluation": {"epochs": 600},
        "dataset": {"num_workers": 2},
    }
    cfg = OmegaConf.create({**plain, **groups})
    for name, value in values.items():
        OmegaConf.update(cfg, name.replace("__", "."), value)
    return cfg


def test_good_settings_have_no_problems():
    assert check(settings()) == ([], [])


@pytest.mark.parametrize(
    ("name", "good", "bad", "rule"),
    [
        ("seed", 0, -1, "must be at least 0"),
        ("pruner.repeats", 1, 0, "must be at least 1"),
        ("pruner.max_repeats", 1, 0, "must be at least 1"),
        ("pruner.rounds", 1, 0, "must be at least 1: 1 removes everything at once"),
        ("pruner.image_size", 1, 0, "must be at least 1"),
        ("pruner.stability", 1, 1.01, "must be in (0, 1]: an agreement"),
        ("pruner.stability", 0.01, 0, "must be in (0, 1]: an agreement"),
        ("pruner.num_batches", 1, 0, "must be at least 1"),
        ("pruner.batch_size", 2, 1, "must be at least 2"),
        ("pruner.candidates_per_call", 1, 0, "must be at least 1"),
        ("optimized_budget", 0.1, 0, "must be positive"),
        ("searcher.epochs", 1, 0, "must be at least 1"),
        ("searcher.warmup_epochs", 0, -1, "must be at least 0"),
        ("searcher.batch_size", 2, 1, "must be at least 2"),
        ("searcher.train_fraction", 0.01, 0, r"must be in (0, 1)"),
        ("searcher.train_fraction", 0.99, 1, r"must be in (0, 1)"),
        ("searcher.learning_rate", 1e-9, 0, "must be positive"),
        ("searcher.architecture_learning_rate", 1e-9, -1, "must be positive"),
        ("evaluation.epochs", 1, 0, "must be at least 1"),
        ("evaluation.batch_size", 2, 1, "must be at least 2"),
        ("evaluation.learning_rate", 1e-9, float("nan"), "must be positive"),
        ("evaluation.drop_path", 0, 1, r"must be in [0, 1)"),
        ("evaluation.label_smoothing", 0.99, -0.1, r"must be in [0, 1)"),
        ("evaluation.holdout_fraction", 0.0, 1.0, r"must be in [0, 1)"),
        ("evaluation.cutout_length", 0, -1, "must be at least 0"),
        ("dataset.num_workers", 0, -1, "must be at least 0"),
        ("searcher.momentum", 0, 1, "must be in [0, 1)"),
        ("evaluation.momentum", 0.9, -3, "must be in [0, 1)"),
        ("searcher.weight_decay", 0, -1e-4, "must be at least 0"),
        ("searcher.architecture_weight_decay", 0, -1, "must be at least 0"),
        ("evaluation.weight_decay", 0, -1, "must be at least 0"),
    ],
)
def test_ranges(name, good, bad, rule):
    at_limit, beyond = settings(searcher__warmup_epochs=0), settings(searcher__warmup_epochs=0)
    OmegaConf.update(at_limit, name, good)
    OmegaConf.update(beyond, name, bad)

    assert check(at_limit)[0] == []
    [error] = check(beyond)[0]
    assert error.startswith(f"`{name}` {rule}")
    assert error.endswith(f"got {bad}")


def test_every_rule_is_tested():
    [marker] = [mark for mark in test_ranges.pytestmark if mark.name == "parametrize"]

    assert {rule.setting for rule in RULES} == {case[0] for case in marker.args[1]}


def test_text_is_left_to_the_types():
    """`abc` is no number, so no range can say anything about it; halfnas.config.signatures does."""
    assert check(settings(searcher__epochs="abc"))[0] == []


@pytest.mark.parametrize(("name", "value"), [("repeats", "auto"), ("rounds", None), ("image_size", None)])
def test_words_and_null_have_no_range(name, value):
    assert check(settings(**{f"pruner__{name}": value})) == ([], [])


def test_several_errors_are_found_at_once():
    errors, _ = check(settings(stage="serach", seed=-1, searcher__epochs=0))

    assert len(errors) == 3
    assert errors[0] == "`stage` must be one of prune, search, evaluate, pipeline, got 'serach'"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stage": "search"}, "`stage=search` needs a mask: mask=PATH of a mask.json, or pruner=none"),
        ({"stage": "evaluate"}, "`stage=evaluate` needs a genotype: genotype=PATH of a genotype.json, or a published"),
        ({"stage": "prune", "mask": "mask.json"}, "`stage=prune` makes a mask and does not read one"),
    ],
)
def test_stages_need_their_files(values, message):
    [error] = check(settings(**values))[0]

    assert error.startswith(message)


def test_search_of_everything_needs_no_mask():
    assert check(settings(stage="search", pruner__name="none", ratio=1)) == ([], [])


@pytest.mark.parametrize("stage", STAGES)
def test_known_stages(stage):
    mask = "mask.json" if stage == "search" else None
    genotype = "darts_v2" if stage == "evaluate" else None

    assert check(settings(stage=stage, mask=mask, genotype=genotype)) == ([], [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"searcher__warmup_epochs": 50}, "`searcher.warmup_epochs=50` is not less than `searcher.epochs=50`"),
        ({"searcher__warmup_epochs": 51}, "the architecture is never trained"),
        ({"pruner__name": "none"}, "`ratio=0.5` has no effect with pruner=none"),
        ({"pruner__name": "none", "stage": "prune"}, "`ratio=0.5` has no effect with pruner=none"),
        ({"pruner__name": "none", "stage": "search"}, "`ratio=0.5` has no effect with pruner=none"),
        ({"genotype": "darts_v2", "stage": "prune"}, "`genotype` has no effect with stage=prune"),
        ({"genotype": "darts_v2", "stage": "search", "mask": "m.json"}, "`genotype` has no effect with stage=search"),
        ({"genotype": "darts_v2", "mask": "m.json"}, "`mask` has no effect: nothing is searched"),
        ({"genotype": "darts_v2", "mask": "m.json", "stage": "evaluate"}, "`mask` has no effect"),
    ],
)
def test_settings_without_effect_warn(values, message):
    errors, warnings = check(settings(**values))

    assert errors == []
    assert len(warnings) == 1
    assert message in warnings[0]


@pytest.mark.parametrize(
    "values",
    [
        {"searcher__warmup_epochs": 49},
        {"searcher__warmup_epochs": 50, "stage": "prune"},  # nothing is searched
        {"searcher__warmup_epochs": 50, "genotype": "darts_v2"},
        {"pruner__name": "none", "ratio": 1},
        {"pruner__name": "none", "ratio": 1.0},
        {"pruner__name": "none", "mask": "mask.json"},  # nothing is pruned
        {"pruner__name": "none", "genotype": "darts_v2"},
    ],
)
def test_no_warning_without_cause(values):
    assert check(settings(**values)) == ([], [])


def test_tame_overrides_are_the_folder_name():
    assert job_folder("pruner=nngp,ratio=0.5,seed=0") == "pruner-nngp_ratio-0.5_seed-0"
    assert job_folder("") == "job"


@pytest.mark.parametrize("wild", ["mask=/data/../x.json", "name='a b'", "x" * 121, "a=$HOME", "a=[1,2]"])
def test_wild_overrides_are_cut_and_hashed(wild):
    name = job_folder(wild)

    assert len(name) <= 110
    assert "/" not in name
    assert " " not in name
    assert name.endswith(f"-{overrides_hash(wild.split(','))}")


def test_folders_that_differ_late_or_in_wild_letters_only_differ():
    assert job_folder("a=" + "x" * 150 + "1") != job_folder("a=" + "x" * 150 + "2")
    assert job_folder("mask=a/b") != job_folder("mask=a:b")


def test_hash_does_not_depend_on_the_order():
    assert overrides_hash(["a=1", "b=2"]) == overrides_hash(["b=2", "a=1"])
    assert overrides_hash(["a=1", "b=2"]) != overrides_hash(["a=1", "b=3"])
    # The first eight digits of sha256 of no bytes.
    assert overrides_hash([]) == "e3b0c442"


def test_adam_has_two_betas():
    cfg = settings()
    OmegaConf.update(cfg, "searcher.architecture_betas", [0.5])
    [error] = check(cfg)[0]
    assert error == "`searcher.architecture_betas` must be two numbers, e.g. [0.5, 0.999]; got [0.5]"
