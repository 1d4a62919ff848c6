"""Every mistake in the settings ends in one message that says what to do, before anything is built or written."""

import json
import logging
import pickle

import pytest

from halfnas import Genotype, Mask, load_space
from halfnas.config.plan import make_plan
from halfnas.errors import ConfigError
from halfnas.spaces import DartsSpace


@pytest.fixture
def problems(settings, tmp_path, monkeypatch):
    """problems(*overrides): those of the one ConfigError; nothing may be written on the way."""
    monkeypatch.chdir(tmp_path)

    def find(*overrides):
        before = sorted(tmp_path.rglob("*"))
        cfg = settings(*overrides)
        with pytest.raises(ConfigError) as caught:
            make_plan(cfg)
        assert sorted(tmp_path.rglob("*")) == before
        assert all(problem in str(caught.value) for problem in caught.value.problems)
        return caught.value.problems

    return find


@pytest.mark.parametrize("ratio", ["0", "1.5", "abc", "-0.5", "null", "true", ".nan"])
def test_ratio(problems, ratio):
    [problem] = problems(f"ratio={ratio}")

    value = {"abc": "'abc'", "null": "None", "true": "True", ".nan": "'.nan'"}.get(ratio, ratio)
    assert problem == (
        f"`ratio` must be a number in (0, 1], got {value}; it is the fraction of candidates kept, e.g. ratio=0.5"
    )


def test_ratio_is_not_needed_where_nothing_is_pruned(settings):
    make_plan(settings("ratio=7", "genotype=darts_v2"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            "searcher.partial_channels=3",
            ["`searcher.partial_channels`", "must divide `init_channels`", "8", "3", "possible: 1, 2, 4, 8"],
        ),
        ("searcher.partial_channels=0", ["`searcher.partial_channels`", "possible: 1, 2, 4, 8"]),
        ("searcher.partial_channels=abc", ["`searcher.partial_channels` must be an integer or auto, got 'abc'"]),
        ("searcher.partial_channels=1.5", ["`searcher.partial_channels` must be an integer or auto, got 1.5"]),
        ("searcher.epochs=0", ["`searcher.epochs` must be at least 1", "got 0"]),
        ("searcher.epochs=abc", ["`searcher.epochs` must be an integer, got 'abc'"]),
        ("searcher.epochs=2.5", ["`searcher.epochs` must be an integer, got 2.5"]),
        ("+searcher.foo=1", ["`searcher.foo`: BilevelSearch has no such argument; it has", "warmup_epochs"]),
        ("searcher.regularizer.weight=x", ["`searcher.regularizer.weight` must be a number, got 'x'"]),
        ("searcher._target_=halfnas.search.Nothing", ["`searcher._target_`", "'halfnas.search.Nothing'", "imported"]),
        ("pruner.rankers.nngp_frobenius.sign=up", ["`pruner.rankers.nngp_frobenius.sign` must be an integer, got"]),
        ("pruner.network.num_cells=2", ["`pruner.network`: `num_cells` must be at least 3, got 2"]),
        (
            "+pruner.network.foo=1",
            ["`pruner.network.foo`: DartsSpace has no such argument; it has init_channels, num_cells"],
        ),
        (
            "pruner.network.num_classes=9",
            ["`pruner.network.num_classes` must be at least the 10 classes of the dataset, got 9"],
        ),
        (
            "pruner.image_size=3",
            [
                "`pruner`: images of 8x8 are scaled down too far, raise `pruner.image_size`",
                "images of 3x3 are too small",
            ],
        ),
        ("pruner.image_size=0", ["`pruner.image_size` must be at least 1", "null leaves images as they are, got 0"]),
        ("pruner.repeats=0", ["`pruner.repeats` must be at least 1", "got 0"]),
        ("pruner.repeats=often", ["`pruner`: `repeats` must be a number or auto, got 'often'"]),
        ("pruner.repeats=1.5", ["`pruner.repeats` must be an integer or text, got 1.5"]),
        ("pruner.max_repeats=auto", ["`pruner.max_repeats` must be an integer, got 'auto'"]),
        ("pruner.rounds=0", ["`pruner.rounds` must be at least 1", "got 0"]),
        ("pruner.stability=1.5", ["`pruner.stability` must be at most 1: an agreement of two masks", "got 1.5"]),
        ("pruner.batch_size=1", ["`pruner.batch_size` must be at least 2", "got 1"]),
        ("pruner.importance=second", ["`pruner`: `importance` must be one of exact, taylor, got 'second'"]),
        ("pruner.combine=product", ["`pruner`: `combine` must be one of sum, rank, got 'product'"]),
        ("pruner.aggregate=max", ["`pruner`: `aggregate` must be one of mean, median, rank, shrink, got 'max'"]),
        ("pruner.scope=cell", ["`pruner`: `scope` must be one of edge, kind, global, got 'cell'"]),
        ("pruner=etenas space=nasbench_macro", ["`pruner`: the published code rates cells of DARTS", "nasbench_macro"]),
        ("pruner.rankers.nngp_frobenius=null", ["`pruner`: `rankers` must name at least one ranking function"]),
        ("pruner.rankers.nngp_frobenius.sign=2", ["`pruner`", "`sign` must be 1", "got 2"]),
        (
            "pruner.rankers.nngp_frobenius._target_=halfnas.pruning.rankers.Best",
            ["`pruner.rankers.nngp_frobenius._target_`", "'halfnas.pruning.rankers.Best' cannot be imported"],
        ),
        (
            "pruner=naswot pruner.importance=taylor",
            ["`pruner`: `importance=taylor` needs derivatives, which naswot cannot give; use importance=exact"],
        ),
        (
            "pruner=[naswot,synflow]",  # the last one's settings win
            ["`pruner`: `importance=taylor` needs derivatives, which naswot cannot give; use importance=exact"],
        ),
        ("space.num_cells=2", ["`space`: `num_cells` must be at least 3, got 2: fewer leave no normal cell"]),
        ("space.init_channels=0", ["`space`: `init_channels` must be positive, got 0"]),
        ("space.stem=imagenet", ["`space`: `stem` must be one of cifar, got 'imagenet'"]),
        ("+space.foo=1", ["`space.foo`: DartsSpace has no such argument"]),
        ("evaluation.num_cells=2", ["`evaluation`: `num_cells` must be at least 3, got 2"]),
        ("evaluation.init_channels=0", ["`evaluation`: `init_channels` must be positive, got 0"]),
        (
            "evaluation.auxiliary=true",
            ["`evaluation`: the auxiliary head needs 8x8 features", "8x8", "2x2", "evaluation.auxiliary=false"],
        ),
        ("evaluation.auxiliary=sometimes", ["`evaluation.auxiliary` must be true, false or auto, got 'sometimes'"]),
        (
            "dataset=fake dataset.image_size=2",
            ["images of 2x2 are too small", "at least 4x4", "use a dataset with larger images"],
        ),
        ("dataset=fake dataset.num_classes=0", ["`dataset.num_classes` must be at least 1, got 0"]),
        ("dataset.on_device=gpu", ["`dataset.on_device` must be true, false or auto, got 'gpu'"]),
        ("dataset.num_workers=-1", ["`dataset.num_workers` must be at least 0", "got -1"]),
        ("supernet.engine=warp", ["`supernet.engine`", "must be one of plain, fused", "got 'warp'"]),
        ("supernet.recompute=all", ["`supernet.recompute`", "must be one of none, nodes, cells", "got 'all'"]),
        ("supernet.compile=sometimes", ["`supernet.compile` must be true or false", "got 'sometimes'"]),
        ("+supernet.foo=1", ["`supernet.foo`", "engine"]),
        ("stage=serach", ["`stage` must be one of prune, search, evaluate, pipeline, or", "got 'serach'"]),
        ("stage=prune+evaluate", ["`stage` must", "that follow each other (prune+search), got 'prune+evaluate'"]),
        ("stage=search+prune", ["`stage` must be one of", "got 'search+prune'"]),
        ("stage=prune+", ["`stage` must be one of", "got 'prune+'"]),
        ("stage=search", ["`stage=search` needs a mask", "mask=PATH", "pruner=none"]),
        ("stage=evaluate", ["`stage=evaluate` needs a genotype", "genotype=PATH", "published"]),
        ("seed=-1", ["`seed` must be at least 0: seeds of random generators are not negative", "got -1"]),
        ("optimized_budget=0", ["`optimized_budget` must be positive", "got 0"]),
        ("stage=prune mask=mask.json", ["`stage=prune` makes a mask and does not read one"]),
        (
            "stage=search+evaluate pruner=none genotype=darts_v2",
            ["`stage=search+evaluate` makes a genotype and does not read one: leave out genotype=..."],
        ),
        ("searcher.architecture_betas=[0.5]", ["`searcher.architecture_betas` must be a list of another length"]),
        ("cuda_graphs=yes", ["`cuda_graphs` must be auto, true or false, got 'yes'"]),
        ("cuda_graphs=1", ["`cuda_graphs` must be auto, true or false, got 1"]),
        ("trainer.precision=16-mixed", ["`trainer.precision=16-mixed` is not supported", "use bf16-mixed"]),
        ("trainer.precision=16", ["`trainer.precision=16` is not supported", "use bf16-mixed"]),
        ("searcher.relaxation._target_=halfnas.search.Hard", ["`searcher.relaxation._target_`", "cannot be imported"]),
        ("evaluation.channels_last=maybe", ["`evaluation.channels_last` must be true or false, got 'maybe'"]),
    ],
)
def test_bad_settings(problems, overrides, words):
    [problem] = problems(*overrides.split())

    assert [word for word in words if word not in problem] == []


@pytest.mark.parametrize(
    ("available", "overrides", "words"),
    [
        (False, (), "`cuda_graphs=true` needs a CUDA device, and there is none here; use auto"),
        (True, ("trainer.detect_anomaly=true",), "does not go with `trainer.detect_anomaly=true`; use auto"),
    ],
)
def test_captured_steps_that_cannot_be(problems, monkeypatch, available, overrides, words):
    monkeypatch.setattr("torch.cuda.is_available", lambda: available)
    [problem] = problems("cuda_graphs=true", *overrides)
    assert words in problem


def test_stages_that_follow_each_other(settings):
    plan = make_plan(settings("stage=prune+search"))
    assert [stage.name for stage in plan.stages] == ["prune", "search"]
    plan = make_plan(settings("stage=search+evaluate", "pruner=none", "ratio=1"))
    assert [stage.name for stage in plan.stages] == ["prune", "search", "evaluate"]


def test_stages_that_follow_each_other_read_nothing_that_they_make(problems):
    found = problems("stage=prune+search", "mask=mask.json")
    assert any(problem.startswith("`stage=prune+search` makes a mask and does not read one") for problem in found)


def test_all_problems_are_shown_at_once_and_each_once(problems):
    found = problems("ratio=1.5", "searcher.partial_channels=3", "evaluation.epochs=0", "+pruner.foo=1", "seed=-1")

    starts = ["`ratio` ", "`searcher.partial_channels`", "`evaluation.epochs` ", "`pruner.foo`", "`seed` "]
    assert len(found) == len(starts)
    for start in starts:
        assert len([problem for problem in found if problem.startswith(start)]) == 1


def test_message_lists_the_problems(settings):
    with pytest.raises(ConfigError, match=r"halfnas: 2 settings that cannot run\n  \* .*epochs.*\n  \* .*ratio") as one:
        make_plan(settings("ratio=2", "searcher.epochs=0"))
    with pytest.raises(ConfigError, match=r"halfnas: a setting that cannot run\n  \* `ratio`"):
        make_plan(settings("ratio=2"))

    assert isinstance(one.value, ValueError)
    again = pickle.loads(pickle.dumps(one.value))  # it crosses from a job's process to the sweep's
    assert (again.problems, str(again)) == (one.value.problems, str(one.value))


# --- files ------------------------------------------------------------------------------------------------------------


def mask_json(**changes):
    content = Mask.random(load_space("darts"), ratio=0.5, seed=0).to_json()
    return content | changes


def kept(edge):
    """A mask whose normal cell's edge 3 keeps `edge`."""
    cells = mask_json()["kept"]
    cells["normal"][3] = edge
    return cells


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps(mask_json(space="nasbench201")), ["belongs to space 'nasbench201', not to 'darts'"]),
        (
            json.dumps(mask_json(kept=kept(["warp_3x3"]))),
            ["edge 3", "'normal'", "unknown operation 'warp_3x3'", "known:", "sep_conv_3x3"],
        ),
        (json.dumps(mask_json(kept=kept([]))), ["edge 3", "'normal'", "keeps no candidate", "at least one"]),
        (json.dumps(mask_json(kept=kept(["none"]))), ["edge 3", "keeps only 'none'", "at least one other operation"]),
        (json.dumps(mask_json(format=2)), ["`format` must be 1, got 2"]),
        (json.dumps(mask_json())[:-40], ["not complete JSON", "interrupted?"]),
        ("", ["not complete JSON"]),
        ("[]", ["expected a JSON object, found a list"]),
        (None, ["no such file"]),
    ],
)
@pytest.mark.parametrize("stage", ["search", "pipeline"])
def test_bad_masks(problems, tmp_path, text, words, stage):
    path = tmp_path / "some_mask.json"
    if text is not None:
        path.write_text(text)
    [problem] = problems(f"stage={stage}", f"mask={path}")

    assert problem.startswith("`mask`: ")
    assert [word for word in words if word not in problem] == []
    if "space" not in words[0] and "known:" not in words:
        assert str(path) in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": 1, "space": "darts", "normal": [["sep_', ["not complete JSON"]),
        (json.dumps({"format": 1, "space": "darts", "normal": []}), ["has cells ['normal']"]),
        (json.dumps({"format": 1, "space": "other", "normal": [["a", 0]]}), ["belongs to space 'other'"]),
    ],
)
def test_bad_genotypes(problems, tmp_path, text, words):
    path = tmp_path / "some_genotype.json"
    path.write_text(text)
    [problem] = problems("stage=evaluate", f"genotype={path}")

    assert problem.startswith("`genotype`: ")
    assert [word for word in words if word not in problem] == []


@pytest.mark.parametrize("stage", ["evaluate", "pipeline"])
def test_unknown_genotype_lists_the_known(problems, stage):
    [problem] = problems(f"stage={stage}", "genotype=darts_v9")

    assert "`genotype` must be a genotype.json or a published cell, got 'darts_v9'" in problem
    assert "darts_v2" in problem
    assert "pc_darts" in problem


# --- what a good plan holds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        ("", ("prune", "search", "evaluate")),
        ("stage=prune", ("prune",)),
        ("mask=MASK", ("search", "evaluate")),
        ("stage=search mask=MASK", ("search",)),
        ("stage=search pruner=none", ("prune", "search")),  # the whole mask is written
        ("genotype=darts_v2", ("evaluate",)),
        ("stage=evaluate genotype=DARTS_V2", ("evaluate",)),  # names are case-insensitive
        ("stage=evaluate genotype=GENOTYPE", ("evaluate",)),
    ],
)
def test_which_stages_run(settings, tmp_path, monkeypatch, overrides, stages):
    monkeypatch.chdir(tmp_path)
    mask = Mask.random(load_space("darts"), ratio=0.5, seed=3)
    mask.save("MASK")
    (tmp_path / "GENOTYPE").write_text(json.dumps(Genotype("darts", *darts_cells()).to_json()))
    plan = make_plan(settings(*overrides.split()))

    assert tuple(stage.name for stage in plan.stages) == stages
    first = plan.stages[0]
    assert (first.given == mask) == ("MASK" in overrides)
    assert (first.needs == "genotype") == ("genotype" in overrides)
    assert (first.given is None) == (first.needs is None)
    assert {path.name for path in tmp_path.iterdir()} == {"MASK", "GENOTYPE"}


def darts_cells():
    genes = (("sep_conv_3x3", 0), ("skip_connect", 1)) * 4
    return {"normal": genes, "reduce": genes}, {"normal": (2, 3, 4, 5), "reduce": (2, 3, 4, 5)}


def test_a_mask_in_another_order_is_the_same(settings, tmp_path):
    content = mask_json()
    content["kept"] = {kind: [edge[::-1] for edge in edges] for kind, edges in content["kept"].items()}
    (tmp_path / "mask.json").write_text(json.dumps(content))

    [stage] = make_plan(settings("stage=search", f"mask={tmp_path / 'mask.json'}")).stages
    assert stage.given == Mask.random(load_space("darts"), ratio=0.5, seed=0)


def spaces(plan):
    """The sizes of the search, the scoring network and the final network."""
    prune, search, evaluate = plan.stages
    return search.space, prune.module.pruner._scoring_space, evaluate.module._space


def test_three_sizes_of_one_space(settings):
    plan = make_plan(settings("dataset=cifar100", "pruner=synflow", "pruner.network.init_channels=6"))

    assert [(s.init_channels, s.num_cells) for s in spaces(plan)] == [(16, 8), (6, 3), (36, 20)]
    assert {s.num_classes for s in spaces(plan)} == {100}
    assert make_plan(settings("dataset=digits")).space.in_channels == 1


@pytest.mark.parametrize("num_classes", [100, 101, 1000])
def test_a_scoring_network_may_have_more_logits_than_there_are_classes(settings, num_classes):
    plan = make_plan(settings("dataset=cifar100", f"+pruner.network={{num_classes: {num_classes}}}"))

    assert [space.num_classes for space in spaces(plan)] == [100, num_classes, 100]


@pytest.mark.parametrize(
    "overrides", ["pruner.image_size=4", "pruner.image_size=null", "dataset=digits pruner.image_size=500"]
)
def test_images_that_a_scoring_network_can_work_on(settings, overrides):
    plan = make_plan(settings(*overrides.split()))

    assert plan.stages[0].module.pruner.image_size in (4, None, 500)


def test_a_scoring_network_is_checked_only_where_there_is_one(settings):
    for overrides in (["genotype=darts_v2"], ["pruner=random"], ["pruner=none", "ratio=1"]):
        make_plan(settings(*overrides, "pruner.image_size=1"))


@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        ("searcher.epochs=3 searcher.warmup_epochs=3", "the architecture is never trained"),
        ("pruner=none", "`ratio=0.5` has no effect with pruner=none"),
        ("stage=prune genotype=darts_v2", "`genotype=darts_v2` has no effect: nothing is evaluated"),
        (
            "genotype=darts_v2 mask=no_such.json",
            "`mask=no_such.json` has no effect: nothing is searched, as the genotype is given",
        ),
    ],
)
def test_settings_without_effect_warn_and_run(settings, caplog, overrides, warning):
    with caplog.at_level(logging.WARNING):
        make_plan(settings(*overrides.split()))

    [record] = [r for r in caplog.records if r.name.startswith("halfnas")]
    assert warning in record.getMessage()


@pytest.mark.parametrize(
    ("typed", "warnings"),
    [
        (
            "mask=MASK pruner=random ratio=0.25 searcher.epochs=20",
            ["`pruner=random`, `ratio=0.25` have no effect: nothing is pruned, as the mask is given"],
        ),
        (
            "genotype=darts_v2 pruner.repeats=2 supernet.engine=plain evaluation.epochs=3",
            [
                "`pruner.repeats=2` has no effect: nothing is pruned, as the genotype is given",
                "`supernet.engine=plain` has no effect: nothing is searched, as the genotype is given",
            ],
        ),
        (
            "stage=prune searcher.epochs=3 evaluation.epochs=3",
            [
                "`searcher.epochs=3` has no effect: nothing is searched",
                "`evaluation.epochs=3` has no effect: nothing is evaluated",
            ],
        ),
        ("pruner=random ratio=0.25 searcher=random evaluation.epochs=3 seed=1", []),
    ],
)
def test_what_is_typed_and_never_read_warns(settings, caplog, tmp_path, typed, warnings):
    mask = Mask.random(load_space("darts"), ratio=0.5, seed=0).save(tmp_path / "mask.json")
    overrides = typed.replace("MASK", str(mask)).split()
    with caplog.at_level(logging.WARNING):
        make_plan(settings(*overrides), overrides)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("halfnas")] == warnings


@pytest.mark.parametrize(
    ("overrides", "warns"),
    [
        ("searcher.epochs=5 searcher.warmup_epochs=4", False),
        ("searcher.epochs=5 searcher.warmup_epochs=6", True),
        ("searcher.warmup_epochs=50 stage=prune", False),  # nothing is searched
        ("searcher.warmup_epochs=50 genotype=darts_v2", False),
        ("pruner=none ratio=1", False),
        ("pruner=none ratio=1.0", False),
        ("pruner=none stage=prune", True),
        ("pruner=none stage=search", True),
        ("pruner=none genotype=darts_v2", False),  # nothing is pruned
        ("genotype=darts_v2 mask=no_such.json stage=evaluate", True),
    ],
)
def test_a_warning_has_a_cause(settings, caplog, overrides, warns):
    with caplog.at_level(logging.WARNING):
        make_plan(settings(*overrides.split()))

    assert len([r for r in caplog.records if r.name.startswith("halfnas")]) == warns


def test_everything_is_built_before_anything_is_trained(problems):
    """A mistake in a later stage is told before the first one begins, whatever it is."""
    found = problems("searcher.epochs=many", "+evaluation.auxilliary=true", "evaluation.num_cells=1")

    assert found[0] == "`searcher.epochs` must be an integer, got 'many'"
    assert found[1].startswith("`evaluation.auxilliary`: Evaluation has no such argument; it has epochs, batch_size")


def test_a_group_lists_what_can_be_set(problems):
    [problem] = problems("+searcher.fraction=0.5")

    assert "train_fraction" in problem  # taken by the data
    assert not any(word in problem for word in ("space", "cuda_graphs", "dataset", " seed"))  # no settings


def test_several_mistakes_of_one_stage(problems):
    assert len(problems("space.num_cells=15", "supernet.engine=warp", "searcher.partial_channels=3")) == 2


def test_good_settings_do_not_warn(settings, caplog):
    with caplog.at_level(logging.WARNING):
        make_plan(settings())

    assert caplog.records == []


@pytest.mark.parametrize(
    ("has_gpu", "overrides", "words"),
    [
        (False, ["cuda_graphs=yes"], ["`cuda_graphs` must be auto, true or false, got 'yes'"]),
        (False, ["cuda_graphs=true"], ["`cuda_graphs=true` needs a CUDA device", "use auto"]),
        (True, ["cuda_graphs=true", "trainer=cpu"], ["`cuda_graphs=true`", "`trainer.accelerator=cpu`", "use auto"]),
        (True, ["cuda_graphs=true", "trainer.detect_anomaly=true"], ["`trainer.detect_anomaly=true`", "use auto"]),
    ],
)
def test_cuda_graphs(problems, monkeypatch, has_gpu, overrides, words):
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    [problem] = problems(*overrides)

    assert all(word in problem for word in words)


def test_cuda_graphs_where_they_can_be_had(settings, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for value in ("auto", "true", "false"):
        make_plan(settings(f"cuda_graphs={value}"))


class TakesAnything(DartsSpace):
    def __init__(self, init_channels, num_cells, **others):
        super().__init__(init_channels, num_cells, others.pop("num_classes"), others.pop("in_channels"))
        assert set(others) <= {"stem"}


def test_a_space_that_takes_anything_is_given_sizes_and_no_other_settings(settings, monkeypatch):
    monkeypatch.setattr("halfnas.spaces.darts.DartsSpace", TakesAnything, raising=True)
    monkeypatch.setattr("halfnas.spaces.DartsSpace", TakesAnything, raising=True)
    plan = make_plan(settings())

    assert [type(space) for space in spaces(plan)] == [TakesAnything] * 3
    assert spaces(plan)[2].init_channels == 12
