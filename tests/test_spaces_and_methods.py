"""Every space with every search method, as whole pipelines that take seconds; and what is refused, with the reason."""

import json

import pytest

from halfnas.config.plan import make_plan
from halfnas.errors import ConfigError
from halfnas.jobs.job import run_job
from halfnas.spaces import Genotype, Mask
from halfnas.spaces.load import CONF

SPACES = sorted(path.stem for path in (CONF / "space").glob("*.yaml"))
METHODS = sorted(path.stem for path in (CONF / "searcher").glob("*.yaml"))
TINY = (
    "dataset=fake", "pruner=random", "ratio=0.5", "searcher.epochs=1", "searcher.warmup_epochs=0",
    "searcher.batch_size=16", "evaluation.epochs=1", "evaluation.batch_size=16", "dataset.num_train=64",
    "dataset.num_test=16", "logger=none", "trainer=cpu", "~callbacks.progress",
)  # fmt: skip
CHAINS = ("mobilenet", "mobilenet_224", "nasbench_macro")


def small(space):
    """Overrides with which a space takes little time."""
    if space in CHAINS:
        return ["space.width_multiplier=0.125", "dataset.image_size=32"]
    cells = ["space.init_channels=4", "evaluation.init_channels=4", "space.num_cells=3", "evaluation.num_cells=3"]
    return [*cells, "dataset.image_size=8"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("space", SPACES)
def test_a_pipeline(space, method, settings, tmp_path):
    overrides = [*TINY, *small(space), f"space={space}", f"searcher={method}"]
    if method == "random_ws":
        overrides += ["searcher.samples=3", "searcher.sample_batches=1", "searcher.finalists=2"]
    run_job(settings(*overrides), tmp_path, overrides)

    status = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert (status["state"], status["stages_done"]) == ("done", ["prune", "search", "evaluate"])
    mask, genotype = Mask.load(tmp_path / "mask.json"), Genotype.load(tmp_path / "genotype.json")
    assert mask.space == genotype.space == space
    plan = make_plan(settings(*overrides), overrides)
    plan.space.check_genotype(genotype)
    for kind, genes in genotype.cells.items():
        for edge, (operation, _) in zip(plan.space.kinds[kind].edges_of(genes), genes, strict=True):
            assert operation in mask.kept[kind][edge]
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["evaluate/params"] > 0
    assert 0 <= metrics["evaluate/test_acc"] <= 1
    assert ("search/val_acc" in metrics) == (method != "random")
    assert (tmp_path / "figures" / "genotype.png").is_file()


@pytest.mark.parametrize(("overrides", "reason"), [
    ("space=nasbench_macro searcher.partial_channels=4", "the nasbench_macro space has no partial channels"),
    ("space=mobilenet searcher=drnas searcher.partial_channels=2", "the mobilenet space has no partial channels"),
    ("space=mobilenet evaluation.auxiliary=true", "the mobilenet space has no auxiliary head"),
    ("searcher=gdas supernet.compile=true", "`supernet.compile=true` has nothing to compile: HardGumbel picks"),
    ("searcher=gdas cuda_graphs=true", "`cuda_graphs=true` needs a CUDA device"),
    ("searcher=random_ws supernet.compile=true", "`supernet.compile=true` has nothing to compile: RandomPath picks"),
    ("searcher=random_ws +searcher.regularizer=null", "`searcher.regularizer`: RandomWS has no such argument"),
    ("searcher=random +searcher.partial_channels=4", "`searcher.partial_channels`: RandomSearch has no such argument"),
    ("searcher=random_ws searcher.samples=0", "`searcher.samples` must be at least 1: one of them is taken, got 0"),
    ("space=nasbench_macro dataset=fake dataset.image_size=4", "too small: the strides of space nasbench_macro"),
    ("space=nasbench_macro ++space.init_channels=8", "`space.init_channels`: NASBenchMacroSpace has no such argument"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(overrides, reason, settings):
    overrides = overrides.split()
    with pytest.raises(ConfigError) as error:
        make_plan(settings(*overrides), overrides)
    assert reason in str(error.value)
