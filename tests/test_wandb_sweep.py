"""docs/wandb_sweep.yaml, and a run as an agent of W&B starts it: the agent's own code, with no server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from wandb import wandb_agent

from halfnas.config.plan import GROUPS, check_group
from halfnas.config.schema import register
from halfnas.spaces.load import CONF

REPOSITORY = Path(__file__).parents[1]
SWEEP = yaml.safe_load((REPOSITORY / "docs" / "wandb_sweep.yaml").read_text(encoding="utf-8"))


def samples(parameters):
    """Two jobs that the sweep may ask for: all parameters at one end, and at the other."""
    ends = {key: p["values"] if "values" in p else [p["min"], p["max"]] for key, p in parameters.items()}
    return [{key: values[end] for key, values in ends.items()} for end in (0, -1)]


def started(monkeypatch, tmp_path, sample):
    """The command and the environment of the process that the agent would start."""
    seen = {}

    class Process:
        def __init__(self, command, env, forward_signals):
            seen.update(command=command, env=env)

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    for key in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(key, "")  # what the agent sets goes with the test
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    agent = wandb_agent.Agent(None, None, sweep_id="sweep123")
    agent._sweep_command = list(SWEEP["command"])
    arguments = {key: {"value": value} for key, value in sample.items()}
    agent._command_run({"run_id": "run45678", "program": SWEEP["program"], "args": arguments})
    return seen["command"], seen["env"]


@pytest.mark.parametrize("sample", samples(SWEEP["parameters"]))
def test_what_an_agent_starts_can_be_composed(monkeypatch, tmp_path, sample):
    command, _ = started(monkeypatch, tmp_path, sample)

    assert command[:3] == ["/usr/bin/env", "python", "train.py"]
    assert (REPOSITORY / command[2]).exists()
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(
            "config", [*command[3:], f"paths.output_dir={tmp_path}", "paths.data_dir=data"], return_hydra_config=True
        )
    settings = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [*GROUPS, "paths"]), resolve=True)
    assert [problem for group in GROUPS for problem in check_group(group, settings)] == []
    assert {key: OmegaConf.select(cfg, key) for key in sample} == sample
    assert cfg.hydra.run.dir == "outputs/sweep123/run45678"


def test_it_optimises_what_train_py_returns_and_not_the_test_accuracy():
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config")

    assert SWEEP["metric"] == {"name": cfg.optimized_metric, "goal": "maximize"}
    assert SWEEP["project"] == cfg.logger.wandb.project
    assert "test" not in SWEEP["metric"]["name"]


OPEN = """
import json, sys
from halfnas.callbacks.loggers import wandb_logger
logger = wandb_logger(project="halfnas", group="sweep123", name="nngp-r0.50-s0", columns={"ratio": 0.5, "seed": 0})
logger.log_hyperparams({"ratio": 0.5})
run = logger.experiment
print(json.dumps([run.id, run.sweep_id, run.name, run.group, dict(run.config)]))
run.finish()
"""


def test_a_run_belongs_to_the_sweep_that_started_it(monkeypatch, tmp_path):
    """The agent's run id and the settings of the sweep are kept; columns are added to them."""
    _, env = started(monkeypatch, tmp_path, {"ratio": 0.25, "searcher.epochs": 3})
    done = subprocess.run(
        [sys.executable, "-c", OPEN],
        cwd=tmp_path,
        env=env | {"WANDB_MODE": "offline", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    config = {"ratio": 0.25, "searcher.epochs": 3, "seed": 0, "settings": {"ratio": 0.5}}
    [found] = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert json.loads(found) == ["run45678", "sweep123", "nngp-r0.50-s0", "sweep123", config]
