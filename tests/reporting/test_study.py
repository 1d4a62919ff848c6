"""What is compared with what, and what is said of runs that are not done."""

import pytest

from halfnas.reporting.study import by_dataset, read_study


def test_counts(sweep):
    study = read_study([sweep])
    assert len(study.runs) == 21
    assert len(study.groups) == 6
    assert {(study.path(run), run.state) for run in study.not_done} == {
        ("failed", "failed"), ("killed", "running"), ("never", "not started")
    }  # fmt: skip
    assert study.counts() == "Of 21 runs: 1 failed, 1 unfinished (running still, or killed), 1 not started"


def test_all_done(tmp_path, write_run):
    study = read_study([write_run(tmp_path / "one", metrics={}, ratio=0.5)])
    assert (study.counts(), study.not_done, study.comparisons()) == ("", [], [])
    assert study.path(study.runs[0]) == "one"


def test_runs_of_several_folders(tmp_path, write_run):
    for name, ratio in (("a/one", 0.5), ("b/c/two", 1.0)):
        write_run(tmp_path / name, ratio=ratio)
    study = read_study([tmp_path / "a", tmp_path / "b"])
    assert sorted(map(study.path, study.runs)) == ["a/one", "b/c/two"]


def test_the_whole_space_is_the_baseline(sweep):
    study = read_study([sweep])
    assert {base.name for base in study.baselines.values()} == {"random, ratio 1.0"}
    assert len(study.comparisons()) == 5


def test_a_baseline_of_ones_own(sweep):
    study = read_study([sweep], {"pruner": "nngp", "ratio": "0.25"})
    assert {base.name for base in study.baselines.values()} == {"nngp, ratio 0.25"}
    with pytest.raises(ValueError, match=r"baseline pruner=gone: 0 groups"):
        read_study([sweep], {"pruner": "gone"})


def test_data_sets_have_baselines_of_their_own(tmp_path, write_run):
    for dataset in ("digits", "cifar10"):
        for ratio in (0.5, 1.0):
            write_run(tmp_path / f"{dataset}{ratio}", dataset=dataset, ratio=ratio)
    study = read_study([tmp_path])
    assert set(by_dataset(study.groups)) == {"digits", "cifar10"}
    assert [(a.all_settings["dataset"], b.all_settings["dataset"]) for a, b in study.comparisons()] == [
        ("cifar10", "cifar10"), ("digits", "digits")
    ]  # fmt: skip
    wanted = read_study([tmp_path], {"dataset": "digits", "ratio": "1.0"})
    assert [group.all_settings["dataset"] for group, _ in wanted.comparisons()] == ["digits"]


def test_a_baseline_has_results(tmp_path, write_run):
    write_run(tmp_path / "a", ratio=0.5, metrics={"evaluate/test_acc": 0.5})
    write_run(tmp_path / "b", ratio=1.0, stage="prune", metrics={"prune/seconds": 1.0})
    study = read_study([tmp_path])
    assert study.baselines[study.groups[0]].name == "ratio 0.5, stage search"


def test_no_baseline_without_a_done_run(tmp_path, write_run):
    write_run(tmp_path / "a", state="failed")
    assert read_study([tmp_path]).groups == []
    with pytest.raises(ValueError, match="no run is done"):
        read_study([tmp_path], {"ratio": "1.0"})
