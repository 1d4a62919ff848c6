"""The command."""

import subprocess
import sys

import pytest

from halfnas.reporting import __main__ as command


def test_a_report(sweep, tmp_path, capsys):
    assert (
        command.main([str(sweep), "--out", str(tmp_path), "--baseline", "pruner=nngp", "--baseline", "ratio=0.5"]) == 0
    )
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines()[-1] == str(tmp_path / "report.html")
    assert "nngp, ratio 0.5 *" in printed.out
    assert "92.60 ± 0.10" in printed.out
    assert "1 failed" in printed.out
    assert "Differences from nngp, ratio 0.5" in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "gone: no such folder"),
        (["empty"], "no run in"),
        (["in", "--baseline", "pruner=gone"], "baseline pruner=gone: 0 groups are like that"),
        (["in", "--baseline", "pruner"], "--baseline takes KEY=VALUE, got 'pruner'"),
        (["in", "--baseline", "=x"], "--baseline takes KEY=VALUE, got '=x'"),
        (["in", "--out", "file"], "file"),
        (["failed"], "no run is done: the report lists 1 runs"),
        (["failed", "--claims"], "no run is done. Of 1 runs: 1 failed"),
    ],
)
def test_what_cannot_be_reported_is_one_line(tmp_path, write_run, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    write_run(tmp_path / "in" / "run", metrics={"evaluate/test_acc": 0.9})
    write_run(tmp_path / "failed" / "run", state="failed", error="why")
    assert command.main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_failures_have_a_report_too(tmp_path, write_run, capsys):
    write_run(tmp_path / "run", state="failed", error="why it failed")
    assert command.main([str(tmp_path)]) == 2
    assert "why it failed" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "1 failed" in capsys.readouterr().out


def test_claims_alone(sweep, tmp_path, capsys):
    assert command.main([str(sweep), "--out", str(tmp_path), "--claims"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claims.csv", "claims.md"]
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "claims.csv")


def test_weights_and_biases_only_if_asked(sweep, tmp_path, monkeypatch):
    wandb = pytest.importorskip("halfnas.reporting.wandb")
    logged = []
    monkeypatch.setattr(wandb, "log_report", lambda folder, runs: logged.append((folder, len(runs))))
    command.main([str(sweep), "--out", str(tmp_path), "--claims"])
    assert logged == []
    command.main([str(sweep), "--out", str(tmp_path), "--claims", "--wandb"])
    assert logged == [(tmp_path, 21)]


def test_as_a_module(tmp_path):
    arguments = [sys.executable, "-m", "halfnas.reporting", str(tmp_path / "gone")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == f"halfnas.reporting: {tmp_path / 'gone'}: no such folder\n"
