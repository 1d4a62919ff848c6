"""Whole runs on a GPU, in process, on a few digits."""

import json
import logging

import pytest
import torch

from halfnas import Mask, load_space
from halfnas.jobs.job import run_job
from tiny_run import TINY

#: Small batches, so that epochs are long enough for a capture; algorithms that are not tried out first.
ON_GPU = (
    *(override for override in TINY if override != "trainer=cpu"),
    "trainer=gpu", "trainer.benchmark=false", "searcher.batch_size=16", "evaluation.batch_size=32", "logger=none",
    "~callbacks.progress",
)  # fmt: skip


def run(settings, path, *overrides):
    """run_job in `path`; returns metrics.json."""
    run_job(settings(*ON_GPU, *overrides), path)
    return json.loads((path / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture
def mask(tmp_path):
    """The file of a mask that keeps little."""
    path = tmp_path / "given.json"
    Mask.random(load_space("darts"), 0.25, 0).save(path)
    return path


@pytest.mark.gpu
def test_pipeline(settings, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="halfnas"):
        metrics = run(settings, tmp_path, "pruner=nngp", "pruner.repeats=1", "pruner.network.init_channels=2")

    assert {path.name for path in tmp_path.rglob("*") if path.suffix in (".json", ".ckpt", ".png")} == {
        "mask.json", "genotype.json", "metrics.json", "status.json", "search.ckpt", "evaluate.ckpt", "mask.png",
        "genotype.png", "strengths.png",
    }  # fmt: skip
    for stage in ("prune", "search", "evaluate"):
        assert metrics[f"{stage}/peak_reserved_mib"] >= metrics[f"{stage}/peak_allocated_mib"] > 0
    assert (
        metrics["search/peak_allocated_mib"] > metrics["search/peak_live_mib"] > metrics["search/step_activations_mib"]
    )
    assert metrics["search/step_ms"] > 0
    said = [record.getMessage() for record in caplog.records if "CUDA graph" in record.getMessage()]
    assert said == [
        "the score of the candidates is captured into a CUDA graph",
        "the step of the search is captured into a CUDA graph",
        "the step of the training is captured into a CUDA graph",
    ]


@pytest.mark.gpu
def test_mixed_precision(settings, tmp_path):
    metrics = run(settings, tmp_path, "trainer.precision=bf16-mixed", "evaluation.channels_last=true")
    assert metrics["evaluate/test_acc"] > 0.05
    assert metrics["evaluate/peak_allocated_mib"] > 0


@pytest.mark.gpu
def test_captured_runs_end_where_eager_ones_do(settings, tmp_path, mask):
    """Weights and architecture of a search, its images drawn and batched as always."""
    ends = []
    for graphs in ("true", "false"):
        path = tmp_path / graphs
        overrides = ("trainer.precision=64-true", "searcher.epochs=2", "searcher.warmup_epochs=1")
        overrides += (f"cuda_graphs={graphs}", f"paths.output_dir={path}", "searcher.batch_size=32")
        run(settings, path, "stage=search", f"mask={mask}", *overrides)
        ends.append(torch.load(path / "checkpoints" / "search.ckpt", weights_only=True)["state_dict"])
    for name, value in ends[1].items():
        torch.testing.assert_close(ends[0][name], value, rtol=1e-6, atol=1e-8, msg=name)


@pytest.mark.gpu
def test_anomalies_are_looked_for_without_a_graph(settings, tmp_path, mask, caplog):
    overrides = ("stage=search", f"mask={mask}", "trainer.detect_anomaly=true", "trainer.limit_train_batches=4")
    with caplog.at_level(logging.INFO, logger="halfnas"):
        run(settings, tmp_path, *overrides)
    assert [record.getMessage() for record in caplog.records if "CUDA graph" in record.getMessage()] == [
        "the step of the search runs without a CUDA graph: trainer.detect_anomaly looks at every gradient"
    ]
