"""A run whose numbers are no longer finite fails, says where, and leaves nothing made of them."""

import json

import pytest
import torch
from hydra import compose, initialize_config_dir

from halfnas.config.schema import register
from halfnas.errors import Diverged
from halfnas.jobs.job import run_job
from halfnas.runs.status import read_status
from halfnas.search import BilevelSearch
from halfnas.search.step import WeightStep
from halfnas.spaces.load import CONF
from tiny_run import TINY


def run(path, *overrides):
    register()
    settings = (*TINY, "logger=none", "~callbacks.progress", f"paths.output_dir={path}", *overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"paths.data_dir={path / 'data'}", *settings])
    run_job(cfg, path)


def metrics(path):
    return json.loads((path / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("setting", ["searcher.learning_rate=1e30", "searcher.architecture_learning_rate=1e38"])
def test_a_search_that_diverges(tmp_path, setting, engine):
    with pytest.raises(Diverged, match=r"search diverged in epoch 1 of 2: .* is (nan|inf).*; lower the learning rates"):
        run(tmp_path, setting, f"supernet.engine={engine}", "searcher.epochs=2")

    status = read_status(tmp_path)
    assert (status["state"], status["stage"], status["stages_done"]) == ("failed", "search", ["prune"])
    assert "search diverged in epoch 1" in status["error"]
    assert not (tmp_path / "genotype.json").exists()
    assert not (tmp_path / "checkpoints").exists()
    assert not (tmp_path / "history.csv").exists()
    assert not any(key.startswith(("search/", "evaluate/")) for key in metrics(tmp_path))


def test_a_training_that_diverges(tmp_path):
    with pytest.raises(Diverged, match="evaluate diverged in epoch 1 of 1: train_loss is nan"):
        run(tmp_path, "searcher=random", "evaluation.learning_rate=1e30")

    assert read_status(tmp_path)["stages_done"] == ["prune", "search"]
    assert not any(key.startswith("evaluate/") for key in metrics(tmp_path))


def test_a_single_bad_loss_that_leaves_the_weights_as_they_are(tmp_path, monkeypatch):
    add = WeightStep._weight_step

    def spoiled(step, images, labels):
        add(step, images, labels)
        if step.means._sums[1, 0] > 0:
            step.means.add(len(images), train_loss=torch.tensor(float("inf")))

    monkeypatch.setattr(WeightStep, "_weight_step", spoiled)
    with pytest.raises(Diverged, match=r"search diverged in epoch 1 of 1: train_loss is inf; lower"):
        run(tmp_path)


def test_an_alpha_that_overflows_where_no_loss_tells(tmp_path, monkeypatch):
    step_end = BilevelSearch.on_train_epoch_end

    def spoiled(module):
        torch.nn.init.constant_(next(iter(module.supernet.alpha.values())), float("inf"))
        step_end(module)

    monkeypatch.setattr(BilevelSearch, "on_train_epoch_end", spoiled)
    with pytest.raises(Diverged, match=r"search diverged in epoch 1 of 1: supernet\.alpha\.normal is inf; lower"):
        run(tmp_path)
    assert not (tmp_path / "genotype.json").exists()
