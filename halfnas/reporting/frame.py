"""Runs as a pandas DataFrame, for tables and for notebooks."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from halfnas.reporting.runs import Run, load_runs


def load(*paths: str | Path) -> pd.DataFrame:
    """Read all runs in and under some folders, a row each, in the order of their folders.

    ```python
    runs = halfnas.reporting.load("multirun/2026-01-02/03-04-05")
    runs[runs.state == "done"].groupby(["pruner", "ratio"])["evaluate/test_acc"].agg(["count", "mean", "std"])
    ```

    Returns:
        Columns `folder`, `state` ("done", "failed", "running", "no status", "not started" or, where it was done again,
        "repeated"), `error` and `seed`; then the settings by their names on the command line; then the metrics by
        their keys in metrics.json (accuracies are fractions, memory is in MiB), and `total/seconds`. What a run does
        not have is missing.

    Raises:
        ValueError: a path is no folder, or there is no run in any.
    """
    return frame_of(load_runs(paths)).infer_objects().astype({"seed": "Int64"})


def frame_of(runs: Sequence[Run]) -> pd.DataFrame:
    """Arrange runs as rows, with every value as it was read; None where a run does not have it."""
    settings = dict.fromkeys(key for run in runs for key in run.settings)
    metrics = dict.fromkeys(key for run in runs for key in run.metrics)
    rows = [
        {"folder": str(run.path), "state": run.state, "error": run.error, "seed": run.seed}
        | dict(run.settings)
        | dict(run.metrics)
        for run in runs
    ]
    return pd.DataFrame(rows, columns=["folder", "state", "error", "seed", *settings, *metrics], dtype=object)
