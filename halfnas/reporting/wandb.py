"""The report of a sweep as one more W&B run of the sweep's group."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import wandb

from halfnas.callbacks.loggers import finish, wandb_logger
from halfnas.reporting.runs import Run
from halfnas.reporting.settings import Setting, flat_yaml

#: Where no run says another; conf/logger/wandb.yaml.
PROJECT = "halfnas"


def log_report(folder: Path, runs: Sequence[Run]) -> None:
    """Log what a report consists of: figures, the table of results and the page, in the project of its runs.

    Online or offline as a run of train.py is, and never with a question. What the folder does not have is left out.

    Args:
        folder: with figures/*.png, results.csv and report.html; W&B's own files go there too.
        runs: of which the first that was logged to W&B gives project, entity and group.
    """
    project, entity, group = _place(runs)
    logger = wandb_logger(
        project=project,
        entity=entity,
        group=group,
        job_type="report",
        name="report",
        tags=["report"],
        save_dir=str(folder),
    )
    failed = True
    try:
        _log(logger.experiment, folder)
        failed = False
    finally:
        finish([logger], failed=failed)


def _log(run: wandb.Run, folder: Path) -> None:
    content: dict[str, Any] = {
        f"report/{path.stem}": wandb.Image(str(path)) for path in sorted((folder / "figures").glob("*.png"))
    }
    results, page = folder / "results.csv", folder / "report.html"
    if results.is_file():
        content["report/results"] = _table(results)
    if page.is_file():
        content["report/page"] = wandb.Html(str(page))
        artifact = wandb.Artifact(f"report-{run.id}", type="report")
        artifact.add_file(str(page))
        run.log_artifact(artifact)
    if content:
        run.log(content)


def _table(path: Path) -> wandb.Table:
    """Read a CSV file, with numbers where a whole column has them, since a column has one type."""
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    rows = frame.astype(object).where(frame.notna(), None)
    return wandb.Table(columns=list(rows.columns), data=rows.to_numpy().tolist())


def _place(runs: Sequence[Run]) -> tuple[str, str | None, str | None]:
    """Find project, entity and group of the first run that was logged; what it took from elsewhere is left to W&B."""
    readable = [run for run in runs if run.settings]
    for run in readable:
        flat = flat_yaml(run.path / ".hydra" / "config.yaml")
        if any(f"{key}.".startswith("logger.wandb.") for key in flat):
            project, entity, group = (_plain(flat.get(f"logger.wandb.{key}")) for key in ("project", "entity", "group"))
            return project or PROJECT, entity, group or _group(run)
    return PROJECT, None, _group(readable[0]) if readable else None


def _plain(value: Setting) -> str | None:
    """Give None for what Hydra was to look up, such as "${oc.env:WANDB_ENTITY}"."""
    return None if value is None or "${" in str(value) else str(value)


def _group(run: Run) -> str | None:
    """Name the group as halfnas/jobs/launch.py does: by the folder of the sweep, the experiment or the dataset."""
    hydra = flat_yaml(run.path / ".hydra" / "hydra.yaml")
    if hydra.get("hydra.mode") == "MULTIRUN":
        return "/".join(Path(str(hydra.get("hydra.sweep.dir"))).parts[-2:])
    choices = (hydra.get(f"hydra.runtime.choices.{name}") for name in ("experiment", "dataset"))
    return next((str(choice) for choice in choices if choice), None)
