"""The benchmark of all methods, on networks that are quick."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIZES = ("--batch-size", "4", "--init-channels", "4", "--num-cells", "3", "--masks", "1", "--timed-masks", "1",
         "--draws", "2", "--rounds", "1", "--threads", "1", "--image-size", "8")  # fmt: skip


def test_every_method_has_a_row(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from methods import METHODS, SETUPS

    searchers = {path.stem for path in (BENCHMARKS.parent / "conf" / "searcher").glob("*.yaml")}
    assert set(METHODS) == searchers - {"random", "beta_pcdarts_published"}
    rows = {setup.name for setup in SETUPS}
    assert {f"{method} {ratio}" for method in METHODS for ratio in ("1", "0.5")} < rows


@pytest.mark.slow
def test_a_row_and_its_baselines(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "methods.py"), *SIZES, "--rows", "random_ws"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "rows.json")], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["rows"]}
    assert set(rows) == {"darts 1 plain", "pcdarts 0.5 plain", "random_ws 1", "random_ws 0.5"}
    for row in rows.values():
        assert row["name"] in done.stdout
        assert row["step_ms"] > 0
        assert row["peak_mib"] > 0
    assert rows["random_ws 1"]["peak_mib"] < 0.5 * rows["darts 1 plain"]["peak_mib"]
