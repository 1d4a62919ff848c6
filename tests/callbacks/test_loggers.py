"""The W&B logger, with W&B itself replaced; tests/e2e opens a real offline run."""

import logging
from types import SimpleNamespace

import pytest
import wandb

from halfnas.callbacks import loggers


@pytest.fixture
def opened(monkeypatch):
    """What wandb.init is called with, and the columns set."""
    seen = {"init": None, "columns": {}}

    def init(**arguments):
        seen["init"] = arguments
        return SimpleNamespace(
            config=SimpleNamespace(setdefaults=seen["columns"].update),
        )

    monkeypatch.setattr(loggers.wandb, "init", init)
    monkeypatch.setattr(loggers, "RunLogger", lambda run, log_weights: SimpleNamespace(run=run, weights=log_weights))
    for variable in ("WANDB_MODE", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(variable, raising=False)
    return seen


def login(answer):
    def reply(*, prompt):
        assert prompt is False, "W&B must never ask"
        if isinstance(answer, Exception):
            raise answer
        return answer

    return reply


@pytest.mark.parametrize(("key", "mode"), [(True, "online"), (False, "offline")])
def test_mode_follows_the_key(opened, monkeypatch, key, mode):
    monkeypatch.setattr(loggers.wandb, "login", login(key))
    loggers.wandb_logger(project="p")

    assert opened["init"]["mode"] == mode


def test_without_a_server_the_run_is_offline(opened, monkeypatch, caplog):
    monkeypatch.setattr(loggers.wandb, "login", login(wandb.errors.CommError("no server")))
    with caplog.at_level(logging.WARNING):
        loggers.wandb_logger(project="p")

    assert opened["init"]["mode"] == "offline"
    assert "Weights & Biases is used offline: no server" in caplog.text


@pytest.mark.parametrize("mode", ["offline", "disabled", "online"])
def test_the_users_mode_wins(opened, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setattr(loggers.wandb, "login", login(AssertionError("nobody needs to log in")))
    loggers.wandb_logger(project="p")

    assert opened["init"]["mode"] == mode


def test_what_a_run_is_called(opened, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    loggers.wandb_logger(
        project="p", entity="e", group="g", job_type="prune", name="n", tags=["t"], save_dir=str(tmp_path)
    )

    found = opened["init"]
    assert {key: found[key] for key in ("project", "entity", "group", "job_type", "name")} == {
        "project": "p",
        "entity": "e",
        "group": "g",
        "job_type": "prune",
        "name": "n",
    }
    assert found["tags"][0] == "t"
    assert found["tags"][1].startswith("halfnas-")
    assert found["dir"] == str(tmp_path)


def test_columns_to_group_by(opened, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert loggers.wandb_logger(project="p", columns={"pruner": "nngp"}).weights is True
    assert loggers.wandb_logger(project="p", log_weights=False).weights is False

    assert opened["columns"] == {"pruner": "nngp"}


def test_an_agents_run_goes_where_its_sweep_is(opened, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    loggers.wandb_logger(project="p", entity="e", name="n")

    found = opened["init"]
    assert (found["project"], found["entity"], found["name"]) == (None, None, "n")


#: stage -> what its curves are drawn over
AXES = {"prune": "trainer/global_step", "search": "epoch", "evaluate": "epoch"}


def test_definitions_of_metrics():
    defined = []
    run = SimpleNamespace(define_metric=lambda name, **how: defined.append((name, how)))
    loggers.RunLogger(run, log_weights=False).define_stages(AXES)
    metrics = dict(defined)

    assert len(metrics) == len(defined)  # each once
    assert metrics["prune/peak_reserved_mib"] == {"step_metric": "trainer/global_step", "summary": "max"}
    assert metrics["search/*"] == metrics["evaluate/*"] == {"step_metric": "epoch"}
    assert metrics["search/val_acc"] == {"step_metric": "epoch", "summary": "max,last"}
    patterns = [name for name in metrics if name.endswith("*")]
    assert sorted(patterns) == ["evaluate/*", "prune/*", "search/*"]  # W&B chooses at random between two that match


#: what is logged in two epochs, and at the end -> what the summary is to say
LOGGED = [
    {
        **{"search/peak_allocated_mib": 7.0, "search/val_acc": 0.5, "search/learning_rate": 0.1},
        **{"search/train_acc": 0.9, "evaluate/test_acc": 0.7},
    },
    {
        **{"search/peak_allocated_mib": 5.0, "search/val_acc": 0.4, "search/learning_rate": 0.0},
        **{"search/train_acc": 0.8, "evaluate/test_acc": 0.6},
    },
]
END = {**LOGGED[1], "search/seconds": 12.0}


def test_what_wandb_makes_of_it(monkeypatch, tmp_path):
    """A real run, of which W&B itself computes the summary."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    logger = loggers.wandb_logger(project="p", columns={"pruner": "nngp"}, save_dir=str(tmp_path))
    try:
        logger.define_stages(AXES)
        logger.log_hyperparams({"pruner": {"name": "nngp"}})
        for epoch, metrics in enumerate(LOGGED):
            logger.log_metrics({**metrics, "epoch": epoch}, step=epoch)
        logger.log_metrics(END)
        summary, config = logger.experiment.summary, dict(logger.experiment.config)
        found = {key: summary[key] for key in summary.keys() if not key.startswith("_")}  # noqa: SIM118 # no dict
    finally:
        loggers.finish([logger], failed=False)

    assert config == {"pruner": "nngp", "settings": {"pruner": {"name": "nngp"}}}
    assert {key: dict(value) if hasattr(value, "keys") else value for key, value in found.items()} == {
        "search/peak_allocated_mib": {"max": 7.0},
        "search/val_acc": {"max": 0.5, "last": 0.4},
        "search/train_acc": 0.8,
        "search/seconds": 12.0,
        "evaluate/test_acc": 0.6,  # never the best one: the last epoch counts
    }


def test_no_point_is_logged_twice(monkeypatch):
    rows = []
    monkeypatch.setattr(loggers.WandbLogger, "log_metrics", lambda self, metrics, step: rows.append((metrics, step)))
    logger = loggers.RunLogger(SimpleNamespace(), log_weights=True)
    logger.log_metrics(LOGGED[0], step=1)
    logger.log_metrics(LOGGED[1], step=2)
    logger.log_metrics(END)

    assert rows == [(LOGGED[0], 1), (LOGGED[1], 2), ({"search/seconds": 12.0}, None)]


@pytest.mark.parametrize(("failed", "status", "exit_code"), [(False, "success", 0), (True, "failed", 1)])
def test_finish(monkeypatch, failed, status, exit_code):
    calls = []

    class Run:
        def finalize(self, status):
            calls.append(("finalize", status))

        experiment = SimpleNamespace(finish=lambda exit_code: calls.append(("finish", exit_code)))

    monkeypatch.setattr(loggers, "WandbLogger", Run)
    other = SimpleNamespace(finalize=lambda status: calls.append(("other", status)))  # it has no run to finish
    loggers.finish([Run(), other], failed=failed)

    assert calls == [("finalize", status), ("finish", exit_code), ("other", status)]
