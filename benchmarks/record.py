"""Runs every stage, pruner, searcher and engine on digits and writes down what they found, to the last digit.

    python benchmarks/record.py --compare benchmarks/results/record.json   # run and compare; exit code 1 if they differ
    python benchmarks/record.py --json benchmarks/results/record.json      # write anew, where numbers are to change

A change of the code that is to change nothing is proved by a record from before it. Everything runs in float64, so that
another order of sums shows only far behind the point. Seconds and the memory that an allocator reserves are left out.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = [
    "logger=csv",
    "trainer.precision=64-true",
    "dataset.max_train_images=128",
    "space.init_channels=4",
    "searcher.epochs=2",
    "searcher.warmup_epochs=1",
    "searcher.batch_size=16",
    "evaluation.init_channels=4",
    "evaluation.epochs=2",
    "evaluation.batch_size=32",
    "evaluation.drop_path=0.2",
    "evaluation.holdout_fraction=0.25",
]
SMALL_SCORES = ["pruner.repeats=2", "pruner.network.init_channels=4"]
PRUNERS = [
    "etenas", "fisher", "flops", "grad_norm", "grasp", "jacob_cov", "linear_regions", "naswot", "nngp", "nngp_exact",
    "nngp_mean", "ntk", "params", "snip", "synflow", "zen", "zico",
]  # fmt: skip
#: name -> overrides
RUNS = {
    **{f"pruner {name}": ["stage=prune", f"pruner={name}", *SMALL_SCORES] for name in PRUNERS},
    "pruner te_nas": ["stage=prune", "pruner=te_nas", "pruner.repeats=1", "pruner.rounds=1", "ratio=0.875"],
    "pruner random": ["stage=prune", "pruner=random"],
    **{  # which rate nothing that normalises last, as a DARTS supernet
        f"pruner {name}": ["stage=prune", f"pruner={name}", "space=nasbench201", *SMALL_SCORES]
        for name in ("jacob_cov_published", "ntk_published")
    },
    "pruner nasbench201": ["stage=prune", "space=nasbench201", *SMALL_SCORES],
    **{
        f"search {engine} {recompute}": [
            "pruner=random", f"supernet.engine={engine}", f"supernet.recompute={recompute}",
        ]
        for engine in ("plain", "fused")
        for recompute in ("none", "nodes", "cells")
    },
    **{
        f"search {searcher}": ["pruner=random", "ratio=0.4", f"searcher={searcher}"]
        for searcher in ("beta_pcdarts_published", "darts", "pcdarts", "darts2", "drnas", "gdas", "random", "random_ws")
    },
    **{
        f"search {space}": ["pruner=random", f"space={space}", "space.width_multiplier=0.125"]
        for space in ("nasbench_macro", "mobilenet")
    },
    **{f"search {space}": ["pruner=params", "ratio=0.75", f"space={space}"] for space in ("s1", "s2", "s3", "s4")},
    "search nasbench201": ["pruner=none", "space=nasbench201", "space.num_cells=3", "evaluation.num_cells=3"],
    "evaluate darts_v2": ["stage=evaluate", "genotype=darts_v2", "evaluation.cutout_length=2"],
    "pipeline fake": ["pruner=nngp", *SMALL_SCORES, "dataset=fake", "space.num_cells=3", "evaluation.num_cells=3",
                      "evaluation.cutout_length=8"],
}  # fmt: skip


def run(overrides: list[str], train: Path) -> dict[str, object]:
    """Metrics, mask and cell of a run; the error where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        has_width = any("width_multiplier" in override for override in overrides)  # in place of channels
        tiny = [override for override in TINY if not (has_width and "init_channels" in override)]
        command = [sys.executable, str(train), *tiny, *overrides, f"hydra.run.dir={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=train.parent)
        if done.returncode:
            return {"error": done.stderr[-2000:]}
        found: dict[str, object] = {}
        for name in ("mask", "genotype", "metrics"):
            path = Path(folder) / f"{name}.json"
            if path.is_file():
                found[name] = json.loads(path.read_text())
        metrics = found.get("metrics", {})
        assert isinstance(metrics, dict)
        found["metrics"] = {key: value for key, value in metrics.items() if _repeats(key)}
        return found


def _repeats(metric: str) -> bool:
    return not any(part in metric for part in ("seconds", "step_ms", "per_second", "peak"))


def differences(before: object, after: object, tolerance: float, where: str = "") -> list[str]:
    """What is not the same: numbers by more than a part `tolerance` of them, anything else at all."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in {**before, **after}
            for line in (
                differences(before[key], after[key], tolerance, f"{where}/{key}")
                if key in before and key in after
                else [f"{where}/{key}: only {'before' if key in before else 'after'}"]
            )
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [line for i, (one, other) in pairs for line in differences(one, other, tolerance, f"{where}/{i}")]
    if isinstance(before, int | float) and isinstance(after, int | float):
        same = math.isclose(before, after, rel_tol=tolerance, abs_tol=1e-12)
    else:
        same = before == after
    return [] if same else [f"{where}: {before!r} -> {after!r}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write")
    parser.add_argument("--compare", type=Path, help="a record to compare with")
    parser.add_argument("--tolerance", type=float, default=1e-9, help="relative, of a number")
    parser.add_argument("--only", default="", help="runs whose names contain this")
    parser.add_argument("--train", type=Path, default=ROOT / "train.py", help="the train.py of another version")
    arguments = parser.parse_args()
    names = [name for name in RUNS if arguments.only in name]
    with ThreadPoolExecutor(2) as pool:
        found = {}
        for name, each in zip(names, pool.map(lambda n: run(RUNS[n], arguments.train), names), strict=True):
            print(name, "failed" if "error" in each else "done", flush=True)
            found[name] = each
            if arguments.json:
                arguments.json.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    if arguments.compare:
        before = json.loads(arguments.compare.read_text())
        wrong = differences({name: before.get(name) for name in names}, found, arguments.tolerance)
        print(*wrong or ["no difference"], sep="\n")
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
