"""What architectures are worth is told after every epoch, and chooses nothing."""

import csv
import itertools
import json

import pytest
from hydra import compose, initialize_config_dir

from halfnas import Genotype, Mask, load_space
from halfnas.config.schema import register
from halfnas.errors import ConfigError
from halfnas.jobs.job import run_job
from halfnas.spaces.load import CONF
from halfnas.spaces.trained import TrainedTable
from tiny_run import TINY

MACRO = load_space("nasbench_macro")
TINY_MACRO = ("space=nasbench_macro", "space.width_multiplier=0.125", "stage=search", "pruner=none", "ratio=1")


@pytest.fixture
def table(tmp_path):
    """The accuracy of an architecture in percent is 10 and the number of its twos."""
    path = tmp_path / "table.csv"
    every = ("".join(digits) for digits in itertools.product("012", repeat=8))
    rows = [("architecture", "digits_valid"), *((text, 10 + text.count("2")) for text in every)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def run(path, *overrides):
    register()
    tiny = [setting for setting in TINY if "init_channels" not in setting and "pruner" not in setting]
    settings = [*tiny, *TINY_MACRO, "logger=none", "~callbacks.progress", f"paths.output_dir={path}", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        run_job(compose("config", [f"paths.data_dir={path / 'data'}", *settings]), path)
    return json.loads((path / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("searcher", ["darts", "random_ws", "random"])
def test_the_architecture_found_is_looked_up(tmp_path, table, searcher):
    few = ["searcher.samples=2", "searcher.finalists=1", "searcher.sample_batches=1"] if searcher == "random_ws" else []
    metrics = run(tmp_path / "told", f"searcher={searcher}", f"benchmark={table}", *few)
    genotype = Genotype.load(tmp_path / "told" / "genotype.json")
    worth = TrainedTable.load(table, MACRO, "digits").look_up(genotype)
    assert metrics["search/true_acc"] == worth["true_acc"]
    assert metrics["search/true_rank"] == worth["true_rank"]
    assert metrics["prune/best_true_acc"] == pytest.approx(0.18)
    assert metrics["prune/mean_true_acc"] == pytest.approx((10 + 8 / 3) / 100)
    assert metrics["search/true_gap"] == pytest.approx(0.18 - worth["true_acc"])
    untold = run(tmp_path / "untold", f"searcher={searcher}", *few)
    assert not any("true" in key for key in untold)
    assert Genotype.load(tmp_path / "untold" / "genotype.json") == genotype


def test_every_epoch_has_a_row(tmp_path, table):
    run(tmp_path, "searcher=darts", "searcher.epochs=2", f"benchmark={table}")
    with (tmp_path / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "search"]
    assert len(rows) == 2
    for row in rows:
        assert 0.10 <= float(row["search/true_acc"]) <= 0.18
        assert 0 <= float(row["search/moved_edges"]) <= 1
        assert float(row["search/alpha_spread"]) > 0


def test_what_a_given_mask_leaves(tmp_path, table):
    mask = Mask.random(MACRO, ratio=0.5, seed=3)
    file = mask.save(tmp_path / "mask.json")
    metrics = run(tmp_path / "run", "searcher=random", f"mask={file}", f"benchmark={table}")
    twos = sum("mbconv_5x5_e6" in names for (names,) in mask.kept.values())
    assert metrics["prune/best_true_acc"] == pytest.approx((10 + twos) / 100)
    assert metrics["prune/mean_true_acc"] == pytest.approx((10 + twos / 2) / 100)


def test_a_table_that_cannot_be_used_is_told_before_training(tmp_path, table):
    with pytest.raises(ConfigError, match=r"`benchmark`: .*nasbench_macro\.csv: no such table"):
        run(tmp_path / "run", "benchmark=auto")
    with pytest.raises(ConfigError, match=r"`benchmark`: .* no accuracies of dataset fake"):
        run(tmp_path / "run", f"benchmark={table}", "dataset=fake", "dataset.image_size=8")
    assert not (tmp_path / "run" / "metrics.json").exists()
