"""The table at the end of a sweep, of which a job has a damaged file."""

import json

import pytest
from damages import DAMAGES, EVERYWHERE, HARMLESS, OF_YAML
from rich.console import Console

from halfnas.jobs import sweeps
from halfnas.runs.files import write_json

READ = ("status.json", "metrics.json")
DAMAGED = [damage for damage in DAMAGES if damage[0] in READ and damage[1] != "absent"]


def job(folder, file=None, damage=None):
    write_json(folder / "status.json", {"format": 1, "state": "done", "error": None})
    write_json(folder / "metrics.json", {"evaluate/test_acc": 0.975, "search/val_acc": 0.5, "search/seconds": 2})
    if damage is not None:
        damage(folder / file)


def shown(jobs):
    console = Console(width=200)
    with console.capture() as captured:
        console.print(sweeps.sweep_table(jobs))
    return captured.get()


@pytest.mark.parametrize(("file", "name", "damage"), DAMAGED, ids=["-".join(each[:2]) for each in DAMAGED])
def test_a_damaged_job_takes_no_other_along(tmp_path, file, name, damage):
    job(tmp_path / "seed-0")
    job(tmp_path / "seed-1", file, damage)
    jobs = sweeps.read_jobs(tmp_path, {"seed-0": ["seed=0"], "seed-1": ["seed=1"]})
    assert jobs[0].state == "done"
    text = shown(jobs)
    assert "97.50%" in text
    assert "seed=1" in text
    assert all(file in line and line.isprintable() for line in sweeps.failures(jobs))


@pytest.mark.parametrize("file", READ)
def test_a_mark_is_no_damage(tmp_path, file):
    [damage] = [each for name, kind, each in HARMLESS if (name, kind) == (file, "mark")]
    job(tmp_path / "seed-0", file, damage)
    [found] = sweeps.read_jobs(tmp_path, {"seed-0": []})
    assert (found.state, found.metrics["search/seconds"]) == ("done", 2)


def test_a_status_without_an_error(tmp_path):
    job(tmp_path / "seed-0")
    (tmp_path / "seed-0" / "status.json").write_text(json.dumps({"format": 1, "state": "running"}))
    [found] = sweeps.read_jobs(tmp_path, {"seed-0": []})
    assert (found.state, found.error) == ("running", None)


@pytest.mark.parametrize("kind", [*EVERYWHERE, *OF_YAML])
def test_overrides_that_cannot_be_read(tmp_path, kind):
    for name in ("seed-0", "seed-1"):
        job(tmp_path / name)
        (tmp_path / name / ".hydra").mkdir()
        (tmp_path / name / ".hydra" / "overrides.yaml").write_text("- seed=0\n- ratio=0.5\n")
    (EVERYWHERE | OF_YAML)[kind](tmp_path / "seed-1" / ".hydra" / "overrides.yaml")
    jobs = {job.folder: job for job in sweeps.read_jobs(tmp_path, {})}
    assert jobs["seed-0"].overrides == ["seed=0", "ratio=0.5"]
    assert {job.state for job in jobs.values()} == {"done"}
    assert f"{len(jobs)} of {len(jobs)} jobs are done" in shown([*jobs.values()])
