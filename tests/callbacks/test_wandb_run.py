"""One run of W&B for a run that goes on, offline; tests/e2e/test_faults.py has a real one."""

import os
import subprocess
import sys

SCRIPT = """
import sys
from halfnas.callbacks.loggers import finish, wandb_logger
for go_on, failed in ((True, True), (True, True), (True, False), (True, True), (False, True)):
    logger = wandb_logger(project="p", save_dir=sys.argv[1], go_on=go_on)
    logger.log_metrics({"search/val_acc": 0.5})
    print("run", logger.experiment.id, flush=True)
    finish([logger], failed=failed)
"""


def test_a_run_that_goes_on_is_the_same_one(tmp_path):
    """After an end that was not good; not after a good one, nor where it begins anew."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], env=keep | {"WANDB_MODE": "offline"},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second, third, fourth, fifth = (line for line in done.stdout.splitlines() if line.startswith("run"))
    assert first == second == third
    assert len({first, fourth, fifth}) == 3
