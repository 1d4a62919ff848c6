"""`benchmarks/truth.py`: means, gains over a draw from the mask, differences paired by seed; a worked example."""

import csv
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from halfnas.reporting.groups import group_runs
from halfnas.reporting.runs import load_runs
from halfnas.runs.files import write_json
from halfnas.spaces import Mask, load_space
from halfnas.spaces.trained import TrainedTable

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "truth.py"
#: pruner -> what was found by seed, and the mean of what the mask leaves
FOUND = {"none": ((0.90, 0.89, 0.91, 0.90), 0.83), "random": ((0.89, 0.89, 0.905, 0.893), 0.84)}


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("truth")


@pytest.fixture
def runs(tmp_path):
    for pruner, (accuracies, left) in FOUND.items():
        for seed, accuracy in enumerate(accuracies):
            folder = tmp_path / "runs" / f"{pruner}{seed}"
            metrics = {"search/true_acc": accuracy, "prune/mean_true_acc": left, "search/seconds": 10.0 + seed}
            write_json(folder / "metrics.json", metrics)
            write_json(folder / "status.json", {"format": 1, "state": "done", "error": None})
            (folder / ".hydra").mkdir()
            (folder / ".hydra/config.yaml").write_text(f"{{seed: {seed}, pruner: {{name: {pruner}}}, ratio: 0.5}}")
    return tmp_path / "runs"


def test_a_row_a_group(runs, tmp_path):
    table = tmp_path / "table.csv"
    command = [sys.executable, SCRIPT, runs, "--baseline", "pruner=none", "--csv", table]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    with table.open(newline="") as file:
        rows = {row["group"]: row for row in csv.DictReader(file)}
    none, random = (rows[next(name for name in rows if name.startswith(pruner))] for pruner in FOUND)

    assert (random["n"], float(random["worst"])) == ("4", pytest.approx(89.0))
    assert float(random["true"]) == pytest.approx(89.45)
    assert float(random["search s"]) == 11.5
    assert float(random["gain"]) == pytest.approx(5.45)
    difference = 100 * np.subtract(FOUND["random"][0], FOUND["none"][0])
    low, high = stats.t.interval(0.95, 3, difference.mean(), stats.sem(difference))
    assert float(random["less baseline"]) == pytest.approx(difference.mean())
    assert (float(random["less baseline low"]), float(random["less baseline high"])) == pytest.approx((low, high))
    assert none["less baseline"] == none["seeds to decide"] == ""
    assert low < 0 < high
    assert int(random["seeds to decide"]) > 4
    assert "| 89.45 ± 0.71 |" in done.stdout
    assert f"| {difference.mean():+.2f} [{low:+.2f}, {high:+.2f}] |" in done.stdout


def test_two_spaces_are_not_compared(runs):
    config = runs / "none0/.hydra/config.yaml"
    config.write_text(config.read_text().replace("ratio:", "space: {name: other}, ratio:"))
    done = subprocess.run([sys.executable, SCRIPT, runs], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "several datasets or spaces are not compared" in done.stderr


def test_two_seeds_decide_nothing(script):
    part = script.difference({0: 0.01, 1: 0.02}, {0: 0.0, 1: 0.0})
    assert script.to_decide(part) == "too few to say"


@pytest.mark.parametrize(("values", "decided"), [((1.0, 1.1, 0.9, 1.0), True), ((1.0, -1.0, 0.5, -0.2), False)])
def test_what_is_decided_takes_no_more_seeds(script, values, decided):
    part = script.difference(dict(enumerate(v / 100 for v in values)), dict.fromkeys(range(4), 0.0))
    assert part.mean == pytest.approx(np.mean(values))
    assert (script.to_decide(part) is None) == decided


def test_what_would_be_drawn_from_the_same_masks(script, runs):
    """Of masks with one candidate a layer there is one architecture to draw."""
    space = load_space("nasbench_macro")
    every = ["".join(digits) for digits in itertools.product("012", repeat=8)]
    trained = TrainedTable(space, every, np.arange(len(every)) / len(every))
    for seed in range(4):
        kept = {kind: (edge.candidates[1],) for kind, cell in space.kinds.items() for edge in cell.edges}
        Mask("nasbench_macro", {kind: [names] for kind, names in kept.items()}).save(runs / f"none{seed}/mask.json")
    [none] = [group for group in group_runs(load_runs([runs])) if group.name.startswith("none")]
    assert script.drawn(none, trained) == dict.fromkeys(range(4), int("1" * 8, 3) / len(every))
