"""The names that scripts rely on, and which value wins."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from halfnas.config.schema import register
from halfnas.spaces.load import CONF

#: setting -> (a value to override it with, its default on digits)
NAMES = {
    "stage": ("search", "pipeline"),
    "ratio": (0.25, 0.5),
    "seed": (7, 0),
    "mask": ("mask.json", None),
    "genotype": ("darts_v2", None),
    "name": ("mine", None),
    "optimized_metric": ("evaluate/val_acc", "search/val_acc"),
    "searcher.epochs": (2, 20),
    "searcher.batch_size": (32, 64),
    "searcher.partial_channels": (1, "auto"),
    "searcher.warmup_epochs": (1, 6),
    "space.init_channels": (12, 8),
    "space.num_cells": (5, 3),
    "supernet.engine": ("plain", "fused"),
    "supernet.recompute": ("cells", "none"),
    "supernet.compile": (True, False),
    "pruner.importance": ("exact", "taylor"),
    "pruner.combine": ("rank", "sum"),
    "pruner.rounds": (1, None),
    "pruner.scope": ("global", "edge"),
    "pruner.aggregate": ("median", ...),
    "pruner.repeats": (9, "auto"),
    "pruner.max_repeats": (20, ...),
    "pruner.stability": (0.8, 0.9),
    "pruner.image_size": (8, ...),
    "pruner.rankers.nngp_frobenius.sign": (-1, 1),
    "evaluation.epochs": (3, 30),
    "evaluation.batch_size": (16, 64),
    "evaluation.init_channels": (20, 12),
    "evaluation.num_cells": (6, 3),
    "evaluation.holdout_fraction": (0.1, 0.0),
    "trainer.devices": (2, 1),
    "trainer.precision": ("bf16-mixed", "32-true"),
    "paths.data_dir": ("elsewhere", ...),
    "hydra.run.dir": ("here", ...),
    "hydra.sweep.dir": ("there", ...),
}


def compose_all(*overrides):
    """With Hydra's own settings."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


def test_names_of_the_contract_can_be_set():
    cfg = compose_all(*(f"{name}={value}" for name, (value, _) in NAMES.items()))

    assert {name: OmegaConf.select(cfg, name) for name in NAMES} == {name: value for name, (value, _) in NAMES.items()}


def test_defaults_of_the_contract(settings):
    cfg = settings()

    for name, (_, default) in NAMES.items():
        if default is not ...:
            assert OmegaConf.select(cfg, name, throw_on_missing=True) == default, name


def test_default_groups():
    choices = compose_all().hydra.runtime.choices

    assert {group: choices[group] for group in ("dataset", "space", "pruner", "searcher", "logger")} == {
        "dataset": "digits",
        "space": "darts",
        "pruner": "nngp",
        "searcher": "beta_pcdarts",
        "logger": "wandb",
    }


def test_folders_are_in_the_folder_of_the_launch():
    cfg = compose_all()

    assert OmegaConf.to_container(cfg.paths)["data_dir"] == "${hydra:runtime.cwd}/data"
    assert str(cfg.hydra.run.dir).startswith("outputs/")
    assert str(cfg.hydra.sweep.dir).startswith("multirun/")


@pytest.mark.parametrize(
    "wrong", ["rato=0.5", "searcher.epoch=2", "pruner=best", "dataset=mnist", "checks=strict", "memory_budget_gib=4"]
)
def test_unknown_names_are_refused(settings, wrong):
    """Settings announced for later are unknown as well, not stubs."""
    with pytest.raises(ConfigCompositionException, match=wrong.split("=")[0].split(".")[-1]):
        settings(wrong)


@pytest.mark.parametrize("wrong", ["seed=abc", "seed=0.5"])
def test_plain_values_have_types(settings, wrong):
    with pytest.raises(ConfigCompositionException, match="Error merging override seed="):
        settings(wrong)


def test_digits_is_small(settings):
    cfg = settings("dataset=digits")

    assert (cfg.space.init_channels, cfg.space.num_cells, cfg.searcher.epochs) == (8, 3, 20)
    assert (cfg.evaluation.init_channels, cfg.evaluation.num_cells, cfg.evaluation.epochs) == (12, 3, 30)
    assert cfg.evaluation.auxiliary == "auto"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        # the command line wins over the recipe
        (["dataset=cifar10", "searcher.epochs=3"], {"searcher.epochs": 3, "searcher.warmup_epochs": 15}),
        (["dataset=digits", "space.num_cells=8"], {"space.num_cells": 8, "space.init_channels": 8}),
        # in either order
        (["searcher.epochs=3", "dataset=digits"], {"searcher.epochs": 3, "evaluation.epochs": 30}),
        # an experiment wins over the recipe, and the command line over both
        (["experiment=quick_cifar10"], {"evaluation.epochs": 10, "space.init_channels": 8, "space.num_cells": 5}),
        (["experiment=quick_cifar10", "evaluation.epochs=2"], {"evaluation.epochs": 2, "searcher.epochs": 8}),
        (["evaluation.epochs=2", "experiment=quick_cifar10"], {"evaluation.epochs": 2}),
        # a recipe follows the dataset that the command line or an experiment chooses
        (["experiment=half_cifar10", "dataset=digits"], {"space.num_cells": 3, "dataset._target_": ...}),
        (["experiment=half_cifar100"], {"space.num_cells": 8, "trainer.check_val_every_n_epoch": 5}),
        (["dataset=fake"], {"pruner.repeats": 2}),
        (["dataset=fake", "pruner=synflow"], {"pruner.repeats": 2, "pruner.name": "synflow"}),
        (["debug=default", "pruner.repeats=5"], {"pruner.repeats": 5}),
        # a recipe fits every searcher
        (["searcher=darts"], {"searcher.epochs": 20, "searcher.partial_channels": 1}),
        # the primary's own values come first: `_self_` before the groups
        (["experiment=darts_cifar10"], {"ratio": 1.0}),
        (["experiment=darts_cifar10", "ratio=0.75"], {"ratio": 0.75}),
    ],
)
def test_which_value_wins(settings, overrides, expected):
    cfg = settings(*overrides)

    for name, value in expected.items():
        found = OmegaConf.select(cfg, name)
        assert found == (found if value is ... else value), name


def test_order_of_the_defaults():
    """`_self_` first, or experiments would lose; the recipe after what it changes and before what changes it."""
    order = [
        entry if isinstance(entry, str) else next(iter(entry))
        for entry in OmegaConf.load(CONF / "config.yaml").defaults
    ]

    assert order[:2] == ["schema", "_self_"]
    assert order.index("optional recipe") > max(
        order.index(group) for group in ("dataset", "space", "pruner", "searcher", "evaluation", "trainer", "logger")
    )
    assert order[order.index("optional recipe") + 1 :] == [
        "arm", "experiment", "hparams_search", "debug", "optional local",
    ]  # fmt: skip


def test_primary_overrides_no_group():
    """`override` in config.yaml would silently win over an experiment (hydra#3229)."""
    assert "- override" not in (CONF / "config.yaml").read_text(encoding="utf-8")
