"""`benchmarks/agreement.py`: intervals over masks, and what chance gives."""

import csv
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from halfnas.spaces import Mask, load_space
from halfnas.spaces.candidates import Candidates

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "agreement.py"


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("agreement")


@pytest.fixture(scope="module")
def space():
    return load_space("nasbench201")


def pairs_of(rows):
    return np.array([[(a == b).mean() for b in rows] for a in rows])


def test_interval_is_that_of_means_with_one_mask_left_out(script):
    rows = np.random.default_rng(0).integers(2, size=(6, 12))
    pairs = pairs_of(rows)
    mean = np.mean([pairs[i, j] for i, j in combinations(range(6), 2)])
    without = [np.mean([pairs[i, j] for i, j in combinations([k for k in range(6) if k != s], 2)]) for s in range(6)]
    error = np.sqrt(5 / 6 * np.sum((np.array(without) - np.mean(without)) ** 2))
    found = script.jackknife(pairs)
    assert found.value == pytest.approx(mean)
    assert found.high - found.value == pytest.approx(2.5705818 * error)  # Student's t with 5 degrees of freedom
    assert found.value - found.low == pytest.approx(2.5705818 * error)


def test_interval_covers_what_chance_gives(script):
    """At least nine times in ten, for masks that have nothing in common."""
    rng = np.random.default_rng(1)
    found = [script.jackknife(pairs_of(rng.integers(2, size=(10, 30)))) for _ in range(200)]
    assert np.mean([each.low <= 0.5 <= each.high for each in found]) > 0.9


def test_interval_stays_between_0_and_1(script):
    found = script.jackknife(pairs_of(np.ones((4, 5))))
    assert (found.value, found.low, found.high) == (1, 1, 1)
    with pytest.raises(ValueError, match="an interval over masks needs at least 3 of them, got 2"):
        script.jackknife(pairs_of(np.ones((2, 5))))


def test_chance_without_none_is_what_masks_without_it_have(script, space):
    candidates = Candidates.of(space)
    masks = script.random_masks(space, Mask.random(space, 0.5, 0), 200)
    flags = np.array([candidates.flags(mask.kept) for mask in masks])
    assert flags.sum(axis=1).tolist() == [18] * 200
    assert not flags[:, candidates.is_none].any()
    measured = script.jackknife(pairs_of(flags))
    without = script.chance(flags, candidates, with_none=False)
    assert without == pytest.approx((1 + 4 * (9 + 1) / 16) / 5)  # none; 3 of 4 each
    assert measured.low < without < measured.high
    assert script.chance(flags, candidates, with_none=True) == pytest.approx(0.52)


def test_rows_are_added_and_replaced(tmp_path, space):
    for seed in range(4):
        Mask.random(space, 0.5, seed).save(tmp_path / f"random-{seed}.json")
    for label in ("first", "second", "first"):
        command = [sys.executable, str(SCRIPT), str(tmp_path), "--pruner", "random", "--label", label]
        done = subprocess.run(
            [*command, "--csv", str(tmp_path / "out.csv")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert f"pruner {label}, space nasbench201, seeds 4, pairs 6, agreement 0." in done.stdout
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["pruner"] for row in rows] == ["second", "first"]
    assert float(rows[0]["low"]) < float(rows[0]["agreement"]) < float(rows[0]["high"])
    done = subprocess.run([*command[:-2], "--pruner", "nngp"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected the masks of at least 3 seeds, found those of []" in done.stderr
