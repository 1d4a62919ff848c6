"""Between Hydra and the stages. Children are real processes, with the stages replaced by something short."""

import importlib
import multiprocessing
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from halfnas import launch
from halfnas.errors import ConfigError, JobError

QUIET = {"version": 1, "disable_existing_loggers": False, "root": {"level": "ERROR"}}

#: A module that the child can import: the real `_child`, with a `_run` of the test's choice.
FAKE = """
import os
import signal

from halfnas import launch
from halfnas.errors import ConfigError


def run(container, path, job_hash):
    what = container["do"]
    if what == "pid":
        return float(os.getpid())
    if what == "nothing":
        return None
    if what == "config":
        raise ConfigError(["`ratio` is wrong", "`seed` is wrong"])
    if what == "raise":
        raise RuntimeError("disk on fire")
    if what == "exit":
        raise SystemExit(7)
    os.kill(os.getpid(), signal.SIGKILL)


def child(sender, logging_settings, job):
    launch._run = run
    launch._child(sender, logging_settings, job)
"""


@pytest.fixture
def in_child(monkeypatch, tmp_path):
    """in_child(what, ...): do it in a child, as a job of a sweep."""
    (tmp_path / "halfnas_fake_child.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    fake = importlib.import_module("halfnas_fake_child")
    monkeypatch.setattr(launch, "_child", fake.child)
    yield lambda what: launch._run_in_child(({"do": what}, str(tmp_path / "job"), "hash"), QUIET)
    sys.modules.pop("halfnas_fake_child")
    assert multiprocessing.active_children() == []


def test_a_job_has_a_process_of_its_own(in_child):
    first, second = in_child("pid"), in_child("pid")

    assert len({first, second, float(os.getpid())}) == 3


def test_a_job_without_a_number(in_child):
    assert in_child("nothing") is None


def test_config_errors_keep_their_problems(in_child):
    with pytest.raises(ConfigError, match="2 settings that cannot run") as caught:
        in_child("config")

    assert caught.value.problems == ["`ratio` is wrong", "`seed` is wrong"]


def test_a_failed_job_is_named_with_its_error(in_child, capfd, tmp_path):
    with pytest.raises(JobError, match="RuntimeError: disk on fire") as caught:
        in_child("raise")

    assert str(tmp_path / "job") in str(caught.value)
    assert "Traceback" in capfd.readouterr().err  # printed where it happened


def test_a_killed_job_is_noticed(in_child):
    with pytest.raises(JobError, match="its process ended with exit code -9"):
        in_child("kill")


def test_a_job_that_exits_is_noticed(in_child):
    with pytest.raises(JobError, match="SystemExit: 7"):
        in_child("exit")


# --- names ------------------------------------------------------------------------------------------------------------


def hydra(mode=RunMode.RUN, **choices):
    return SimpleNamespace(
        mode=mode,
        sweep=SimpleNamespace(dir="multirun/2026-01-02/03-04-05"),
        runtime=SimpleNamespace(choices={"pruner": "nngp", "dataset": "digits", "experiment": None} | choices),
    )


def settings(**changes):
    wandb = {"project": "halfnas", "group": None, "tags": ["mine"]}
    base = {"stage": "pipeline", "ratio": 0.5, "seed": 3, "name": None, "logger": {"wandb": wandb}}
    cfg = OmegaConf.create(base | changes)
    OmegaConf.set_struct(cfg, True)
    return cfg


def test_a_run_is_named_after_what_it_does():
    wandb = launch._settled(settings(), hydra(), Path("here")).logger.wandb

    assert (wandb.name, wandb.job_type, wandb.save_dir) == ("nngp-r0.50-s3", "pipeline", "here")
    assert list(wandb.tags) == ["nngp", "digits", "mine"]


@pytest.mark.parametrize(
    ("ratio", "name"),
    [(1, "nngp-r1.00-s3"), (0.25, "nngp-r0.25-s3"), ("abc", "nngp-rabc-s3"), (None, "nngp-rNone-s3")],
)
def test_any_ratio_makes_a_name(ratio, name):
    """The checks come later."""
    assert launch._settled(settings(ratio=ratio), hydra(), Path("here")).name == name


def test_several_pruners_at_once_have_the_name_of_the_last():
    """Hydra does not note a choice that is a list."""
    chosen = hydra()
    del chosen.runtime.choices["pruner"]
    wandb = launch._settled(settings(pruner={"name": "naswot"}), chosen, Path("here")).logger.wandb
    assert wandb.name == "naswot-r0.50-s3"
    assert list(wandb.tags) == ["naswot", "digits", "mine"]


def test_a_name_given_is_kept():
    cfg = launch._settled(settings(name="mine"), hydra(), Path("here"))

    assert cfg.name == cfg.logger.wandb.name == "mine"


@pytest.mark.parametrize(
    ("run", "group"),
    [
        (hydra(), "digits"),
        (hydra(experiment="half_cifar10"), "half_cifar10"),
        (hydra(RunMode.MULTIRUN), "2026-01-02/03-04-05"),
        (hydra(RunMode.MULTIRUN, experiment="half_cifar10"), "2026-01-02/03-04-05"),
    ],
)
def test_group_is_the_sweep_or_the_experiment(run, group):
    assert launch._settled(settings(), run, Path("here")).logger.wandb.group == group


def test_a_group_given_is_kept():
    cfg = settings()
    cfg.logger.wandb.group = "mine"

    assert launch._settled(cfg, hydra(RunMode.MULTIRUN), Path("here")).logger.wandb.group == "mine"


def test_settings_themselves_are_left_alone():
    cfg = settings()
    before = OmegaConf.to_container(cfg)
    launch._settled(cfg, hydra(), Path("here"))

    assert OmegaConf.to_container(cfg) == before


def test_without_wandb_there_is_a_name_all_the_same():
    assert launch._settled(settings(logger={}), hydra(), Path("here")).name == "nngp-r0.50-s3"


def launched(monkeypatch, tmp_path, mode):
    """Call launch() as Hydra would; returns where the job went."""
    run = hydra(mode)
    run.runtime.output_dir = str(tmp_path)
    run.overrides = SimpleNamespace(task=["seed=3"])
    run.job_logging = OmegaConf.create(QUIET)
    went = []
    monkeypatch.setattr(launch.HydraConfig, "get", lambda: run)
    monkeypatch.setattr(launch, "_run", lambda *job: went.append(("here", job)) or 0.25)
    monkeypatch.setattr(launch, "_run_in_child", lambda job, settings: went.append(("child", job)) or 0.75)
    number = launch.launch(settings())
    [(where, (container, path, job_hash))] = went
    assert type(container) is dict  # plain containers cross processes
    assert path == str(tmp_path)
    assert job_hash == launch.overrides_hash(["seed=3"])
    return where, number


def test_a_single_run_stays_in_its_process(monkeypatch, tmp_path):
    assert launched(monkeypatch, tmp_path, RunMode.RUN) == ("here", 0.25)


def test_jobs_of_a_sweep_go_to_children(monkeypatch, tmp_path):
    assert launched(monkeypatch, tmp_path, RunMode.MULTIRUN) == ("child", 0.75)
