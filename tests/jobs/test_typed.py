"""Command lines that can be typed again, whatever the folders are called."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from halfnas.jobs import typed

NAMES = (
    "sweep", "multirun/2026-01-02/03-04-05", "a b", "a=b,c [d]", "it's", 'say "no"', "back\\slash", "end\\", "${x}",
    "{a: 1}", "x:y", "~a", "$HOME", "2026", "007", "1e5", "true", "null", "ünï (1)", "#5", "", "a'b\\'c",
)  # fmt: skip


def read(text):
    """What Hydra makes of an override."""
    parsed = OverridesParser.create().parse_override(text)
    value = parsed.value()
    return parsed.key_or_group, OmegaConf.create({"value": str(getattr(value, "text", value))}).value


@pytest.mark.parametrize("name", NAMES)
def test_hydra_reads_what_was_meant(name):
    assert read(typed.override("hydra.run.dir", name)) == ("hydra.run.dir", name)


def test_plain_names_stay_readable():
    assert typed.override("hydra.run.dir", "multirun/a-1") == "hydra.run.dir=multirun/a-1"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_that_goes_on(monkeypatch, name):
    argv = ["train.py", "-m", "seed=0,1", "hydra.sweep.dir=old", "ckpt=last", "overwrite=true", "~callbacks.progress"]
    monkeypatch.setattr("sys.argv", argv)
    python, script, *arguments, last = shlex.split(typed.again("hydra.sweep.dir", name))
    assert (python, script) == ("python", "train.py")
    assert arguments == ["-m", "seed=0,1", "~callbacks.progress", "ckpt=last"]
    assert read(last) == ("hydra.sweep.dir", name)
