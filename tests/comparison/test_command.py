"""`python -m halfnas.comparison` as a user runs it, on noise."""

import csv
import subprocess
import sys
from itertools import product

import pytest
from hydra import compose, initialize_config_dir

from halfnas import Mask
from halfnas.jobs.job import run_job
from halfnas.spaces.load import CONF
from halfnas.spaces.nasbench201 import ARCHITECTURE

PRUNERS = {path.stem for path in (CONF / "pruner").glob("*.yaml")}
SMALL = [
    "dataset=fake", "dataset.image_size=8", "dataset.num_train=40", "dataset.num_workers=0", "seeds=[0,1]",
    "ratio=0.75",
    "pruners.zen.repeats=2", "pruners.zen.rounds=1", "pruners.zen.batch_size=4", "num_threads=1",
    *(f"~pruner@pruners.{name}" for name in sorted(PRUNERS - {"zen", "random", "params", "none"})),
]  # fmt: skip


def run(folder, *arguments):
    command = [sys.executable, "-m", "halfnas.comparison", f"hydra.run.dir={folder / 'out'}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_compares_all_pruners():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert set(compose("compare").pruners) == PRUNERS - {"none"}


@pytest.mark.slow
def test_prunings(tmp_path):
    done = run(tmp_path, "parts=[prunings]", *SMALL)
    assert done.returncode == 0, done.stderr
    rows = {row["pruner"]: row for row in read(tmp_path / "out" / "prunings.csv")}
    assert set(rows) == {"random", "params", "zen"}
    # 6 of 8 are kept, four of them convolutions: the seed chooses among the others, whose count is 0
    assert 0.6 < float(rows["params"]["agreement of seeds"]) < 0.95
    assert rows["params"]["agreement reported"] == ""  # one repeat says nothing of itself
    assert 0.4 < float(rows["zen"]["agreement of seeds"]) < 1
    assert 0.4 < float(rows["zen"]["agreement reported"]) <= 1
    assert float(rows["zen"]["seconds"]) > 0
    assert float(rows["zen"]["peak MiB"]) > 0
    assert 0.4 < float(rows["random"]["agreement of seeds"]) < 0.8
    for name in ("report.md", "agreements.csv", "agreements.png", "reliability.png", "masks/zen-1.json"):
        assert (tmp_path / "out" / name).is_file(), name
    assert "prunings" not in done.stderr


@pytest.mark.slow
def test_estimates(tmp_path):
    done = run(tmp_path, "parts=[estimates]", *(each for each in SMALL if "naswot" not in each))
    assert done.returncode == 0, done.stderr
    rows = {row["pruner"]: row for row in read(tmp_path / "out" / "estimates.csv")}
    assert set(rows) == {"params", "zen"}  # the others have no scores, or no derivatives
    assert float(rows["params"]["mean rho"]) == pytest.approx(1)
    assert float(rows["params"]["lowest rho"]) == pytest.approx(1)
    assert 0.5 < float(rows["zen"]["lowest rho"]) <= float(rows["zen"]["highest rho"]) < 1
    assert rows["zen"]["seeds"] == "2"
    assert float(rows["zen"]["exact seconds"]) > float(rows["zen"]["taylor seconds"]) > 0


def test_a_seed_gives_the_mask_that_train_gives(compose_settings, tmp_path):
    """The same images, cropped and flipped alike, and the same weights."""
    same = ["pruner=zen", "pruner.repeats=2", "pruner.rounds=1", "pruner.batch_size=4", "ratio=0.75", "seed=1"]
    noise = ["dataset=fake", "dataset.image_size=8", "dataset.num_train=40", "dataset.num_workers=0"]
    cfg = compose_settings(tmp_path / "train", "stage=prune", "logger=none", "trainer=cpu", *same, *noise)
    run_job(cfg, tmp_path / "train")
    done = run(tmp_path, "parts=[prunings]", *SMALL)
    assert done.returncode == 0, done.stderr
    ours, theirs = (Mask.load(tmp_path / path) for path in ("out/masks/zen-1.json", "train/mask.json"))
    assert ours == theirs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parts=[nothing]"], "`parts` must be some of prunings, estimates, ratings, survivors, got 'nothing'"),
        (["parts=[ratings]", *SMALL, "accuracies=absent.csv"], "`accuracies`: absent.csv: no such table of accuracies"),
        (["parts=[survivors]", *SMALL, "accuracies=other.csv"], "no accuracies of dataset fake"),
        (["pruners.nngp.repeats=never", "parts=[]"], "`repeats` must be a number or auto"),
    ],
)
def test_mistakes(tmp_path, arguments, message):
    (tmp_path / "other.csv").write_text("arch_str,cifar10_valid\nany,90\n")
    done = run(tmp_path, "dataset=fake", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_ratings_and_survivors(tmp_path):
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    rows = [
        f"{ARCHITECTURE.format(*each)},{10 + sum(name.startswith('nor') for name in each)}"
        for each in product(names, repeat=6)
    ]
    (tmp_path / "table.csv").write_text("\n".join(["arch_str,fake_valid", *rows]) + "\n", encoding="utf-8")
    sizes = ["ratings.num_architectures=6", "ratings.num_cells=3", "ratings.init_channels=2", "ratings.batch_size=4"]
    done = run(
        tmp_path, "parts=[ratings,survivors]", *SMALL, *sizes, "survivors.num_seeds={random:4,params:12,zen:2}",
        "accuracies=table.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rated = read(tmp_path / "out" / "ratings.csv")
    assert {row["ranking function"] for row in rated} == {"zen", "params"}
    assert all(-1 <= float(row["tau low"]) <= float(row["tau"]) <= float(row["tau high"]) <= 1 for row in rated)
    all_rated = read(tmp_path / "out" / "all_ratings.csv")
    assert len(all_rated) == 6
    assert all(float(row["accuracy"]) == (10 + row["architecture"].count("nor")) / 100 for row in all_rated)
    assert "NAS-Bench-201, fake_valid: 6 architectures" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    left = {row["pruner"]: row for row in read(tmp_path / "out" / "survivors.csv")}
    assert left["nothing pruned"]["architectures"] == "1.0"
    assert [left[name]["masks"] for name in ("random", "params", "zen")] == ["4", "12", "2"]
    assert int(left["params"]["different masks"]) > 10  # one of three equals goes on each of 6 edges
    assert float(left["params"]["std of mean"]) == pytest.approx(0, abs=1e-9)  # convolutions alone count in this table
    assert left["nothing pruned"]["masks"] == "1"
    assert float(left["params"]["mean"]) > float(left["nothing pruned"]["mean"]) > 0.1
    # 0.75 of 5 is 4 on each of 6 edges
    assert float(left["params"]["architectures"]) == pytest.approx((4 / 5) ** 6)
    for name in ("ratings.png", "survivors.png", "masks/nasbench201/random-3.json"):
        assert (tmp_path / "out" / name).is_file(), name
