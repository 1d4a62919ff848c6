"""A long sweep of short jobs: memory and open files of its process, and what a job costs besides its work.

    python benchmarks/endurance.py                                       # 60 jobs, about 5 minutes on two CPU cores
    python benchmarks/endurance.py --jobs 10 --json benchmarks/results/endurance.json

Every job is a tiny search of digits in a process of its own. Its overhead is the time from the moment at which the
sweep comes to it, to that of the next one, less the seconds of its stages: processes, imports, settings, data, W&B and
files. Linux alone has the figures of other processes in /proc.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
JOB = (
    "stage=search", "pruner=none", "ratio=1", "searcher.epochs=1", "searcher.warmup_epochs=0",
    "dataset.max_train_images=40", "searcher.batch_size=4", "space.init_channels=4", "trainer=cpu",
    "~callbacks.progress",
)  # fmt: skip


class Figures(NamedTuple):
    """Of the sweep's process and the server that jobs are forked from, when a job begins."""

    memory_mib: float
    files: int
    server_memory_mib: float
    server_files: int


def memory(pid: int) -> float:
    """Resident memory, MiB."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def files(pid: int) -> int:
    """Open file descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def server_of(pid: int) -> int | None:
    """The server of the sweep's processes, once it runs."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "multiprocessing.forkserver" in Path(f"/proc/{child}/cmdline").read_text():
            return int(child)
    return None


def look(pid: int) -> Figures:
    server = server_of(pid)
    of_server = (0.0, 0) if server is None else (memory(server), files(server))
    return Figures(memory(pid), files(pid), *of_server)


def run(jobs: int, folder: Path, logger: str) -> list[Figures]:
    """Run the sweep; returns its figures soon after the beginning of each job."""
    seeds = ",".join(map(str, range(jobs)))
    command = [sys.executable, str(ROOT / "train.py"), "-m", *JOB, f"logger={logger}", f"seed={seeds}",
               f"hydra.sweep.dir={folder}"]  # fmt: skip
    environment = os.environ | {"WANDB_MODE": "offline"}
    found: list[Figures] = []
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            if (folder / f"seed-{len(found)}" / ".hydra").exists():
                found.append(look(process.pid))
            time.sleep(0.01)
        if process.returncode != 0:
            said.seek(0)
            raise SystemExit(said.read().decode())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--logger", default="wandb", help="as in logger=...")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweep"
        found = run(arguments.jobs, sweep, arguments.logger)
        stages = [json.loads((sweep / f"seed-{seed}" / "metrics.json").read_text()) for seed in range(arguments.jobs)]
        # Hydra makes a job's settings when it comes to it; by the clock of the files, as this process may be late.
        starts = [(sweep / f"seed-{seed}" / ".hydra").stat().st_mtime for seed in range(arguments.jobs)]
        end = (sweep / f"seed-{arguments.jobs - 1}" / "status.json").stat().st_mtime
    walls = [after - before for before, after in itertools.pairwise([*starts, end])]
    work = [sum(value for key, value in each.items() if key in ("prune/seconds", "search/seconds")) for each in stages]
    overheads = [wall - seconds for wall, seconds in zip(walls, work, strict=True)]
    part = max(1, len(found) // 6)
    result = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}", "jobs": arguments.jobs, "logger": arguments.logger,
        "overhead_seconds": {
            "first": overheads[0], "median": statistics.median(overheads[1:]),
            "smallest": min(overheads[1:]), "largest": max(overheads[1:]),
        },
        **{
            name: {
                "first": statistics.median(getattr(each, name) for each in found[1 : 1 + part]),
                "last": statistics.median(getattr(each, name) for each in found[-part:]),
            }
            for name in Figures._fields
        },
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
