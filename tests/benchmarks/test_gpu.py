"""The benchmark of a card, tried without one: every row runs, and whatever happens to one is written down."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(tmp_path):
    """script(NAME, ...): run benchmarks/NAME.py to its end."""

    def run(name, *arguments):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def measure(script, tmp_path):
    """measure(...): what benchmarks/gpu.py wrote, and how it ended."""

    def run(*arguments):
        path = tmp_path / "gpu.json"
        done = script("gpu", "--device", "cpu", "--tiny", "--json", path, *arguments)
        return json.loads(path.read_text(encoding="utf-8")), done

    return run


@pytest.mark.slow
def test_every_row_has_figures(measure):
    written, done = measure()

    assert done.returncode == 0, done.stderr
    names = [row["name"] for row in written["rows"]]
    assert names[0] == "search, fused, PC half"
    assert len(names) == len(set(names))
    for row in written["rows"]:
        assert "error" not in row, row
        assert all(value > 0 for value in row["figures"].values()), row
        assert any(line.startswith(row["name"]) for line in done.stdout.splitlines())
    assert {"card", "torch", "commit", "published"} <= written.keys()
    assert "quark0/darts, search step, batch 256: 1,321 ms, 30,697 MiB" in done.stdout


def test_rows_for_which_no_time_is_left(measure):
    written, done = measure("--budget", 0)

    assert done.returncode == 0
    assert {row["error"] for row in written["rows"]} == {"not run: no time left"}
    assert done.stdout.count("not run: no time left") == len(written["rows"])


def test_a_row_that_takes_too_long_is_given_up(measure):
    written, done = measure("--row-seconds", 0.2, "--rows", "search, fused, PC half, nodes")

    assert done.returncode == 1
    assert [row["error"] for row in written["rows"]] == ["took longer than 0.2 s"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device(script):
    done = script("gpu")

    assert done.returncode == 1
    assert "error: there is no CUDA device; --device cpu --tiny tries the script" in done.stderr


@pytest.mark.slow
def test_a_whole_search(script, tmp_path):
    overrides = ["dataset.num_train=64", "dataset.num_test=8", "dataset.image_size=8", "searcher.batch_size=16"]
    overrides += ["space.init_channels=4", "space.num_cells=3", "searcher.epochs=1", "searcher.warmup_epochs=0"]
    overrides += ["pruner.repeats=1", "pruner.network.init_channels=2", "pruner.rounds=1", "trainer=cpu"]
    done = script("gpu_search", "--dataset", "fake", "--out", tmp_path / "out", *overrides)

    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines() if line.startswith(("prune/", "search/")))
    assert {"prune/seconds", "search/seconds", "search/step_ms"} <= found.keys()
    assert (tmp_path / "out" / "search" / "genotype.json").exists()
