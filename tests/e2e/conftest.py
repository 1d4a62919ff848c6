"""train.py as users start it."""

import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def environment():
    """Without a network's help, and without the settings of whoever runs the tests."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "HYDRA_"))}
    return keep | {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def python(environment):
    """python(folder, ...): run Python there to its end."""

    def run(folder, *arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run
