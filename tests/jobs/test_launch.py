"""Between Hydra and a job: its group, its process."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from halfnas.jobs import launch
from halfnas.runs.files import write_json

QUIET = {"version": 1, "disable_existing_loggers": False, "root": {"level": "ERROR"}}

# --- groups -----------------------------------------------------------------------------------------------------------


def hydra(mode=RunMode.RUN, **choices):
    return SimpleNamespace(
        mode=mode,
        sweep=SimpleNamespace(dir="multirun/2026-01-02/03-04-05"),
        runtime=SimpleNamespace(choices={"pruner": "nngp", "dataset": "digits", "experiment": None} | choices),
    )


def settings(**changes):
    wandb = {"project": "halfnas", "group": None, "tags": ["mine"]}
    base = {
        "stage": "pipeline", "ratio": 0.5, "seed": 3, "name": None, "logger": {"wandb": wandb},
        "ckpt": None, "optimized_metric": "search/val_acc", "optimized_budget": None,
        "budget_metric": "search/peak_live_mib",
    }  # fmt: skip
    cfg = OmegaConf.create(base | changes)
    OmegaConf.set_struct(cfg, True)
    return cfg


def test_a_run_knows_how_it_was_started():
    wandb = launch._settled(settings(), hydra(space="darts", searcher="gdas"), Path("here")).logger.wandb

    assert (wandb.job_type, wandb.save_dir) == ("pipeline", "here")
    assert wandb.columns == {"dataset": "digits", "space": "darts", "searcher": "gdas"}


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


def launched(monkeypatch, tmp_path, mode, **changes):
    """Call launch() as Hydra would; returns where the job went, None for nowhere."""
    run = hydra(mode)
    run.runtime.output_dir = str(tmp_path)
    run.runtime.config_sources = [SimpleNamespace(provider="main", path="conf")]
    run.overrides = SimpleNamespace(task=["seed=3"])
    run.job_logging = OmegaConf.create(QUIET)
    went = []
    monkeypatch.setattr(launch.HydraConfig, "get", lambda: run)
    monkeypatch.setattr(launch, "run_here", lambda *job: went.append(("here", job)) or 0.25)
    monkeypatch.setattr(launch, "run_in_child", lambda job, settings, argv: went.append(("child", job)) or 0.75)
    monkeypatch.setattr(launch, "_notes", lambda cfg, hydra: {"overrides.yaml": "- seed=3"})
    number = launch.launch(settings(**changes))
    if not went:
        return None, number
    [(where, (container, path, overrides, notes, of_sweep))] = went
    assert of_sweep == (where == "child")
    assert notes == {"overrides.yaml": "- seed=3"}
    assert (tmp_path / ".hydra" / "overrides.yaml").read_text() == "- seed=3"
    assert type(container) is dict  # plain containers cross processes
    assert path == str(tmp_path)
    assert overrides == ["seed=3"]
    return where, number


def test_a_single_run_stays_in_its_process(monkeypatch, tmp_path):
    assert launched(monkeypatch, tmp_path, RunMode.RUN) == ("here", 0.25)


def test_jobs_of_a_sweep_go_to_children(monkeypatch, tmp_path):
    assert launched(monkeypatch, tmp_path, RunMode.MULTIRUN) == ("child", 0.75)


def finished(folder, state="done", overrides=("seed=3",), accuracy=0.5):
    status = {"format": 1, "state": state, "overrides_hash": launch.overrides_hash(list(overrides))}
    write_json(folder / "status.json", status)
    write_json(folder / "metrics.json", {"search/val_acc": accuracy, "search/peak_live_mib": 30.0})


def test_a_job_that_is_done_is_not_run_again(monkeypatch, tmp_path):
    finished(tmp_path)
    assert launched(monkeypatch, tmp_path, RunMode.MULTIRUN) == (None, 0.5)
    assert launched(monkeypatch, tmp_path, RunMode.MULTIRUN, optimized_budget=20.0) == (None, -0.5)
    assert launched(monkeypatch, tmp_path, RunMode.MULTIRUN, optimized_metric="absent") == (None, None)
    assert launched(monkeypatch, tmp_path, RunMode.RUN) == ("here", 0.25)


@pytest.mark.parametrize(
    "change", [{"state": "failed"}, {"state": "running"}, {"overrides": ("seed=3", "searcher.epochs=1")}]
)
def test_a_job_that_is_not_done_or_another_is_run(monkeypatch, tmp_path, change):
    finished(tmp_path, **change)
    assert launched(monkeypatch, tmp_path, RunMode.MULTIRUN) == ("child", 0.75)


def test_a_job_whose_status_cannot_be_read_is_run(monkeypatch, tmp_path):
    (tmp_path / "status.json").write_text('{"state": "do')
    assert launched(monkeypatch, tmp_path, RunMode.MULTIRUN) == ("child", 0.75)


def test_further_processes_of_a_job_run_this_job_alone(tmp_path):
    """Lightning starts them with `sys.argv`, which would be that of the whole sweep."""
    run = hydra(RunMode.MULTIRUN)
    run.runtime.config_sources = [
        SimpleNamespace(provider="hydra", path="hydra.conf"), SimpleNamespace(provider="main", path="/somewhere/conf"),
    ]  # fmt: skip
    run.overrides = SimpleNamespace(task=["hparams_search=ratio_ablation", "seed=3"])
    command = launch._alone(run, tmp_path)
    assert command[:3] == ["/somewhere/train.py", "hparams_search=ratio_ablation", "seed=3"]
    assert {"hydra.mode=RUN", f"hydra.run.dir={tmp_path}", "hydra.output_subdir=null"} < set(command)
