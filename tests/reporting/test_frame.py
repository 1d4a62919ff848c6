"""Runs as a DataFrame."""

import numpy as np
import pytest

import halfnas.reporting


def test_a_row_a_run(sweep):
    runs = halfnas.reporting.load(sweep)
    assert len(runs) == 21
    assert list(runs.columns[:4]) == ["folder", "state", "error", "seed"]
    assert runs.state.value_counts().to_dict() == {"done": 18, "failed": 1, "running": 1, "not started": 1}
    row = runs[runs.folder.str.endswith("nngp-0.5-1")].squeeze()
    assert (row.pruner, row.ratio, row.seed, row["dataset.name"]) == ("nngp", 0.5, 1, "digits")
    assert row["evaluate/test_acc"] == 0.9 + 0.05 * 0.5 + 0.001
    assert row["total/seconds"] == 8.0
    never = runs[runs.state == "not started"].squeeze()
    assert never[["seed", "pruner", "evaluate/test_acc", "error"]].isna().all()


def test_means_over_seeds(sweep):
    runs = halfnas.reporting.load(sweep)
    assert runs["evaluate/test_acc"].dtype == np.float64
    found = runs[runs.state == "done"].groupby(["pruner", "ratio"])["evaluate/test_acc"].agg(["count", "mean", "std"])
    assert found.loc["random", 0.25].to_list() == pytest.approx([3, 0.9235, 0.001])


def test_several_folders(tmp_path, write_run):
    for name in ("a", "b"):
        write_run(tmp_path / name / "run", seed=ord(name), ratio=0.5)
    runs = halfnas.reporting.load(tmp_path / "a", str(tmp_path / "b"))
    assert runs.seed.to_list() == [ord("a"), ord("b")]
    with pytest.raises(ValueError, match="no such folder"):
        halfnas.reporting.load(tmp_path / "gone")
