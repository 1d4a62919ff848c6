"""Prune, search, evaluate: `python train.py --help` lists the settings, README.md the most useful ones."""

import sys

import hydra
from omegaconf import DictConfig

from halfnas.config.schema import register
from halfnas.jobs.launch import launch
from halfnas.jobs.sweeps import command

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Run one job; returns the number that a sweep optimises."""
    return launch(cfg)


if __name__ == "__main__":
    sys.exit(command(main))
