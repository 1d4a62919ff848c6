"""A full search step of two versions of this code in turns: does a change cost time?

    git worktree add ../before COMMIT
    python benchmarks/versions.py ../before . --rounds 15

PC-DARTS half (K = 4, the random mask of seed 0), fused, a step of architecture and weights on noise. Each version has a
process of its own, which imports halfnas from its folder, and in every round each takes its turn, as the first one in
every second. Printed are medians, and the median and range of the ratios of the rounds.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
from harness import hardware, make_parser, noise, positive

CHILD = "--child"
MODES = ("none", "nodes")


def serve(batch_size: int, threads: int) -> None:
    """Take a step of the recomputation that every line of the input names; answer with its seconds."""
    from halfnas import Mask, build_supernet, load_space
    from halfnas.search.relaxations import Softmax
    from halfnas.search.step import BilevelStep
    from halfnas.training import adam, sgd

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    space = load_space("darts")
    images, labels = noise(space, batch_size, 32, torch.device("cpu"))
    steps = {}
    for line in map(str.strip, sys.stdin):
        if line not in steps:
            mask = Mask.random(space, ratio=0.5, seed=0)
            supernet = build_supernet(space, mask=mask, partial_channels=4, engine="fused", recompute=line).train()
            weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
            alphas = supernet.architecture_parameters()
            architecture = adam(alphas, learning_rate=6e-4, betas=(0.5, 0.999), weight_decay=1e-3)
            steps[line] = BilevelStep(supernet, weights, architecture, gradient_clip=5.0, relaxation=Softmax())
        start = time.perf_counter()
        steps[line](images, labels, images, labels)
        print(time.perf_counter() - start, flush=True)


class Version:
    """A process that takes steps with the code of a folder."""

    def __init__(self, folder: Path, batch_size: int, threads: int) -> None:
        self.name = str(folder)
        command = [sys.executable, __file__, CHILD, str(batch_size), str(threads)]
        environment = os.environ | {"PYTHONPATH": str(folder.resolve())}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)

    def seconds(self, mode: str) -> float:
        """Take a step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(mode, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    if CHILD in sys.argv:
        serve(*map(int, sys.argv[2:]))
        return
    parser = make_parser(__doc__, masks=1)
    parser.add_argument("before", type=Path, help="folder of a version")
    parser.add_argument("after", type=Path, help="folder of another one")
    parser.add_argument("--rounds", type=positive, default=15)
    arguments = parser.parse_args()
    print(f"load average before {os.getloadavg()[0]:.1f}; {hardware(arguments.device)}; torch {torch.__version__}")
    versions = [Version(path, arguments.batch_size, arguments.threads) for path in (arguments.before, arguments.after)]
    for mode in MODES:
        times: dict[Version, list[float]] = {version: [] for version in versions}
        for number in range(arguments.rounds + 1):
            for version in versions[:: 1 if number % 2 else -1]:
                seconds = version.seconds(mode)
                if number > 0:  # the first one warms up
                    times[version].append(seconds)
        before, after = times.values()
        ratios = [b / a for a, b in zip(before, after, strict=True)]
        print(
            f"{mode}: {1e3 * median(before):.0f} ms, then {1e3 * median(after):.0f} ms: "
            f"{median(ratios):.3f} times as long ({min(ratios):.3f} to {max(ratios):.3f}, n = {len(ratios)})",
            flush=True,
        )
    for version in versions:
        version.close()


if __name__ == "__main__":
    main()
