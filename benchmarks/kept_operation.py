"""How much of the best of NAS-Bench-201 masks leave, by the number of edges on which they keep an operation.

    python benchmarks/kept_operation.py FOLDER [FOLDER ...] --accuracies PATH [--operation skip_connect]

FOLDER is what `python -m halfnas.comparison parts=[survivors]` wrote. The last row is closed: every way in which a mask
can keep both convolutions and one of the other three candidates on each edge, as a parameter count does.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np

from halfnas.comparison.benchmark import survival
from halfnas.spaces import Mask, load_space
from halfnas.spaces.trained import TrainedTable

CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
OTHERS = ("none", "skip_connect", "avg_pool_3x3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--accuracies", required=True, type=Path, help="table of NAS-Bench-201")
    parser.add_argument("--dataset", default="cifar10", help="whose accuracies")
    parser.add_argument("--operation", default="skip_connect")
    arguments = parser.parse_args()
    space = load_space("nasbench201")
    trained = TrainedTable.load(arguments.accuracies, space, arguments.dataset)
    masks: dict[str, list[Mask]] = {}
    for folder in arguments.folders:
        for path in sorted((folder / "masks" / space.name).glob("*.json")):
            masks.setdefault(path.stem.rsplit("-", 1)[0], []).append(Mask.load(path))
    masks["all orders of ties"] = [
        Mask(space.name, {"cell": [(other, *CONVOLUTIONS) for other in edges]}) for edges in product(OTHERS, repeat=6)
    ]
    best = np.argsort(trained.accuracies)[-round(0.01 * len(trained)) :]
    counts = {name: sum(name in trained.architectures[i] for i in best) for name in (*CONVOLUTIONS, *OTHERS)}
    print(f"of the {len(best)} best architectures contain: {counts}")
    for name, found in masks.items():
        left = np.array([survival(trained, trained.left_by(mask))["best 1% left"] for mask in found])
        edges = np.array([sum(arguments.operation in edge for edge in mask.kept["cell"]) for mask in found])
        by_count = ", ".join(f"{n}: {left[edges == n].mean():.3f} ({(edges == n).sum()})" for n in np.unique(edges))
        print(
            f"{name}: {len(found)} masks leave {left.mean():.3f} of the best 1%, {left.min():.3f} to {left.max():.3f}, "
            f"median {np.median(left):.3f}, {np.mean(left > 0.6**6):.0%} of them more than chance; by edges with "
            f"{arguments.operation} (masks): {by_count}"
        )


if __name__ == "__main__":
    main()
