"""What becomes of a sweep. Real sweeps are in tests/e2e/test_sweeps.py."""

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from halfnas.jobs import folders, sweeps
from halfnas.runs.files import write_json


@pytest.fixture
def nothing_started(monkeypatch):
    monkeypatch.setattr(folders, "_started", None)


def status(folder, state, error=None, **metrics):
    write_json(folder / "status.json", {"format": 1, "state": state, "error": error})
    write_json(folder / "metrics.json", metrics)


JOBS = {f"seed-{seed}": [f"seed={seed}", "ratio=0.5"] for seed in range(4)}


@pytest.fixture
def sweep(tmp_path):
    """One done, one failed, one whose process is gone, one not started, and one of an earlier command."""
    status(tmp_path / "seed-0", "done", **{"evaluate/test_acc": 0.975, "search/seconds": 2, "evaluate/seconds": 3})
    problems = "halfnas: 2 settings that cannot run\n  * `ratio` is [wrong]\n  * `seed` is wrong"
    status(tmp_path / "seed-1", "failed", problems)
    (tmp_path / "seed-2").mkdir()
    (tmp_path / "seed-2" / "status.json").write_text("{")
    status(tmp_path / "more", "failed", "RuntimeError: disk on fire\nsecond line")
    (tmp_path / "more" / ".hydra").mkdir()
    OmegaConf.save(["seed=9", "ratio=0.5"], tmp_path / "more" / ".hydra" / "overrides.yaml")
    return tmp_path


def test_read_jobs_that_were_planned(sweep):
    jobs = {job.folder: job for job in sweeps.read_jobs(sweep, JOBS)}
    assert {name: job.state for name, job in jobs.items()} == {
        "seed-0": "done", "seed-1": "failed", "seed-2": "unreadable", "seed-3": "not started",
    }  # fmt: skip
    assert jobs["seed-1"].overrides == ["seed=1", "ratio=0.5"]
    assert "status.json" in jobs["seed-2"].error


def test_read_jobs_without_a_plan(sweep):
    [job] = sweeps.read_jobs(sweep, {})
    assert (job.folder, job.overrides, job.state) == ("more", ["seed=9", "ratio=0.5"], "failed")


def shown(*renderables):
    console = Console(width=80)
    with console.capture() as captured:
        for each in renderables:
            console.print(each)
    return captured.get()


def test_the_table_names_jobs_by_what_tells_them_apart(sweep):
    text = shown(sweeps.sweep_table(sweeps.read_jobs(sweep, JOBS)))
    assert "1 of 4 jobs are done" in text
    assert "ratio" not in text
    [row] = [line for line in text.splitlines() if "seed=0" in line]
    assert [part.strip() for part in row.strip("│").split("│")] == ["seed=0", "done", "97.50%", "-", "5.0 s"]


def test_failures_say_why_in_a_line(sweep):
    lines = sweeps.failures(sweeps.read_jobs(sweep, JOBS))
    assert lines[0] == "seed=1: `ratio` is [wrong] (and 1 more)"
    assert len(lines) == 2
    assert sweeps.failures(sweeps.read_jobs(sweep, {})) == ["more: RuntimeError: disk on fire"]


def test_a_sweep_of_one_job_is_named_by_its_folder(tmp_path):
    assert "seed-0" in shown(sweeps.sweep_table(sweeps.read_jobs(tmp_path, {"seed-0": ["seed=0"]})))


def ended(monkeypatch, sweep, error=None, jobs=JOBS):
    """The exit code of a command that ends in `error`, and what it prints."""

    def main():
        monkeypatch.setattr(folders, "_started", sweep and (sweep, jobs))
        if error is not None:
            raise error

    console = Console(width=200)
    with console.capture() as captured:
        code = sweeps.command(main, console)
    return code, captured.get()


@pytest.mark.usefixtures("nothing_started")
@pytest.mark.parametrize(
    ("error", "code"),
    [(None, 0), (SystemExit(3), 3), (SystemExit("why"), 1), (SystemExit(), 0), (KeyboardInterrupt(), 130)],
)
def test_exit_codes_of_a_single_run(monkeypatch, error, code):
    found, text = ended(monkeypatch, None, error)
    assert found == code
    assert text == ("Interrupted.\n" if code == 130 else "")


@pytest.mark.usefixtures("nothing_started")
def test_the_end_of_a_sweep(monkeypatch, sweep):
    monkeypatch.setattr("sys.argv", ["train.py", "-m", "seed=0,1", "hydra.sweep.dir=old"])
    code, text = ended(monkeypatch, sweep, SystemExit(1))
    assert code == 1
    assert "1 of 4 jobs are done" in text
    assert "Failed: seed=1: `ratio` is [wrong] (and 1 more)\n" in text
    assert f"Go on:  python train.py -m seed=0,1 ckpt=last hydra.sweep.dir={sweep}\n" in text
    assert ended(monkeypatch, sweep, None)[0] == 1  # a sweeper that takes failures in its stride
    assert ended(monkeypatch, sweep, KeyboardInterrupt())[0] == 130


@pytest.mark.usefixtures("nothing_started")
def test_the_end_of_a_sweep_without_failures(monkeypatch, tmp_path):
    status(tmp_path / "seed-0", "done")
    status(tmp_path / "seed-abc", "failed", "of an earlier command")
    code, text = ended(monkeypatch, tmp_path, jobs={"seed-0": ["seed=0"]})
    assert code == 0
    assert "1 of 1 jobs are done" in text
    assert f"python -m halfnas.reporting {tmp_path}" in text
    assert "Go on" not in text


@pytest.mark.usefixtures("nothing_started")
def test_a_sweep_that_does_not_start_has_no_table(monkeypatch, tmp_path):
    """Hydra has said why."""
    assert ended(monkeypatch, tmp_path, SystemExit(1), {"seed-abc": ["seed=abc"]}) == (1, "")


def test_other_errors_are_not_hidden(monkeypatch):
    monkeypatch.setattr(folders, "_started", None)
    with pytest.raises(RuntimeError):
        ended(monkeypatch, None, RuntimeError())
