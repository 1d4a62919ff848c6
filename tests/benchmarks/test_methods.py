"""The benchmark of all methods, on networks that are quick."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZES = ("--batch-size", "4", "--init-channels", "4", "--num-cells", "3", "--masks", "1", "--timed-masks", "1",
         "--draws", "2", "--rounds", "1", "--threads", "1", "--image-size", "8")  # fmt: skip


@pytest.mark.slow
def test_every_method_has_a_row(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "methods.py"), *SIZES, "--json", str(tmp_path / "rows.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["rows"]}
    methods = {path.stem for path in (BENCHMARKS.parent / "conf" / "searcher").glob("*.yaml")} - {"random"}
    assert set(rows) == {f"{method} {ratio}" for method in methods for ratio in ("1", "0.5")} | {
        "darts 1 plain", "pcdarts 0.5 plain",
    }  # fmt: skip
    for row in rows.values():
        assert row["name"] in done.stdout
        assert row["step_ms"] > 0
        assert 0 < row["peak_mib"] <= rows["darts 1 plain"]["peak_mib"]
