"""The folders of runs and sweeps, and the jobs that a sweep plans."""

import threading

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import open_dict

from halfnas.config.schema import job_folder, register
from halfnas.jobs import folders
from halfnas.runs.files import read_json
from halfnas.spaces.load import CONF


@pytest.fixture
def nothing_started(monkeypatch):
    monkeypatch.setattr(folders, "_started", None)


def composed(*overrides, mode="MULTIRUN"):
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["hydra.job.num=0", f"hydra.mode={mode}"], return_hydra_config=True)
    with open_dict(cfg):
        cfg.hydra.overrides.task = list(overrides)
    return cfg


def test_every_launch_has_a_folder_of_its_own(tmp_path):
    path = tmp_path / "day" / "second"
    assert [folders.claim(path) for _ in range(3)] == [path, path.with_name("second-2"), path.with_name("second-3")]


def test_launches_at_the_same_moment(tmp_path):
    claimed, barrier = [], threading.Barrier(16)

    def launch():
        barrier.wait()
        claimed.append(folders.claim(tmp_path / "second"))

    threads = [threading.Thread(target=launch) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(claimed)) == 16
    assert all(path.is_dir() for path in claimed)


@pytest.mark.usefixtures("nothing_started")
def test_a_sweep_takes_the_next_free_folder_and_its_jobs_know(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    first, second = composed("seed=0,1"), composed("seed=0,1")
    with open_dict(second):  # the same second
        second.hydra.sweep.dir = first.hydra.sweep.dir = "${now:%Y-%m-%d}/sweep"
    for cfg in (first, second):
        folders.LaunchFolders().on_multirun_start(cfg)
    assert second.hydra.sweep.dir == f"{first.hydra.sweep.dir}-2"
    assert list(second.hydra.overrides.hydra)[-1] == f"hydra.sweep.dir='{second.hydra.sweep.dir}'"
    assert read_json(tmp_path / second.hydra.sweep.dir / "sweep.json")["jobs"] == {
        "seed-0": ["seed=0"], "seed-1": ["seed=1"],
    }  # fmt: skip


@pytest.mark.usefixtures("nothing_started")
def test_a_folder_that_is_named_is_taken_and_its_plan_grows(tmp_path):
    for values in ("0,1", "1,2"):
        cfg = composed(f"seed={values}")
        with open_dict(cfg):
            cfg.hydra.sweep.dir = str(tmp_path)
        folders.LaunchFolders().on_multirun_start(cfg)
        assert cfg.hydra.sweep.dir == str(tmp_path)
    assert list(read_json(tmp_path / "sweep.json")["jobs"]) == ["seed-0", "seed-1", "seed-2"]


def test_single_runs_at_the_same_moment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    claimed = []
    for _ in range(2):
        cfg = composed(mode="RUN")
        with open_dict(cfg):
            cfg.hydra.run.dir = "${now:%Y-%m-%d}/run"
        folders.LaunchFolders().on_run_start(cfg)
        claimed.append(cfg.hydra.run.dir)
    assert claimed[1] == f"{claimed[0]}-2"
    named = composed(mode="RUN")
    with open_dict(named):
        named.hydra.run.dir = claimed[0]
    folders.LaunchFolders().on_run_start(named)
    assert named.hydra.run.dir == claimed[0]


def test_planned_jobs():
    cfg = composed("pruner=nngp,random", "ratio=0.5", "hparams_search=mine")
    with open_dict(cfg):
        cfg.hydra.sweeper.params = {"seed": "0,1", "ratio": "0.25,0.5"}
    jobs = folders.planned_jobs(cfg)
    assert list(jobs) == [
        f"pruner-{pruner}_ratio-0.5_seed-{seed}" for seed in (0, 1) for pruner in ("nngp", "random")
    ]  # what is typed wins over the yaml's, and hparams_search is in no name
    assert jobs["pruner-random_ratio-0.5_seed-1"] == ["seed=1", "ratio=0.5", "pruner=random", "hparams_search=mine"]


def start(folder, *overrides, params=None):
    """Start a sweep in a folder; returns the settings and the jobs that sweep.json has."""
    cfg = composed(*overrides)
    with open_dict(cfg):
        cfg.hydra.sweep.dir = str(folder)
        cfg.hydra.sweeper.params = params
    folders.LaunchFolders().on_multirun_start(cfg)
    return cfg, read_json(folder / "sweep.json")["jobs"]


@pytest.mark.usefixtures("nothing_started")
@pytest.mark.parametrize(
    ("overrides", "params", "names"),
    [
        (["pruner=ntk,zen", "searcher.epochs=3", "+x=1", "seed=0"], None, ["pruner-ntk_seed-0", "pruner-zen_seed-0"]),
        (["searcher.epochs=3", "seed=0,1"], None, ["seed-0", "seed-1"]),
        (["seed=4", "searcher.epochs=3"], {"ratio": "0.25,0.5"}, ["ratio-0.25_seed-4", "ratio-0.5_seed-4"]),
        (["ratio=0.5", "searcher.epochs=3"], {"ratio": "0.25,0.5", "seed": "0,1"}, ["seed-0", "seed-1"]),
        (["ratio=0.5"], None, ["ratio-0.5"]),
        (["ratio=0.5", "seed=1"], None, ["seed-1"]),
    ],
)  # fmt: skip
def test_folders_name_what_is_swept_and_the_seed(tmp_path, overrides, params, names):
    cfg, jobs = start(tmp_path, *overrides, params=params)
    assert list(jobs) == names
    assert all(set(overrides) - set(job) <= {o for o in overrides if "," in o} for job in jobs.values())
    # What Hydra itself makes of it, job by job:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name, job in jobs.items():
            hydra = ["hydra.job.num=0", "hydra.mode=MULTIRUN", *cfg.hydra.overrides.hydra]
            made = compose("config", [*hydra, *job], return_hydra_config=True)
            assert job_folder(made.hydra.job.override_dirname) == name


@pytest.mark.usefixtures("nothing_started")
def test_other_jobs_of_the_same_folder_are_not_written_over(tmp_path):
    start(tmp_path, "seed=0,1", "searcher.epochs=2")
    _, again = start(tmp_path, "seed=0,1,2", "searcher.epochs=2")
    assert list(again) == ["seed-0", "seed-1", "seed-2"]
    _, others = start(tmp_path, "seed=0", "searcher.epochs=4")
    assert list(others)[3:] == ["searcher.epochs-4_seed-0"]
    assert others["seed-0"] == ["seed=0", "searcher.epochs=2"]


def test_a_sweeper_that_decides_as_it_goes_has_no_plan():
    cfg = composed("seed=0,1")
    with open_dict(cfg):
        cfg.hydra.sweeper._target_ = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
    assert folders.planned_jobs(cfg) == {}
    assert folders.planned_jobs(composed("pruner=glob(n*)")) == {}
