"""A report says what ran, not what was asked for beside a mask or genotype that was given."""

import json
from dataclasses import replace

import pytest

from halfnas.reporting.groups import group_runs
from halfnas.reporting.origin import as_ran
from halfnas.reporting.runs import REPEATED, load_runs
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


@pytest.mark.parametrize("stage", ["pipeline", "search", "search+evaluate"])
def test_pruner_and_ratio_of_a_given_mask(ran, stage):
    found = ran(mask="elsewhere/mask.json", stage=stage)
    assert (found["pruner"], found["ratio"], found["searcher.epochs"]) == ("random", 0.25, 3)
    assert not {"pruner.repeats", "mask_seed"} & found.keys()
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


def write_given(write_run, folder, seed, **given):
    """A run beside the default pruner, to which something was given."""
    mask = given.pop("kept", None) or Mask.random(load_space("darts"), ratio=0.25, seed=seed)
    folder = write_run(folder, seed=seed, pruner="nngp", ratio=0.5, mask=mask)
    config = json.loads((folder / ".hydra" / "config.yaml").read_text()) | given | {"stage": "pipeline"}
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))


def test_groups_are_named_after_what_ran(write_run, tmp_path):
    """`mask=` of random quarters, and a published cell, each with two seeds."""
    for seed in (0, 1):
        write_given(write_run, tmp_path / f"mask-{seed}", seed, mask=f"{seed}.json")
        write_given(write_run, tmp_path / f"cell-{seed}", seed, genotype="darts_v2")
    groups = group_runs(load_runs([tmp_path]))
    assert [(group.name, len(group.runs)) for group in groups] == [("darts_v2", 2), ("random, pcdarts, ratio 0.25", 2)]


def test_masks_that_only_their_files_tell_apart(write_run, tmp_path):
    """A pruner of the same name with other settings, say; a copy of a file is no other mask."""
    other = replace(Mask.random(load_space("darts"), ratio=0.25, seed=7), seed=0)
    write_given(write_run, tmp_path / "a", 0, mask="one.json")
    write_given(write_run, tmp_path / "b", 0, mask="copy.json")
    assert [run.state for run in load_runs([tmp_path])] == [REPEATED, "done"]
    write_given(write_run, tmp_path / "c", 0, mask="other.json", kept=other)
    runs = load_runs([tmp_path])
    assert [run.settings.get("mask") for run in runs] == ["one.json", "copy.json", "other.json"]
    assert len(group_runs(runs)) == 3
