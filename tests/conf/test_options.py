"""Every option of every group composes and names classes that take its settings."""

import itertools
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from halfnas.config.plan import GROUPS, check_group, make_plan
from halfnas.config.schema import register
from halfnas.errors import ConfigError
from halfnas.pruning import ImportancePruner, rankers
from halfnas.spaces import discretize, load_space
from halfnas.spaces.load import CONF

OPTIONS = sorted((path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name != "local")
EXPERIMENTS = [name for group, name in OPTIONS if group == "experiment"]


def names(group):
    return [name for where, name in OPTIONS if where == group]


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_option_composes(settings, group, name):
    cfg = OmegaConf.to_container(settings(f"{group}={name}"), resolve=True)
    for part in GROUPS:
        assert check_group(part, cfg) == []


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("dataset", {"digits", "cifar10", "cifar100", "fake"}),
        ("space", {"darts", "s1", "s2", "s3", "s4", "nasbench201", "nasbench_macro", "mobilenet", "mobilenet_224"}),
        (
            "pruner",
            {
                "nngp",
                "nngp_mean",
                "ntk",
                "linear_regions",
                "naswot",
                "synflow",
                "snip",
                "grasp",
                "grad_norm",
                "fisher",
                "jacob_cov",
                "zen",
                "zico",
                "params",
                "flops",
                "te_nas",
                "etenas",
                "random",
                "none",
            },
        ),
        ("searcher", {"darts", "darts2", "pcdarts", "beta_pcdarts", "gdas", "drnas"}),
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

    assert [stage.name for stage in plan.stages] == ["prune", "search", "evaluate"]
    assert plan.dataset.name == name
    assert plan.space.num_classes == plan.dataset.num_classes


def pruner_of(cfg):
    return make_plan(cfg).stages[0].module.pruner


@pytest.mark.parametrize("name", names("pruner"))
def test_every_pruner_is_made(settings, name):
    assert pruner_of(settings(f"pruner={name}", "ratio=1")).name == name


@pytest.mark.parametrize("name", names("pruner"))
def test_settings_of_every_pruner_are_the_same(settings, name):
    """So that a sweep over pruners can share overrides."""
    base = OmegaConf.load(CONF / "pruner" / "base" / "importance.yaml")

    own = {"etenas": {"prune_number", "channels"}}
    assert set(settings(f"pruner={name}").pruner) - {"name", "rankers"} - own.get(name, set()) == set(base)


@pytest.fixture(scope="module")
def listed(compose_settings):
    """Name of a pruner -> settings of its ranking functions."""
    folder = Path("none")
    return {name: compose_settings(folder, f"pruner={name}").pruner.get("rankers", {}) for name in names("pruner")}


@pytest.mark.parametrize("name", rankers.__all__)
def test_every_ranking_function_is_a_pruner(settings, listed, name):
    """With its weight and its sign; a small condition number is the good one."""
    target = f"halfnas.pruning.rankers.{name}"
    found = [
        option
        for option, nodes in listed.items()
        if [node._target_ for node in nodes.values()] == [target] and option != "etenas"  # a procedure of its own
    ]
    assert found
    for option in found:
        [node] = listed[option].values()
        assert {"_target_", "weight", "sign"} <= set(node)
        assert (node.weight, node.sign) == (1.0, -1 if option.startswith("ntk") else 1)
        pruner = pruner_of(settings(f"pruner={option}"))
        assert type(pruner) is ImportancePruner
        [ranker] = pruner.rankers.values()
        assert type(ranker) is getattr(rankers, name)


def test_te_nas_is_two_ranking_functions(settings):
    both = settings("pruner=te_nas").pruner.rankers

    assert dict(both) == {name: settings(f"pruner={name}").pruner.rankers[name] for name in ("ntk", "linear_regions")}


@pytest.mark.parametrize("last", ["naswot", "linear_regions"])
def test_pruners_can_be_listed(settings, last):
    """Their ranking functions are summed; other settings are those of the last one."""
    cfg = settings(f"pruner=[synflow,{last}]", "pruner.rankers.synflow.weight=0.5")
    alone = settings(f"pruner={last}").pruner

    assert list(cfg.pruner.rankers) == ["synflow", last]
    assert cfg.pruner.rankers[last] == alone.rankers[last]
    assert {key: cfg.pruner[key] for key in cfg.pruner if key != "rankers"} == {
        key: alone[key] for key in alone if key != "rankers"
    }
    pruner = pruner_of(cfg)
    first, second = pruner.rankers.values()
    assert type(first) is rankers.SynFlow
    assert (first.weight, second.weight) == (0.5, 1.0)


@pytest.mark.parametrize("name", names("space"))
def test_every_space_can_be_searched(settings, name):
    plan = make_plan(
        settings(f"space={name}", "dataset=fake", "recipe=digits", "dataset.image_size=64", "pruner.image_size=32")
    )

    assert plan.space.name == name == load_space(name).name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "space=mobilenet_224 dataset=fake dataset.image_size=64",
            r"`pruner`: images of 64x64 are scaled down too far, raise `pruner.image_size` \(null leaves them\): "
            "images of 16x16 are too small: the strides of space mobilenet_224 divide the resolution by 32, so",
        ),
        ("space=mobilenet_224 dataset=fake dataset.image_size=16", "`dataset`: images of 16x16 are too small"),
        (
            "space=nasbench_macro dataset=fake dataset.image_size=7 pruner=random",
            "`dataset`: images of 7x7 are too small",
        ),
        (
            "space=mobilenet dataset=fake dataset.image_size=7 stage=evaluate genotype=darts_v2",
            "images of 7x7 are too small",
        ),
        (
            "space=mobilenet evaluation.auxiliary=true",
            "`evaluation`: the mobilenet space has no auxiliary head; switch it",
        ),
        (
            "space=nasbench_macro searcher.partial_channels=4",
            "`searcher.partial_channels`: the nasbench_macro space has no",
        ),
        ("space=s1 genotype=darts_v2", "`genotype`: darts_v2: the genotype belongs to space 'darts', not to 's1'"),
        (
            "space=s2 space.candidates=[skip]",
            "`space`: `candidates` of edge 0 of cell 'normal': unknown operation 'skip'",
        ),
        ("space=s2 space.candidates=3", "`space.candidates` must be a list or a mapping, got 3"),
        ("space=mobilenet space.depths=[1,1]", "`space`: `widths`, `depths` and `strides` must be lists of one length"),
        ("space=mobilenet space.strides=2", "`space.strides` must be a list, got 2"),
        ("space=nasbench_macro space.width_multiplier=0", "`width_multiplier` must be positive, got 0"),
    ],
)
def test_what_spaces_refuse(settings, overrides, message):
    typed = overrides.split()
    with pytest.raises(ConfigError, match=message):
        make_plan(settings(*typed), typed)


@pytest.mark.parametrize("name", ["nasbench_macro", "mobilenet"])
def test_etenas_refuses_chains(settings, name):
    with pytest.raises(ConfigError, match=f"the published code rates cells of DARTS .* network for the {name} space"):
        make_plan(settings("pruner=etenas", f"space={name}"))


@pytest.mark.parametrize("name", ["nasbench_macro", "mobilenet"])
@pytest.mark.parametrize("size", ["space.init_channels", "pruner.network.num_cells", "evaluation.init_channels"])
def test_sizes_that_a_space_does_not_have_are_refused_only_where_typed(settings, name, size):
    typed = ["dataset=cifar10", f"space={name}", f"++{size}=6"]
    make_plan(settings(*typed[:2]), typed[:2])
    with pytest.raises(ConfigError, match=f"`{size}`: .* has no such argument"):
        make_plan(settings(*typed), typed)


@pytest.mark.parametrize("name", names("searcher"))
def test_every_searcher_can_run(settings, name):
    make_plan(settings(f"searcher={name}"))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A setting: a folder with complete tables of trained accuracy, all equal."""
    folder = tmp_path_factory.mktemp("tables")
    for name, of_table in (("nasbench201", "nasbench201_val.csv"), ("nasbench_macro", "nasbench_macro.csv")):
        space = load_space(name, num_classes=10)
        places = [(kind, edge) for kind, cell in space.kinds.items() for edge in cell.edges]
        rows = []
        for names_chosen in itertools.product(*(edge.candidates for _, edge in places)):
            strengths = {kind: [] for kind in space.kinds}
            for (kind, _), chosen in zip(places, names_chosen, strict=True):
                strengths[kind].append({chosen: 1.0})
            rows.append(f"{space.architecture_string(discretize(space, strengths))},90\n")
        (folder / of_table).write_text("architecture,cifar10_valid\n" + "".join(rows))
    return f"paths.data_dir={folder}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_run(settings, tables, name):
    plan = make_plan(settings(f"experiment={name}", tables))

    looked_up = "nasbench" in name
    assert [stage.name for stage in plan.stages] == ["prune", "search", "evaluate"][: 2 if looked_up else 3]
    assert plan.dataset.name == "cifar10" if looked_up else name.split("_")[1]


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


# --- sweeps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in names("hparams_search") if name != "optuna"])
def test_every_job_of_a_ready_sweep_can_run(settings, tables, name):
    content = OmegaConf.load(CONF / "hparams_search" / f"{name}.yaml")
    params = content.hydra.sweeper.params
    assert content.hydra.mode == "MULTIRUN"
    jobs = list(itertools.product(*(str(values).split(",") for values in params.values())))
    assert len(jobs) > 1
    said = (CONF / "hparams_search" / f"{name}.yaml").read_text(encoding="utf-8")
    assert re.search(rf"\b{len(jobs)} (jobs|searches)", said), f"{len(jobs)} jobs"
    for job in jobs[:: max(1, len(jobs) // 12)]:
        assignments = [f"{key}={value}" for key, value in zip(params, job, strict=True)]
        make_plan(settings(f"hparams_search={name}", *assignments, tables))


def test_the_arms_of_the_paper_differ_in_nothing_but_the_method(settings):
    """Whether a sweep of them is typed or ready, on any dataset."""
    arms = {arm: settings("dataset=cifar10", f"arm={arm}") for arm in names("arm")}
    assert set(arms) == {"darts", "pcdarts", "random_half", "nngp_half"}
    found = {arm: (cfg.searcher.partial_channels, cfg.pruner.name, cfg.ratio) for arm, cfg in arms.items()}
    assert found == {
        "darts": (1, "none", 1.0), "pcdarts": ("auto", "none", 1.0),
        "random_half": ("auto", "random", 0.5), "nngp_half": ("auto", "nngp", 0.5),
    }  # fmt: skip
    for shared in ("dataset", "space", "supernet", "evaluation", "trainer"):
        assert len({str(cfg[shared]) for cfg in arms.values()}) == 1
    assert {(cfg.searcher.batch_size, cfg.searcher.learning_rate) for cfg in arms.values()} == {(64, 0.025)}
    assert arms["random_half"].searcher == arms["nngp_half"].searcher
    assert arms["nngp_half"].searcher.regularizer is not None


@pytest.mark.parametrize("name", names("arm"))
def test_what_is_typed_wins_over_an_arm(settings, name):
    cfg = settings(f"arm={name}", "pruner=synflow", "ratio=0.25")
    assert (cfg.pruner.name, cfg.ratio) == ("synflow", 0.25)


def test_optuna_maximises_no_test_accuracy(settings):
    content = OmegaConf.load(CONF / "hparams_search" / "optuna.yaml")
    assert content.optimized_metric == "search/val_acc"
    assert content.optimized_budget > 0
    assert content.hydra.sweeper.direction == "maximize"
    cfg = settings()
    for key in content.hydra.sweeper.params:  # they exist
        assert OmegaConf.select(cfg, key, throw_on_missing=True) is not None


@pytest.mark.parametrize("name", ["submitit_local", "submitit_slurm"])
def test_launchers_have_our_limits_and_every_setting_of_the_plugin(name):
    """Ours stands in for the plugin's of the same name, whose 60 minutes would restart longer jobs over and over."""
    register()
    plugin = pytest.importorskip("hydra_plugins.hydra_submitit_launcher.config")
    theirs = plugin.LocalQueueConf if name == "submitit_local" else plugin.SlurmQueueConf
    with initialize_config_dir(str(CONF), version_base="1.3"):
        launcher = compose("config", [f"hydra/launcher={name}"], return_hydra_config=True).hydra.launcher
    assert launcher.timeout_min >= 24 * 60
    assert launcher.get("max_num_timeout", 0) == 0
    assert launcher._target_ == theirs()._target_
    assert set(launcher) == set(OmegaConf.structured(theirs))
