"""Numbers that no change of the house may move: benchmarks/record.py runs all of them, this some."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECORD = BENCHMARKS / "results" / "record.json"


@pytest.mark.slow
@pytest.mark.parametrize("run", ["pruner nngp_exact", "search fused nodes", "evaluate darts_v2"])
def test_what_is_found_is_what_was_recorded(run):
    command = [sys.executable, str(BENCHMARKS / "record.py"), "--compare", str(RECORD), "--only", run]
    done = subprocess.run([*command, "--tolerance", "1e-6"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout


def test_differences_are_found(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from record import differences

    before = {"metrics": {"a": 1.0, "b": [1, 2]}, "mask": None}
    assert differences(before, before, 0) == []
    after = {"metrics": {"a": 1.1, "b": [1, 3], "c": 0}, "mask": None}
    assert differences(before, after, 1e-9) == [
        "/metrics/a: 1.0 -> 1.1", "/metrics/b/1: 2 -> 3", "/metrics/c: only after",
    ]  # fmt: skip
    assert differences(before, {"metrics": {"a": 1.0 + 1e-12, "b": [1, 2]}, "mask": None}, 1e-9) == []


def test_every_stage_pruner_searcher_and_engine_is_recorded():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    conf = BENCHMARKS.parent / "conf"
    for pruner in {path.stem for path in (conf / "pruner").glob("*.yaml")} - {"none"}:
        assert f"pruner {pruner}" in record
    for searcher in {path.stem for path in (conf / "searcher").glob("*.yaml")} - {"beta_pcdarts"}:  # the default
        assert f"search {searcher}" in record
    assert not any("error" in found for found in record.values())
