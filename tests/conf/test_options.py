"""Every option of every group composes and names classes that take its settings."""

import pytest
from omegaconf import OmegaConf

from halfnas.errors import ConfigError
from halfnas.plan import make_plan
from halfnas.signatures import check_arguments
from halfnas.spaces.load import CONF

OPTIONS = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name != "local")
EXPERIMENTS = [name for group, name in OPTIONS if group == "experiment"]


def names(group):
    return [name for where, name in OPTIONS if where == group]


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_option_composes(settings, group, name):
    cfg = settings(f"{group}={name}")
    for part in cfg:
        if OmegaConf.is_dict(cfg[part]):
            assert check_arguments(OmegaConf.to_container(cfg[part], resolve=True), part) == []


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("dataset", {"digits", "cifar10", "cifar100", "fake"}),
        ("space", {"darts", "nasbench201"}),
        ("pruner", {"nngp", "random", "none"}),
        ("searcher", {"darts", "pcdarts", "beta_pcdarts"}),
        ("logger", {"wandb", "csv", "none"}),
        (
            "experiment",
            {
                "half_cifar10",
                "half_cifar100",
                "random_cifar10",
                "pcdarts_cifar10",
                "darts_cifar10",
                "quick_cifar10",
            },
        ),
    ],
)
def test_contract_names_these_options(group, expected):
    assert expected <= set(names(group))


@pytest.mark.parametrize("name", names("dataset"))
def test_every_dataset_has_a_recipe(name):
    assert name in names("recipe")


@pytest.mark.parametrize("name", names("dataset"))
def test_every_dataset_can_be_searched(settings, name):
    plan = make_plan(settings(f"dataset={name}"))

    assert plan.stages == ("prune", "search", "evaluate")
    assert plan.dataset.name == name
    assert plan.space.num_classes == plan.evaluation_space.num_classes == plan.dataset.num_classes


@pytest.mark.parametrize("name", names("pruner"))
def test_every_pruner_is_made(settings, name):
    assert make_plan(settings(f"pruner={name}", "ratio=1")).pruner.name == name


@pytest.mark.parametrize("name", names("space"))
def test_every_space_can_be_searched(settings, name):
    plan = make_plan(settings(f"space={name}"))

    assert plan.space.name == plan.scoring_space.name == plan.evaluation_space.name == name


def test_a_space_says_before_training_that_it_has_no_auxiliary_head(settings):
    with pytest.raises(ConfigError, match="`evaluation`: the nasbench201 space has no auxiliary head; switch it off"):
        make_plan(settings("space=nasbench201", "evaluation.auxiliary=true"))


@pytest.mark.parametrize("name", names("searcher"))
def test_every_searcher_can_run(settings, name):
    make_plan(settings(f"searcher={name}"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_run(settings, name):
    plan = make_plan(settings(f"experiment={name}"))

    assert plan.stages == ("prune", "search", "evaluate")
    assert plan.dataset.name == name.split("_")[1]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_how_to_run_it(name):
    text = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")

    assert text.startswith("# @package _global_\n#")
    assert f"#   python train.py experiment={name}\n" in text


@pytest.mark.parametrize("name", names("debug"))
def test_debug_comes_on_top_of_an_experiment(settings, name):
    cfg = settings("experiment=half_cifar10", f"debug={name}")

    assert cfg.searcher.epochs == cfg.evaluation.epochs == 1
    assert cfg.trainer.accelerator == "cpu"
    assert cfg.logger == {}
    make_plan(cfg)
