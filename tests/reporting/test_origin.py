"""A report says what ran, not what was asked for beside a mask or genotype that was given."""

import json

import pytest

from halfnas.reporting.groups import group_runs
from halfnas.reporting.origin import as_ran
from halfnas.reporting.runs import read_run
from halfnas.spaces import Mask, load_space

MASK = Mask.random(load_space("darts"), ratio=0.25, seed=2)
SETTINGS = {
    "stage": "pipeline", "seed": 2, "mask": None, "genotype": None, "ratio": 0.5, "pruner": "nngp",
    "pruner.repeats": "auto", "searcher": "gdas", "searcher.epochs": 3, "supernet.engine": "fused", "space": "darts",
}  # fmt: skip


@pytest.fixture
def ran(tmp_path):
    MASK.save(tmp_path / "mask.json")
    return lambda **changes: as_ran(SETTINGS | changes, tmp_path)


def test_a_pipeline_ran_as_it_was_asked_to(ran):
    assert ran() == SETTINGS


@pytest.mark.parametrize("stage", ["pipeline", "search"])
def test_pruner_and_ratio_of_a_given_mask(ran, stage):
    found = ran(mask="elsewhere/mask.json", stage=stage)
    assert (found["pruner"], found["ratio"], found["searcher.epochs"]) == ("random", 0.25, 3)
    assert not {"mask", "pruner.repeats", "mask_seed"} & found.keys()
    assert ran(mask="elsewhere/mask.json", seed=3)["mask_seed"] == 2


@pytest.mark.parametrize("stage", ["pipeline", "evaluate"])
def test_nothing_was_pruned_or_searched_for_a_given_genotype(ran, stage):
    found = ran(genotype="darts_v2", mask="elsewhere/mask.json", stage=stage)
    assert found == {"stage": stage, "seed": 2, "genotype": "darts_v2", "space": "darts"}


def test_a_mask_or_genotype_that_no_stage_has_read(ran):
    for unread in ({"mask": "m.json", "stage": "prune"}, {"genotype": "darts_v2", "stage": "search"}):
        assert ran(**unread) == SETTINGS | unread


def test_several_pruners_have_the_name_of_their_mask(ran):
    assert ran(pruner=None)["pruner"] == "random"
    assert ran(pruner=None)["pruner.repeats"] == "auto"


def test_a_mask_that_is_needed_and_missing(tmp_path):
    with pytest.raises(ValueError, match=r"mask\.json: no such file"):
        as_ran(SETTINGS | {"mask": "elsewhere/mask.json"}, tmp_path)


def test_groups_are_named_after_what_ran(write_run, tmp_path):
    """`mask=` of a random quarter beside the default pruner, and a published cell, each with two seeds."""
    for seed in (0, 1):
        mask = Mask.random(load_space("darts"), ratio=0.25, seed=seed)
        for name, given in (("mask", "m.json"), ("genotype", "darts_v2")):
            folder = write_run(tmp_path / f"{name}-{seed}", seed=seed, pruner="nngp", ratio=0.5, mask=mask)
            config = json.loads((folder / ".hydra" / "config.yaml").read_text()) | {name: given, "stage": "pipeline"}
            (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    groups = group_runs([read_run(path) for path in tmp_path.iterdir()])
    assert sorted((group.name, len(group.runs)) for group in groups) == [
        ("darts_v2", 2),
        ("random, pcdarts, ratio 0.25", 2),
    ]
