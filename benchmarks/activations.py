"""What each supernet keeps for its backward pass, and how long a step takes (the first rows of DESIGN 7).

    python benchmarks/activations.py --batch-size 32 --json benchmarks/results/activations_b32.json

Three supernets of the DARTS space on images of noise: plain DARTS, PC-DARTS, and PC-DARTS with a part of the
candidates, averaged over random masks. Bytes are those that autograd saves in one forward pass with a cross-entropy
loss, weights and architecture parameters requiring a gradient: each storage once, parameters and buffers left out.
Unlike a peak of live tensors they depend neither on the allocator nor on the load of the machine.
"""

import argparse
import os
import statistics
import time

import rich.box
import torch
from harness import hardware, make_parser, noise, positive, print_table, synchronize
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy

from halfnas import Mask, build_supernet, load_space
from halfnas.memory import MIB, saved_for_backward
from halfnas.networks import Supernet
from halfnas.runs.files import write_json
from halfnas.spaces import SearchSpace

FORMAT = 1
PARTIAL_CHANNELS = 4  # K of PC-DARTS
REPEATS = 3


class Setup:
    """One supernet of the comparison, under every mask that it is averaged over."""

    def __init__(self, name: str, supernets: list[Supernet]) -> None:
        self.name = name
        self.supernets = supernets
        self.saved_mib: list[float] = []
        self.seconds: list[list[float]] = [[] for _ in supernets]

    def to_json(self, darts_mib: float, pc_darts_mib: float) -> dict[str, object]:
        """The row of the table; needs the bytes of the two baselines."""
        saved = statistics.mean(self.saved_mib)
        medians = [statistics.median(times) for times in self.seconds if times]
        return {
            "supernet": self.name,
            "saved_mib": saved,
            "saved_mib_min": min(self.saved_mib),
            "saved_mib_max": max(self.saved_mib),
            "fraction_of_darts": saved / darts_mib,
            "fraction_of_pc_darts": saved / pc_darts_mib,
            "seconds": statistics.mean(medians) if medians else None,
            "saved_mib_of_masks": self.saved_mib,
            "seconds_of_masks": medians,
        }


def make_setups(space: SearchSpace, num_masks: int, ratio: float, device: torch.device) -> list[Setup]:
    masks = [Mask.random(space, ratio, seed) for seed in range(num_masks)]
    pruned = [build_supernet(space, mask, partial_channels=PARTIAL_CHANNELS) for mask in masks]
    setups = [
        Setup("DARTS", [build_supernet(space)]),
        Setup(f"PC-DARTS, K = {PARTIAL_CHANNELS}", [build_supernet(space, partial_channels=PARTIAL_CHANNELS)]),
        Setup(f"PC-DARTS, K = {PARTIAL_CHANNELS}, {ratio:.0%} of the candidates, {num_masks} random masks", pruned),
    ]
    for setup in setups:
        for supernet in setup.supernets:
            supernet.to(device)
            assert all(parameter.requires_grad for parameter in supernet.parameters())
    return setups


def measure_saved(setups: list[Setup], images: Tensor, labels: Tensor) -> None:
    for setup in setups:
        for supernet in setup.supernets:
            saved = saved_for_backward(lambda net=supernet: cross_entropy(net(images), labels), supernet)
            setup.saved_mib.append(saved / MIB)


def measure_seconds(setups: list[Setup], images: Tensor, labels: Tensor, repeats: int) -> None:
    """Forward and backward; the supernets take turns, so that a busy moment of the machine does not hit only one."""
    for _ in range(repeats):
        for setup in setups:
            for supernet, times in zip(setup.supernets, setup.seconds, strict=True):
                synchronize(images.device)
                start = time.perf_counter()
                cross_entropy(supernet(images), labels).backward()
                synchronize(images.device)
                times.append(time.perf_counter() - start)
                supernet.zero_grad(set_to_none=True)


def as_table(rows: list[dict[str, object]], title: str) -> Table:
    table = Table(box=rich.box.SIMPLE, title=title)
    table.add_column("supernet")
    for header in ("kept for backward", "min - max", "of DARTS", "of PC-DARTS", "forward + backward"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        one = row["saved_mib_min"] == row["saved_mib_max"]
        table.add_row(
            str(row["supernet"]),
            f"{row['saved_mib']:.1f} MiB",
            "" if one else f"{row['saved_mib_min']:.1f} - {row['saved_mib_max']:.1f} MiB",
            f"{row['fraction_of_darts']:.1%}",
            f"{row['fraction_of_pc_darts']:.1%}",
            "" if row["seconds"] is None else f"{row['seconds']:.2f} s",
        )
    return table


def parse() -> argparse.Namespace:
    parser = make_parser(__doc__, masks=10)
    parser.add_argument("--ratio", type=float, default=0.5, help="fraction of candidates kept on every edge")
    parser.add_argument("--repeats", type=positive, default=REPEATS, help="timed steps of each supernet")
    parser.add_argument("--no-time", action="store_true", help="bytes only: a forward pass each")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    load = os.getloadavg()[0]  # of the other jobs, before ours begins: above 0.5 the seconds say little
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    sizes = {"init_channels": arguments.init_channels, "num_cells": arguments.num_cells}
    try:
        space = load_space("darts", **sizes)
        space.check_images(arguments.image_size)
        setups = make_setups(space, arguments.masks, arguments.ratio, arguments.device)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    images, labels = noise(space, arguments.batch_size, arguments.image_size, arguments.device)
    shape = images.shape

    measure_saved(setups, images, labels)  # the first passes, so they warm the machine up for the timed ones too
    if not arguments.no_time:
        measure_seconds(setups, images, labels, arguments.repeats)

    darts_mib, pc_darts_mib = (statistics.mean(setup.saved_mib) for setup in setups[:2])
    rows = [setup.to_json(darts_mib, pc_darts_mib) for setup in setups]
    title = f"batch {shape[0]}, C = {arguments.init_channels}, {arguments.num_cells} cells, "
    title += f"{shape[1]}x{shape[2]}x{shape[3]}, float32"
    print_table(as_table(rows, title))
    timed = "" if arguments.no_time else f"; seconds: median of {arguments.repeats} interleaved steps, mean over masks"
    machine = f"{hardware(arguments.device)}; torch {torch.__version__}; load average before {load:.1f}"
    print(f"{machine}{timed}")
    if arguments.json is not None:
        settings = {"batch_size": shape[0], "image_size": shape[2], "masks": arguments.masks, "ratio": arguments.ratio}
        settings |= {**sizes, "repeats": 0 if arguments.no_time else arguments.repeats}
        content = {"format": FORMAT, "settings": settings, "hardware": machine, "rows": rows}
        write_json(arguments.json, content)


if __name__ == "__main__":
    main()
