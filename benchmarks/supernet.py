"""Memory and time of a search step of every supernet: {DARTS, PC-DARTS} x ratio x engine x recompute.

    python benchmarks/supernet.py --json benchmarks/results/supernet_b32.json

Images are noise. A full search step is that of `BilevelSearch`: an architecture step (Adam) and a weight step (SGD),
both with a gradient for all parameters. Figures of each row, means over the same random masks where half of the
candidates are kept:

* kept: bytes that autograd saves in one forward pass, as in activations.py;
* peak: of live tensors during a full search step, above weights and optimiser state;
* ops, moved: operations that are no views in the forward and backward pass of half a step, and the bytes that they read
  and write at this batch size, not counted for compiled rows; both grow with what a GPU has to launch and to move;
* step: median over rounds, for the first masks only. Every row lives in a process of its own, so that no allocator
  disturbs another; in a round each takes its turn, so that a busy moment of the machine does not hit only one.

The last two rows have twice the batch: whether the original DARTS fits a card of 2 GB.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import rich.box
import torch
from harness import hardware, make_row_parser, noise, print_table, synchronize
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy
from turns import Begun, take_turns

from halfnas import Mask, build_supernet, load_space
from halfnas.memory import MIB, Traffic, peak_live_memory, peak_memory, saved_for_backward
from halfnas.networks import Supernet
from halfnas.runs.files import write_json
from halfnas.search import BilevelStep, Softmax
from halfnas.spaces import SearchSpace
from halfnas.training import adam, sgd

FORMAT = 1
PARTIAL_CHANNELS = {"DARTS": 1, "PC-DARTS": 4}  # K
RATIOS = (1.0, 0.5)
ENGINES = ("plain", "fused")
RECOMPUTE = ("none", "nodes", "cells")
GIB = 2**30

Row = dict[str, Any]  # the figures of one setup


@dataclass(frozen=True)
class Setup:
    """One row of the comparison. `batch_size`: None for that of the others; with one of its own it is not timed."""

    network: str
    ratio: float
    engine: str
    recompute: str
    compile: bool = False
    batch_size: int | None = None

    @property
    def name(self) -> str:
        """For people, and for --rows."""
        batch = "" if self.batch_size is None else f" batch {self.batch_size}"
        return f"{self.network} {self.ratio:g} {self.engine} {self.recompute}{' compile' * self.compile}{batch}"

    @property
    def plain(self) -> "Setup":
        """Plain with the same masks."""
        return replace(self, engine="plain", recompute="none", compile=False)

    @property
    def darts(self) -> "Setup":
        """Plain DARTS with all candidates."""
        return replace(self.plain, network="DARTS", ratio=1.0)

    def supernets(self, space: SearchSpace, num_masks: int) -> Iterator[Supernet]:
        """One for each mask."""
        masks = [Mask.full(space)]
        if self.ratio < 1:
            masks = [Mask.random(space, self.ratio, seed) for seed in range(num_masks)]
        options: dict[str, Any] = {"engine": self.engine, "recompute": self.recompute, "compile": self.compile}
        for mask in masks:
            yield build_supernet(space, mask, partial_channels=PARTIAL_CHANNELS[self.network], **options)


def all_setups(batch_size: int, with_compile: bool) -> list[Setup]:
    rows = [
        Setup(network, ratio, engine, recompute, compiled)
        for network in PARTIAL_CHANNELS
        for ratio in RATIOS
        for engine in ENGINES
        for compiled in ((False, True) if with_compile and engine == "fused" else (False,))
        for recompute in RECOMPUTE
    ]
    return rows + [Setup("DARTS", 1.0, "fused", recompute, batch_size=2 * batch_size) for recompute in RECOMPUTE[1:]]


class SearchStep:
    """The `BilevelStep` of a search, without a regulariser; its settings are those of conf/searcher/pcdarts.yaml."""

    def __init__(self, supernet: Supernet, images: Tensor, labels: Tensor) -> None:
        self.supernet = supernet.train()
        self.images = images
        self.labels = labels
        weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
        architecture = adam(
            supernet.architecture_parameters(), learning_rate=6e-4, betas=(0.5, 0.999), weight_decay=1e-3
        )
        self.step = BilevelStep(supernet, weights, architecture, gradient_clip=5.0, relaxation=Softmax())

    def loss(self) -> Tensor:
        """What both halves of a step minimise."""
        return cross_entropy(self.supernet(self.images), self.labels)

    def __call__(self) -> None:
        """Both halves."""
        self.step(self.images, self.labels, self.images, self.labels)

    def seconds(self) -> float:
        """Of one step that is made."""
        synchronize(self.images.device)
        start = time.perf_counter()
        self()
        synchronize(self.images.device)
        return time.perf_counter() - start


# ---------------------------------------------------------------------------------------------- the process of a row


def begin(setup: Setup, arguments: argparse.Namespace) -> Begun:
    """Memory of each mask; afterwards one step of the first ones is timed whenever it is asked for."""
    space = make_space(arguments)
    device: torch.device = arguments.device
    images, labels = noise(space, setup.batch_size or arguments.batch_size, arguments.image_size, device)
    steps = [SearchStep(net.to(device), images, labels) for net in setup.supernets(space, arguments.masks)]
    answer = measure_memory(steps, warmup=2 if setup.compile else 1)
    answer |= {"operations": [], "moved_gib": []} if setup.compile else measure_traffic(steps)
    return Begun(answer, lambda: measure_seconds(steps[: arguments.timed_masks]))


def measure_memory(steps: list[SearchStep], warmup: int) -> Row:
    """Figures of each mask, after `warmup` steps, so that neither optimiser state nor compilation counts."""
    row: Row = {"warmup_seconds": [], "saved_mib": [], "peak_mib": [], "reserved_mib": []}
    device = steps[0].images.device
    for step in steps:
        row["warmup_seconds"].append([step.seconds() for _ in range(warmup)])
        step.supernet.zero_grad()
        row["saved_mib"].append(saved_for_backward(step.loss, step.supernet) / MIB)
        row["peak_mib"].append(peak_live_memory(step, device) / MIB)
        if device.type == "cuda":
            row["reserved_mib"].append(peak_memory(device)["peak_reserved_mib"])
    return row


def measure_traffic(steps: list[SearchStep]) -> Row:
    """Operations and bytes of half a step of each mask."""
    row: Row = {"operations": [], "moved_gib": []}
    for step in steps:
        step.supernet.zero_grad()
        with Traffic() as traffic:
            step.loss().backward()
        row["operations"].append(traffic.num_operations)
        row["moved_gib"].append(traffic.num_bytes / GIB)
    return row


def measure_seconds(steps: list[SearchStep]) -> list[float]:
    """Of one step of each mask."""
    device = steps[0].images.device
    for step in steps if device.type == "cuda" else steps[:1]:
        step.loss().backward()  # not timed: the allocator, empty since the last turn, gets its memory again
    return [step.seconds() for step in steps]


def measure(setups: list[Setup], arguments: argparse.Namespace) -> dict[Setup, Row]:
    found = take_turns(setups, begin, arguments, timed=lambda setup: setup.batch_size is None)
    return {setup: as_row(setup, *figures) for setup, figures in found.items()}


# ------------------------------------------------------------------------------------------------------- the figures


def as_row(setup: Setup, answer: Row, rounds: list[list[float]]) -> Row:
    """Means over masks; `rounds` are the seconds of every mask's step."""
    step_ms = [1000 * statistics.median(times) for times in zip(*rounds, strict=True)]
    of_masks = {key: answer[key] for key in ("saved_mib", "peak_mib", "reserved_mib", "operations", "moved_gib")}
    of_masks["step_ms"] = step_ms
    row: Row = {"name": setup.name, **asdict(setup)}
    row |= {key: statistics.mean(values) if values else None for key, values in of_masks.items()}
    row["compile_seconds"] = None
    if setup.compile:
        row["compile_seconds"] = (
            sum(map(sum, answer["warmup_seconds"])) - 2 * len(answer["warmup_seconds"]) * row["step_ms"] / 1000
        )
    return row | {f"{key}_of_masks": values for key, values in of_masks.items()} | {"seconds_of_rounds": rounds}


def add_ratios(rows: Mapping[Setup, Row]) -> None:
    """Memory as a fraction of two other rows, and how many times faster than they a step is."""
    for setup, row in rows.items():
        for name, reference in (("darts", setup.darts), ("plain", setup.plain)):
            other = rows.get(reference)  # none for twice the batch
            row[f"saved_of_{name}"] = None if other is None else row["saved_mib"] / other["saved_mib"]
            row[f"peak_of_{name}"] = None if other is None else row["peak_mib"] / other["peak_mib"]
            row[f"speed_of_{name}"] = None if other is None else other["step_ms"] / row["step_ms"]


def targets(rows: Mapping[Setup, Row], arguments: argparse.Namespace) -> list[Row]:
    """What the fused engine is to reach, as far as it was measured."""
    found: list[Row] = []

    def add(claim: str, measured: str, reached: bool) -> None:
        found.append({"claim": claim, "measured": measured, "reached": reached})

    half = Setup("PC-DARTS", 0.5, "fused", "none")
    nodes, cells, compiled = (
        replace(half, recompute="nodes"),
        replace(half, recompute="cells"),
        replace(half, compile=True),
    )
    if half in rows:
        less = 1 - rows[half]["peak_of_darts"]
        add(f"{half.name}: peak at least 88% less than DARTS 1 plain none", f"{less:.2%} less", less >= 0.88)
    if nodes in rows:
        times = 1 / rows[nodes]["speed_of_plain"]
        add(f"{nodes.name}: a step takes at most 1.05 x that of {half.plain.name}", f"{times:.3f} x", times <= 1.05)
    if recomputed := [setup for setup in (nodes, cells) if setup in rows]:
        best = min(recomputed, key=lambda setup: rows[setup]["peak_mib"])
        less = 1 - rows[best]["peak_of_darts"]
        claim = "PC-DARTS 0.5 fused nodes or cells: peak at least 97.5% less than DARTS 1 plain none"
        add(claim, f"{less:.2%} less in {best.recompute}", less >= 0.975)
    fastest, least = (compiled, 3.0) if arguments.device.type == "cuda" else (half, 1.5)
    if fastest in rows:
        speed = rows[fastest]["speed_of_plain"]
        add(
            f"{fastest.name}: at least {least:g}x faster than {half.plain.name}", f"{speed:.2f}x faster", speed >= least
        )
    doubled = [setup for setup in rows if setup.batch_size is not None]
    if doubled and arguments.batch_size == 32:
        best = min(doubled, key=lambda setup: rows[setup]["peak_mib"])
        mib = rows[best]["peak_mib"]
        claim = "DARTS 1 fused nodes or cells batch 64: peak under 700 MiB"
        add(claim, f"{mib:.1f} MiB in {best.recompute}", mib < 700)
    return found


# --------------------------------------------------------------------------------------------------------- the table


def as_table(rows: list[Row], title: str) -> Table:
    """Columns that no row has a figure for are left out."""
    columns = [
        ("kept\nMiB", "saved_mib", ".1f"),
        ("of\nDARTS", "saved_of_darts", ".1%"),
        ("of\nplain", "saved_of_plain", ".1%"),
        ("peak\nMiB", "peak_mib", ".1f"),
        ("of\nDARTS", "peak_of_darts", ".1%"),
        ("of\nplain", "peak_of_plain", ".1%"),
        ("reserved\nMiB", "reserved_mib", ".0f"),
        ("ops", "operations", ".0f"),
        ("moved\nGiB", "moved_gib", ".2f"),
        ("step\nms", "step_ms", ".0f"),
        ("faster\nthan DARTS", "speed_of_darts", ".2f"),
        ("faster\nthan plain", "speed_of_plain", ".2f"),
        ("compile\ns", "compile_seconds", ".0f"),
    ]
    columns = [column for column in columns if any(row[column[1]] is not None for row in rows)]
    table = Table(box=rich.box.SIMPLE, title=title)
    table.add_column("supernet", no_wrap=True)
    for header, *_ in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        cells = ["" if row[key] is None else format(row[key], form) for _, key, form in columns]
        table.add_row(row["name"], *cells)
    return table


def make_space(arguments: argparse.Namespace) -> SearchSpace:
    return load_space("darts", init_channels=arguments.init_channels, num_cells=arguments.num_cells)


def parse() -> argparse.Namespace:
    parser = make_row_parser(__doc__, masks=5)
    parser.add_argument("--compile", action="store_true", help="add rows with torch.compile, best on a GPU")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    load = os.getloadavg()[0]  # of the other jobs, before ours begins: above 0.5 the times say little
    torch.set_num_threads(arguments.threads)
    try:
        space = make_space(arguments)
        space.check_images(arguments.image_size)
        for partial_channels in PARTIAL_CHANNELS.values():
            space.check_partial_channels(partial_channels)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    setups = all_setups(arguments.batch_size, arguments.compile)
    if not any(arguments.rows in setup.name for setup in setups):
        raise SystemExit(f"error: no row has {arguments.rows!r} in its name, e.g. {setups[-3].name!r}")
    rows = measure([setup for setup in setups if arguments.rows in setup.name or setup == setup.plain], arguments)
    add_ratios(rows)
    found = targets(rows, arguments)

    title = f"batch {arguments.batch_size}, C = {arguments.init_channels}, {arguments.num_cells} cells, "
    title += f"{space.in_channels}x{arguments.image_size}x{arguments.image_size}, float32"
    print_table(as_table(list(rows.values()), title))
    print("DARTS: the first row; plain: plain and none with the same masks; 0.5: mean over", end=" ")
    print(f"{arguments.masks} random masks, for step over {arguments.timed_masks}; ", end="")
    print(f"step: median of {arguments.rounds} rounds")
    machine = f"{hardware(arguments.device)}; torch {torch.__version__}; load average before {load:.1f}"
    print(machine)
    print("\nTargets")
    for target in found:
        print(f"  {target['claim']:<86}  {target['measured']:<23}  {'reached' if target['reached'] else 'missed'}")
    if arguments.json is not None:
        keys = (
            "batch_size",
            "image_size",
            "init_channels",
            "num_cells",
            "masks",
            "timed_masks",
            "threads",
            "rounds",
            "rows",
        )
        settings = {key: getattr(arguments, key) for key in keys} | {"device": str(arguments.device)}
        content = {"format": FORMAT, "settings": settings, "hardware": machine}
        write_json(arguments.json, content | {"rows": list(rows.values()), "targets": found})


if __name__ == "__main__":
    main()
