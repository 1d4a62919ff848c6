"""What docs/extending.md says to write and to run is written and run, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTIONS = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8").split("\n## ")[1:]


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_what_is_written_there_works(section, tmp_path, capsys):
    for part in ("halfnas", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", tmp_path)
    for path, content in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", section, re.DOTALL):
        assert not (tmp_path / path).exists(), "nothing is edited"
        (tmp_path / path).write_text(content, encoding="utf-8")
    commands = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert commands
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "HYDRA_"))}
    for command in "".join(commands).splitlines():
        quick = ["trainer=cpu", "logger=csv", "dataset.max_train_images=200"]
        if "train.py" not in command:
            quick = []
        elif "dataset=" in command:  # one of its own need not take every setting
            quick = quick[:2]
        done = subprocess.run(
            [sys.executable, *command.split()[1:], *quick],
            cwd=tmp_path, env=keep | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        print(done.stdout)
    assert list(tmp_path.rglob("metrics.json"))
    if "mine.yaml" in section:
        assert "three quarters of the candidates" in capsys.readouterr().out
