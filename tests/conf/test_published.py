"""The numbers of the published methods, each as its source has it."""

import math

import pytest

from halfnas.config.plan import make_plan
from halfnas.spaces import Mask
from halfnas.spaces.load import CONF

DARTS = {  # quark0/darts, cnn/train_search.py, defaults
    "partial_channels": 1,
    "epochs": 50,
    "warmup_epochs": 0,
    "batch_size": 64,
    "train_fraction": 0.5,
    "learning_rate": 0.025,
    "learning_rate_min": 0.001,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "gradient_clip": 5.0,
    "architecture_learning_rate": 3e-4,
    "architecture_betas": [0.5, 0.999],
    "architecture_weight_decay": 1e-3,
    "regularizer": None,
}
PCDARTS = DARTS | {  # yuhuixu1993/PC-DARTS, train_search.py and model_search.py
    "partial_channels": "auto",  # 4 in these spaces, see test_auto_is_what_is_published
    "warmup_epochs": 15,
    "batch_size": 256,
    "learning_rate": 0.1,
    "learning_rate_min": 0.0,
    "architecture_learning_rate": 6e-4,
}
# lambda grows by 1/2 an epoch: 0 to 25 over 50 epochs
BETA_PCDARTS = PCDARTS | {"regularizer": {"_target_": "halfnas.search.BetaDecay", "weight": 25.0}}
GDAS = DARTS | {  # D-X-Y/AutoDL-Projects f46486e, configs/search-opts/GDAS-NASNet-CIFAR.config and the script beside it
    "epochs": 250,
    "batch_size": 256,
    "weight_decay": 5e-4,
    "relaxation": {
        "_target_": "halfnas.search.HardGumbel",
        "temperature": 10.0,
        "temperature_min": 0.1,
        "add_others": False,
    },
}
DRNAS = (
    PCDARTS
    | {  # xiangning-chen/DrNAS f2caa4d, DARTS-space/train_search.py: the second K, frozen epochs of the first stage
        "warmup_epochs": 10,
        "batch_size": 64,
        "relaxation": {"_target_": "halfnas.search.Dirichlet"},
    }
)
DARTS2 = DARTS | {"step": {"_target_": "halfnas.search.UnrolledStep", "_partial_": True}}
EVALUATION = {  # quark0/darts, cnn/train.py, with --auxiliary --cutout
    "init_channels": 36,
    "num_cells": 20,
    "epochs": 600,
    "batch_size": 96,
    "learning_rate": 0.025,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "gradient_clip": 5.0,
    "auxiliary": "auto",  # true for these images, see test_auto_is_what_is_published
    "auxiliary_weight": 0.4,
    "drop_path": 0.2,
    "label_smoothing": 0.0,
    "cutout_length": 16,
    "holdout_fraction": 0.0,
}


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
@pytest.mark.parametrize(
    ("searcher", "published"),
    [
        ("darts", DARTS),
        ("darts2", DARTS2),
        ("pcdarts", PCDARTS),
        ("beta_pcdarts_published", BETA_PCDARTS),
        ("gdas", GDAS),
        ("drnas", DRNAS),
    ],
)
def test_search_is_the_published_one(settings, searcher, published, dataset):
    cfg = settings(f"searcher={searcher}", f"dataset={dataset}")

    assert {name: cfg.searcher[name] for name in published} == published
    assert cfg.searcher.edge_normalization is None  # with partial channels only; DrNAS has none with them either
    assert (cfg.space.init_channels, cfg.space.num_cells) == (16, 8)


def test_the_default_differs_from_the_published_one_in_the_weight_alone(settings):
    ours, published = settings("dataset=cifar10"), settings("dataset=cifar10", "searcher=beta_pcdarts_published")
    assert (ours.searcher.regularizer.weight, published.searcher.regularizer.weight) == (1.0, 25.0)
    ours.searcher.regularizer.weight = 25.0
    assert ours == published


@pytest.mark.parametrize("name", ["half_cifar10", "half_cifar100", "random_cifar10"])
def test_the_papers_experiments_have_the_published_searcher(settings, name):
    searcher = settings(f"experiment={name}").searcher
    assert {key: searcher[key] for key in BETA_PCDARTS} == BETA_PCDARTS


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_evaluation_is_the_published_one(settings, dataset):
    cfg = settings(f"dataset={dataset}")

    assert {name: cfg.evaluation[name] for name in EVALUATION} == EVALUATION


def test_scoring_is_that_of_the_authors_code(settings):
    pruner = settings("dataset=cifar10").pruner  # Rufaim/ETENAS; the sizes of the network: DESIGN 6

    assert (pruner.num_batches, pruner.batch_size) == (2, 14)
    assert pruner.rounds is None  # one candidate an edge and round: arXiv 2505.13586, Algorithm 1
    assert pruner.scope == "edge"
    assert pruner.rankers.nngp_frobenius.sign == 1
    assert list(pruner.rankers) == ["nngp_frobenius"]


def test_etenas_is_that_of_its_scripts(settings):
    pruner = settings("dataset=cifar10", "pruner=etenas").pruner  # launch_prune_etenas_darts.sh, launch_prune_etenas.sh

    assert (pruner.repeats, pruner.num_batches, pruner.image_size) == (3, 2, 32)
    assert pruner.prune_number == {"darts": 3, "nasbench201": 1}
    assert pruner.batch_size == {"darts": 14, "nasbench201": 72}
    assert pruner.channels == {"darts": 1, "nasbench201": 3}
    assert [(key, ranker.weight, ranker.sign) for key, ranker in pruner.rankers.items()] == [("nngp_frobenius", 1, 1)]


def test_te_nas_is_that_of_its_code(settings):
    pruner = settings("dataset=cifar10", "pruner=te_nas").pruner  # VITA-Group/TENAS, prune_tenas.py

    assert list(pruner.rankers) == ["ntk", "linear_regions"]
    assert [ranker.sign for ranker in pruner.rankers.values()] == [-1, 1]  # small condition number, many regions
    assert [ranker.weight for ranker in pruner.rankers.values()] == [1, 1]
    assert (pruner.combine, pruner.importance, pruner.repeats) == ("rank", "exact", 3)
    assert pruner.rankers.linear_regions.patch_size == 3
    assert pruner.num_batches == 1


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_cifar_is_normalised_and_augmented_as_published(settings, dataset):
    cfg = settings(f"dataset={dataset}").dataset

    if dataset == "cifar10":
        assert list(cfg.mean) == [0.49139968, 0.48215827, 0.44653124]  # quark0/darts, cnn/utils.py
        assert list(cfg.std) == [0.24703233, 0.24348505, 0.26158768]
    assert (cfg.crop_padding, cfg.flip, cfg.max_train_images) == (4, True, None)


@pytest.mark.parametrize(
    ("experiment", "pruner", "searcher", "ratio", "drop_path"),
    [
        ("half_cifar10", "nngp", BETA_PCDARTS, 0.5, 0.3),
        ("half_cifar100", "nngp", BETA_PCDARTS, 0.5, 0.3),
        ("random_cifar10", "random", BETA_PCDARTS, 0.5, 0.3),
        ("pcdarts_cifar10", "none", PCDARTS, 1.0, 0.3),  # 0.3: PC-DARTS, train.py
        ("darts_cifar10", "none", DARTS, 1.0, 0.2),
    ],
)
def test_experiments_differ_in_the_published_way_only(settings, experiment, pruner, searcher, ratio, drop_path):
    cfg = settings(f"experiment={experiment}")

    assert cfg.pruner.name == pruner
    assert math.isclose(cfg.ratio, ratio)
    assert {name: cfg.searcher[name] for name in searcher} == searcher
    assert {name: cfg.evaluation[name] for name in EVALUATION} == EVALUATION | {"drop_path": drop_path}
    assert (cfg.space.init_channels, cfg.space.num_cells) == (16, 8)


def test_experiments_that_are_compared_share_batch_size_and_drop_path(settings):
    """The one that does not says so, with the command of a baseline that does."""
    compared = [settings(f"experiment={name}_cifar10") for name in ("half", "random", "pcdarts")]
    told = ["searcher.batch_size=256", "searcher.learning_rate=0.1", "evaluation.drop_path=0.3"]
    compared.append(settings("experiment=darts_cifar10", *told))
    shared = ("batch_size", "learning_rate")
    assert len({tuple(cfg.searcher[name] for name in shared) for cfg in compared}) == 1
    assert len({str((cfg.evaluation, cfg.trainer, cfg.space, cfg.supernet)) for cfg in compared}) == 1
    said = (CONF / "experiment" / "darts_cifar10.yaml").read_text(encoding="utf-8")
    assert " ".join(told) in said
    assert "reports refuse it" in said


@pytest.mark.parametrize(
    ("overrides", "auxiliary", "partial_channels"),
    [
        (["dataset=cifar10"], True, 4),
        (["dataset=digits"], False, 4),  # features are 2x2
        (["dataset=cifar10", "searcher=pcdarts"], True, 4),
        (["dataset=cifar10", "searcher=darts"], True, 1),
        (["dataset=cifar10", "space=s1"], True, 4),
        (["dataset=digits", "space=nasbench201"], False, 4),
        (["dataset=cifar10", "space=nasbench_macro"], False, 1),
        (["dataset=cifar10", "space=mobilenet"], False, 1),
    ],
)
def test_auto_is_what_is_published(settings, overrides, auxiliary, partial_channels):
    """In the DARTS space K = 4 (PC-DARTS, model_search.py) and the auxiliary head; others have what they can."""
    *_, search, evaluate = make_plan(settings("pruner=random", *overrides)).stages

    assert evaluate.module.auxiliary is auxiliary
    search.begin(Mask.random(search.space, 0.5, seed=0))
    assert search.metrics()["search/partial_channels"] == partial_channels
    assert bool(search.module.supernet.beta) == (partial_channels > 1)
