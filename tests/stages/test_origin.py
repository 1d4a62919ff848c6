"""A run is named after what it works on, whatever its other settings say."""

import logging
from dataclasses import replace

import pytest
from omegaconf import open_dict

from halfnas import Genotype, Mask, load_space
from halfnas.config.plan import make_plan
from halfnas.jobs.job import _name
from halfnas.spaces import find_genotype
from halfnas.stages.progress import Progress
from halfnas.stages.stage import Origin

MASK = Mask.random(load_space("darts"), ratio=0.25, seed=2)


@pytest.fixture
def named(compose_settings, tmp_path):
    """named(*overrides): the settings of a run once it is named, with W&B's under `wandb`."""

    def name(*overrides):
        cfg = compose_settings(tmp_path, *overrides)
        plan = make_plan(cfg, overrides)
        chosen = {"dataset": "digits", "space": "darts", "searcher": "beta_pcdarts"}
        with open_dict(cfg):
            cfg.logger = {"wandb": {"project": "halfnas", "tags": ["mine"], "columns": chosen}}
        _name(cfg, plan, Progress())
        return cfg

    return name


def columns(cfg):
    wandb = cfg.logger.wandb
    return {key: wandb.columns[key] for key in ("pruner", "ratio", "seed", "searcher")}


@pytest.mark.parametrize(
    ("overrides", "name", "tag"),
    [
        ("", "nngp-r0.50-s0", "nngp"),
        ("pruner=random ratio=0.25 seed=3", "random-r0.25-s3", "random"),
        ("pruner=random ratio=0.125", "random-r0.125-s0", "random"),
        ("pruner=none seed=1", "none-r1.00-s1", "none"),
        ("pruner=[synflow,nngp]", "synflow+nngp_frobenius-r0.50-s0", "synflow+nngp_frobenius"),
        ("pruner=[nngp,synflow]", "nngp_frobenius+synflow-r0.50-s0", "nngp_frobenius+synflow"),
        ("pruner=[synflow,naswot] pruner.name=both", "both-r0.50-s0", "both"),
        ("pruner=nngp_exact", "nngp_exact-r0.50-s0", "nngp_exact"),
        ("pruner=te_nas", "te_nas-r0.50-s0", "te_nas"),
        ("name=mine", "mine", "nngp"),
        ("genotype=DARTS_v2 pruner=random", "darts_v2-s0", "darts_v2"),
        ("genotype=darts_v2 stage=evaluate seed=4", "darts_v2-s4", "darts_v2"),
    ],
)
def test_names(named, overrides, name, tag):
    cfg = named(*overrides.split())
    assert cfg.name == cfg.logger.wandb.name == name
    assert list(cfg.logger.wandb.tags) == [tag, "digits", "mine"]


@pytest.mark.parametrize(("seed", "name"), [(2, "random-r0.25-s2"), (5, "random-r0.25-s2-run5")])
def test_a_given_mask_names_the_run(named, tmp_path, seed, name):
    mask = MASK.save(tmp_path / "mask.json")
    cfg = named(f"mask={mask}", "pruner=nngp", "ratio=0.75", f"seed={seed}")
    assert cfg.name == name
    assert columns(cfg) == {"pruner": "random", "ratio": 0.25, "seed": seed, "searcher": "beta_pcdarts"}


def test_a_published_cell_has_no_pruner_and_no_searcher(named):
    cfg = named("genotype=darts_v2", "pruner=random", "ratio=0.25")
    assert columns(cfg) == {"pruner": None, "ratio": None, "seed": 0, "searcher": None}
    assert cfg.logger.wandb.columns.genotype == "darts_v2"


def test_a_genotype_of_a_run_has_the_name_of_its_mask(named, tmp_path):
    found = find_genotype("darts_v2").save(tmp_path / "found" / "genotype.json")
    assert named(f"genotype={found}").name == "found-s0"
    MASK.save(found.with_name("mask.json"))
    cfg = named(f"genotype={found}", "seed=2")
    assert cfg.name == "random-r0.25-s2"
    assert columns(cfg) == {"pruner": "random", "ratio": 0.25, "seed": 2, "searcher": None}
    assert named(f"genotype={Genotype.load(found).save(tmp_path / 'found' / 'best.json')}").name == "best-s0"


def test_only_pruning_has_no_searcher(named):
    assert columns(named("stage=prune"))["searcher"] is None


def test_two_decimals_unless_they_lose_some():
    names = [Origin.of_mask(replace(MASK, ratio=ratio)).name for ratio in (1, 0.5, 0.125, 1 / 3)]
    assert names == ["random-r1.00-s2", "random-r0.50-s2", "random-r0.125-s2", "random-r0.333333-s2"]


def test_nothing_warns_of_itself(named, caplog):
    with caplog.at_level(logging.WARNING):
        named()
    assert not caplog.records
