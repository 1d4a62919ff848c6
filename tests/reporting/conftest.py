"""A search space that is nothing like DARTS and a genotype of it; invented runs."""

import json

import pytest

from halfnas.reporting.report import make_report
from halfnas.runs.files import write_json
from halfnas.runs.history import append_history
from halfnas.spaces import Mask, find_genotype, load_space


def write_run(
    folder, *, seed=0, state="done", error=None, metrics=None, mask=None, genotype=None, history=(), **settings
):
    """An invented run: settings are flat, such as pruner="nngp" or searcher__epochs=5."""
    config = {"seed": seed, "dataset": {"name": "digits"}, "space": {}, "pruner": {}, "searcher": {}, "stage": "search"}
    choices = {"dataset": "digits", "space": "darts", "pruner": "nngp", "searcher": "pcdarts"}
    for key, value in settings.items():
        group, _, name = key.partition("__")
        if group in choices and not name:
            choices[group] = value
        elif name:
            config[group][name] = value
        else:
            config[group] = value
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    (folder / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": {"runtime": {"choices": choices}}}))
    write_json(folder / "status.json", {"format": 1, "state": state, "error": error})
    if metrics is not None:
        write_json(folder / "metrics.json", metrics)
    for name, part in (("mask", mask), ("genotype", genotype)):
        if part is not None:
            part.save(folder / f"{name}.json")
    for row in history:
        append_history(folder / "history.csv", row)
    return folder


def write_sweep(root, *, pruners=("nngp", "random"), ratios=(0.25, 0.5, 1.0), seeds=range(3)):
    """A sweep with everything that real ones have; numbers follow from the settings and the seed."""
    space = load_space("darts")
    genotype = find_genotype("darts_v2")
    for number, pruner in enumerate(pruners):
        for ratio in ratios:
            for seed in seeds:
                metrics = {
                    "evaluate/test_acc": 0.9 + 0.05 * ratio + 0.01 * number + 0.001 * seed,
                    "evaluate/test_images": 1e8,
                    "search/val_acc": 0.8 + 0.01 * seed,
                    "search/peak_live_mib": 100 * ratio + seed,
                    "search/seconds": 10 * ratio + 1,
                    "prune/seconds": 2.0,
                    "evaluate/params": 1000,
                }
                history = [
                    {"stage": stage, "epoch": epoch, key: 0.5 + 0.1 * epoch + 0.01 * seed}
                    for stage, key in (("search", "search/val_acc"), ("evaluate", "evaluate/test_acc"))
                    for epoch in range(3)
                ]
                write_run(
                    root / f"{pruner}-{ratio}-{seed}", seed=seed, pruner=pruner, ratio=ratio, metrics=metrics,
                    mask=Mask.random(space, ratio, seed + 10 * number), genotype=genotype, history=history,
                )  # fmt: skip
    return root


def write_whole_run(folder, seed, pruner):
    """A run with every file, and the same numbers whatever the seed."""
    metrics = {
        "evaluate/test_acc": 0.9, "evaluate/test_images": 1e4, "search/val_acc": 0.8, "search/seconds": 10.0,
        "search/peak_live_mib": 50.0,
    }  # fmt: skip
    history = [
        {"stage": stage, "epoch": epoch, key: 0.5 + 0.1 * epoch}
        for stage, key in (("search", "search/val_acc"), ("evaluate", "evaluate/test_acc"))
        for epoch in range(3)
    ]
    return write_run(
        folder, seed=seed, pruner=pruner, ratio=0.5, metrics=metrics, mask=Mask.random(load_space("darts"), 0.5, seed),
        genotype=find_genotype("darts_v2"), history=history,
    )  # fmt: skip


@pytest.fixture(name="write_run")
def write_run_fixture():
    """write_run(folder, seed=..., state=..., metrics=..., pruner=..., ...)."""
    return write_run


@pytest.fixture(name="write_sweep")
def write_sweep_fixture():
    """write_sweep(folder, pruners=..., ratios=..., seeds=...)."""
    return write_sweep


@pytest.fixture(scope="session")
def whole_runs(tmp_path_factory):
    """Three runs with every file, beside a run of another group for each of so many seeds: whole_runs(count)."""

    def write(count):
        root = tmp_path_factory.mktemp("whole")
        for seed in range(3):
            write_whole_run(root / f"good-{seed}", seed, "random")
        for number in range(count):
            write_whole_run(root / f"run-{number}", number, "nngp")
        return root

    return write


@pytest.fixture(scope="session")
def page(sweep, tmp_path_factory):
    """The page of the report about the sweep, with its other files beside it."""
    return make_report([sweep], out=tmp_path_factory.mktemp("report") / "deep" / "out")


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """A sweep of 18 runs, one of them failed, one unfinished, and one that was never started. Not to be written to."""
    root = write_sweep(tmp_path_factory.mktemp("runs") / "sweep")
    error = "<script>document.title = 'broken in'</script> [/red] out of | memory"
    write_run(root / "failed", seed=7, state="failed", error=error, pruner="nngp", ratio=0.5)
    write_run(root / "killed", seed=8, state="running", pruner="nngp", ratio=0.5, metrics={"prune/seconds": 1.0})
    write_json(root / "sweep.json", {"format": 1, "jobs": ["failed", "killed", "never"]})
    return root
