"""Whether a sweep on a Ray cluster does every job once, though a node is killed in the middle.

The cluster is two nodes of one CPU each on this machine's loopback, 127.0.0.2 and 127.0.0.3. The second one is killed,
its workers with it, while it trains; what becomes of the processes that its workers had started is looked at.

    python -m venv ray && ray/bin/pip install ".[ray]"
    ray/bin/python benchmarks/ray_cluster.py --out benchmarks/results/ray_cluster.txt
"""

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD, SECOND, PORT = "127.0.0.2", "127.0.0.3", 6399
START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1")
#: Of nodes and launches. Ray's tokens keep others out.
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
}  # fmt: skip
#: Prunes in no time and trains for some seconds.
JOB = (
    "stage=prune+search", "pruner=random", "searcher.epochs=10", "searcher.warmup_epochs=0", "space.init_channels=4",
    "dataset.max_train_images=80", "trainer=cpu", "logger=none", "~callbacks.progress",
)  # fmt: skip
#: Jobs that are done before the node is killed, and epochs of the one that it then has.
DONE_BEFORE, EPOCHS_BEFORE = 2, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--out", type=Path, help="a file for what is printed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ray-cluster-") as folder, contextlib.ExitStack() as nodes:
        lines = [", ".join(f"{name} {version(name)}" for name in ("ray", "hydra-ray-launcher", "cloudpickle", "torch"))]
        print(*lines)
        head = [f"--node-ip-address={HEAD}", "--head", f"--port={PORT}", "--include-dashboard=false"]
        nodes.enter_context(node(*head, f"--temp-dir={folder}/ray"))
        second = nodes.enter_context(node(f"--node-ip-address={SECOND}", f"--address={HEAD}:{PORT}"))
        for line in trial(Path(folder), second, arguments.jobs):
            print(line, flush=True)
            lines.append(line)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def trial(folder: Path, second: int, jobs: int) -> Iterator[str]:
    """Run the sweep, kill the second node, and run the sweep again; yields what came of it."""
    watch = Watch(folder / "sweep", jobs, second)
    with start(folder, jobs, "first.log") as process:
        while not watch.is_in_the_middle():
            assert process.poll() is None, (folder / "first.log").read_text(encoding="utf-8")
            watch.look()
        [job] = watch.running_on_second()
        ray, theirs = watch.kill_second()
        had = epochs(watch.sweep / job)
        yield f"{watch.clock()}: the second node is killed, {len(ray)} processes of Ray's; of {job} it ran {had} epochs"
        while any(map(alive, theirs)):
            watch.look()
        yield f"{watch.clock()}: the {len(theirs)} processes that its worker had started have ended by themselves"
        fewest = had
        while process.poll() is None:
            watch.look()
            fewest = min(fewest, epochs(watch.sweep / job))
    yield f"{watch.clock()}: the sweep has ended; epochs of {job} that were trained again: {had - fewest}"
    yield f"exit code {process.returncode}, {watch.done()} of {jobs} jobs done"
    yield from (f"  {job}: {state(watch.sweep / job)}, begun on {', then on '.join(nodes)}"
                for job, nodes in watch.begun.items())  # fmt: skip
    before, count = written(watch.sweep), sum(map(len, watch.begun.values()))
    with start(folder, jobs, "second.log") as process:
        while process.poll() is None:
            watch.look()
    changed = len(before.items() ^ written(watch.sweep).items())
    more = sum(map(len, watch.begun.values())) - count
    yield f"the same command again: exit code {process.returncode}, {more} jobs begun, {changed} results changed"


class Watch:
    """Who runs which job, by the locks of their folders."""

    def __init__(self, sweep: Path, jobs: int, second: int) -> None:
        self.sweep, self.second = sweep, second
        self.begun: dict[str, list[str]] = {f"seed-{seed}": [] for seed in range(jobs)}
        self._last: dict[str, int] = {}
        self._raylets = {pid for pid in descendants(second) if "/raylet" in arguments_of(pid)}
        self._since = time.monotonic()

    def clock(self) -> str:
        """Seconds since the sweep was started."""
        return f"{time.monotonic() - self._since:.1f} s"

    def look(self) -> None:
        """See which jobs have begun since."""
        for job, nodes in self.begun.items():
            with contextlib.suppress(OSError, IndexError):  # the lock goes with the job, the process too
                pid = int((self.sweep / job / ".lock").read_text(encoding="utf-8").split()[0])
                if pid != self._last.get(job):
                    nodes.append("the second node" if raylet_of(pid) in self._raylets else "the first node")
                    self._last[job] = pid
        time.sleep(0.02)

    def done(self) -> int:
        """How many jobs are."""
        return sum(state(self.sweep / job) == "done" for job in self.begun)

    def running_on_second(self) -> list[str]:
        """The jobs that are trained there now."""
        return [job for job, nodes in self.begun.items() if nodes and nodes[-1] == "the second node"
                and state(self.sweep / job) == "running" and epochs(self.sweep / job) >= EPOCHS_BEFORE]  # fmt: skip

    def is_in_the_middle(self) -> bool:
        """Whether some jobs are done, and one is trained on the second node."""
        return self.done() >= DONE_BEFORE and len(self.running_on_second()) == 1

    def kill_second(self) -> tuple[list[int], list[int]]:
        """Kill all of Ray's processes of the second node; gives them, and those that its workers had started."""
        both = [self.second, *descendants(self.second)]
        theirs = [pid for pid in both if "multiprocessing" in arguments_of(pid)]
        ray = [pid for pid in both if pid not in theirs]
        for pid in ray:
            os.kill(pid, signal.SIGKILL)
        return ray, theirs


@contextlib.contextmanager
def node(*arguments: str) -> Iterator[int]:
    """A node of Ray's, until the end; gives the id of the process that all of its others come from."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*START, *arguments], env=ENVIRONMENT, cwd="/", **quiet) as process:
        try:
            time.sleep(15)  # until it has joined
            yield process.pid
        finally:
            for pid in [process.pid, *descendants(process.pid)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def start(folder: Path, jobs: int, log: str) -> subprocess.Popen[bytes]:
    """Start the sweep."""
    seeds = ",".join(map(str, range(jobs)))
    launcher = ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={HEAD}:{PORT}")
    command = [sys.executable, str(ROOT / "train.py"), "-m", *JOB, *launcher, f"seed={seeds}", "ckpt=last"]
    with (folder / log).open("wb") as file:
        return subprocess.Popen([*command, "hydra.sweep.dir=sweep"], cwd=folder, stdout=file, stderr=subprocess.STDOUT,
                                env=ENVIRONMENT)  # fmt: skip


def raylet_of(pid: int) -> int:
    """The process of Ray's that has started the worker that a process comes from."""
    for each in Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace").split("\0"):
        if each.startswith("RAY_RAYLET_PID="):
            return int(each.partition("=")[2])
    raise OSError(f"process {pid} is not one of Ray's")


def arguments_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    return ""


def descendants(root: int) -> list[int]:
    """The processes that come from one."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in map(str.split, table.splitlines())}
    found = [root]
    for parent in found:
        found += [pid for pid, its in parents.items() if its == parent]
    return found[1:]


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    return False


def state(job: Path) -> str:
    with contextlib.suppress(OSError):
        return json.loads((job / "status.json").read_text(encoding="utf-8"))["state"]
    return "not started"


def epochs(job: Path) -> int:
    with contextlib.suppress(OSError):
        return len((job / "history.csv").read_text(encoding="utf-8").splitlines()) - 1
    return 0


def written(sweep: Path) -> dict[str, int]:
    """When results were written."""
    return {str(path): path.stat().st_mtime_ns for path in sweep.glob("*/*.json")}


if __name__ == "__main__":
    main()
