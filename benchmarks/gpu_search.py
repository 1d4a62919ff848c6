"""A whole search on a card as users run it, pruning first: seconds of both, of a step, and the peak of memory.

    python benchmarks/gpu_search.py                                      # CIFAR-10: conf/experiment/half_cifar10.yaml
    python benchmarks/gpu_search.py --dataset fake searcher.epochs=3     # noise of its shape and size, where it is not

Time and memory do not depend on pixels, so that noise gives them as well; accuracies then mean nothing. What follows
the options is given to train.py.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: In place of CIFAR-10: as many images, and its sizes and epochs.
FAKE = ("dataset=fake", "dataset.num_train=50000", "dataset.num_test=10000", "recipe=cifar10")
SHOWN = (
    "prune/seconds", "search/seconds", "total/search_seconds", "search/step_ms", "search/peak_allocated_mib",
    "search/peak_reserved_mib", "prune/peak_allocated_mib", "search/peak_live_mib", "search/val_acc",
)  # fmt: skip


def stage(name: str, folder: Path, overrides: list[str]) -> dict[str, float]:
    """Run a stage in a process of its own; returns its figures."""
    command = [sys.executable, str(ROOT / "train.py"), f"stage={name}", f"hydra.run.dir={folder / name}", *overrides]
    print(" ".join(command[1:]), flush=True)
    subprocess.run(command, check=True)
    return json.loads((folder / name / "metrics.json").read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10", help="cifar10, or fake for noise")
    parser.add_argument("--out", type=Path, default=Path("outputs") / "gpu_search" / time.strftime("%Y-%m-%d_%H-%M-%S"))
    arguments, overrides = parser.parse_known_args()
    dataset = FAKE if arguments.dataset == "fake" else (f"dataset={arguments.dataset}",)
    folder = arguments.out.resolve()
    common = ["experiment=half_cifar10", *dataset, "logger=csv", *overrides]
    try:
        metrics = stage("prune", folder, common)
        metrics |= stage("search", folder, [f"mask={folder / 'prune' / 'mask.json'}", *common])
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"error: train.py ended with exit code {error.returncode}") from None
    metrics["total/search_seconds"] = metrics["prune/seconds"] + metrics["search/seconds"]
    for key in SHOWN:
        if key in metrics:
            print(f"{key:<28} {metrics[key]:,.4g}")
    print(f"files: {folder}")


if __name__ == "__main__":
    main()
