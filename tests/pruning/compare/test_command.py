"""`python -m halfnas.pruning.compare` as a user runs it, on noise."""

import csv
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir

from halfnas.spaces.load import CONF

PRUNERS = {path.stem for path in (CONF / "pruner").glob("*.yaml")}
SMALL = [
    "dataset=fake", "dataset.image_size=8", "dataset.num_train=40", "dataset.num_workers=0", "seeds=[0,1]",
    "ratio=0.75",
    "pruners.zen.repeats=2", "pruners.zen.rounds=1", "pruners.zen.batch_size=4", "num_threads=1",
    *(f"~pruner@pruners.{name}" for name in sorted(PRUNERS - {"zen", "random", "params", "none"})),
]  # fmt: skip


def run(folder, *arguments):
    command = [sys.executable, "-m", "halfnas.pruning.compare", f"hydra.run.dir={folder / 'out'}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def test_compares_all_pruners():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert set(compose("compare").pruners) == PRUNERS - {"none"}


def test_prunings(tmp_path):
    done = run(tmp_path, "parts=[prunings]", *SMALL)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "prunings.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["pruner"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"random", "params", "zen"}
    assert float(rows["params"]["agreement of seeds"]) == 1
    assert rows["params"]["agreement reported"] == ""  # one repeat says nothing of itself
    assert 0.4 < float(rows["zen"]["agreement of seeds"]) < 1
    assert 0.4 < float(rows["zen"]["agreement reported"]) <= 1
    assert float(rows["zen"]["seconds"]) > 0
    assert float(rows["zen"]["peak MiB"]) > 0
    assert 0.4 < float(rows["random"]["agreement of seeds"]) < 0.8
    for name in ("report.md", "agreements.csv", "agreements.png", "reliability.png", "masks/zen-1.json"):
        assert (tmp_path / "out" / name).is_file(), name
    assert "prunings" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parts=[nothing]"], "`parts` must be some of prunings, ratings, survivors, got 'nothing'"),
        (["parts=[ratings]", *SMALL], "is no file; it must be a table of NAS-Bench-201"),
        (["pruners.nngp.repeats=never", "parts=[]"], "`repeats` must be a number or auto"),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    done = run(tmp_path, "dataset=fake", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
