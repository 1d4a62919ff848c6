"""The W&B logger, with W&B itself replaced; tests/e2e opens a real offline run."""

import logging
from types import SimpleNamespace

import pytest
import wandb

from halfnas import loggers


@pytest.fixture
def opened(monkeypatch):
    """What wandb.init is called with, and the metrics defined."""
    seen = {"init": None, "metrics": []}

    def init(**arguments):
        seen["init"] = arguments
        return SimpleNamespace(define_metric=lambda name, **how: seen["metrics"].append((name, how)))

    monkeypatch.setattr(loggers.wandb, "init", init)
    monkeypatch.setattr(loggers, "WandbLogger", lambda experiment: SimpleNamespace(experiment=experiment))
    monkeypatch.delenv("WANDB_MODE", raising=False)
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


def test_summaries(opened, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    loggers.wandb_logger(project="p")
    metrics = dict(opened["metrics"])

    assert metrics["search/*"] == {"step_metric": "epoch"}
    assert metrics["search/peak_*"]["summary"] == "max"
    assert "last" in metrics["evaluate/test_acc"]["summary"]  # the accuracy that counts is the last one


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
