"""Memory and time of a search step of every method, with all candidates and with a random half of them.

    python benchmarks/methods.py --json benchmarks/results/methods_b32.json
    python benchmarks/methods.py --space mobilenet --rows "darts "      # another space, some of the methods

Every method as conf/searcher/NAME.yaml has it (partial channels, regulariser, relaxation, order) on the engine that
runs by default, at the same batch size; beside them PC-DARTS and DARTS on the plain engine. Images are noise. Figures,
means over the same random masks where half of the candidates are kept:

* peak: of live tensors during a full search step, above weights and optimiser state. Of methods that draw what they
  compute: the mean over several draws, and the largest;
* step: median over rounds, for the first masks only, of a full step: architecture and weights, where both are trained.

searcher=random has no row: it trains nothing.
"""

import argparse
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich.box
import torch
from harness import hardware, make_row_parser, noise, positive, print_table, synchronize
from hydra import compose, initialize_config_dir
from rich.table import Table
from torch import Tensor
from turns import Begun, take_turns

from halfnas import Mask, load_space
from halfnas.config.plan import make_plan
from halfnas.config.schema import register
from halfnas.memory import MIB, peak_live_memory
from halfnas.runs.files import write_json
from halfnas.search import BilevelStep, SupernetSearch
from halfnas.spaces.load import CONF

FORMAT = 1
#: Without `random`, which has no step, and `beta_pcdarts_published`, whose step is that of `beta_pcdarts`.
METHODS = ("darts", "darts2", "pcdarts", "beta_pcdarts", "drnas", "gdas", "random_ws")
RATIOS = (1.0, 0.5)

Figures = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """One row of the table."""

    method: str
    ratio: float
    engine: str = "fused"

    @property
    def name(self) -> str:
        """For people, and for --rows."""
        return f"{self.method} {self.ratio:g}{' plain' * (self.engine == 'plain')}"


#: What the others are compared with.
HALF = Setup("pcdarts", 0.5, "plain")
WHOLE = Setup("darts", 1.0, "plain")
SETUPS = (WHOLE, HALF, *(Setup(method, ratio) for method in METHODS for ratio in RATIOS))


class Step:
    """The step of a method, on one mask.

    Attributes:
        step: what is called.
        inputs: of `step`; without a second half where it does not read one.
        optimizers: those that it steps.
        draws: whether every step computes something else.
    """

    def __init__(self, module: SupernetSearch, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.device = batches[0][0].device
        module.manual_backward = torch.Tensor.backward  # type: ignore[assignment] # there is no trainer
        module.to(self.device).train()
        optimizers: Any = module.configure_optimizers()
        self.optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        self.step = module.step
        self.step.begin_epoch(module.epochs // 2, module.epochs)
        self.step.draw(0, 0)
        self.inputs = [x for batch in batches for x in batch][: 4 if isinstance(module.step, BilevelStep) else 2]
        self.draws = not module.relaxation.captures
        self._number = 0

    def __call__(self) -> None:
        """The next one."""
        self.step.draw(0, self._number)
        self._number += 1
        self.step(*self.inputs)

    def seconds(self) -> float:
        """Of the next one."""
        synchronize(self.device)
        start = time.perf_counter()
        self()
        synchronize(self.device)
        return time.perf_counter() - start


def make_step(setup: Setup, seed: int, arguments: argparse.Namespace) -> Step:
    """As train.py would make it."""
    register()
    overrides = [
        "stage=search", "pruner=none", "ratio=1", "dataset=fake", f"dataset.image_size={arguments.image_size}",
        f"searcher={setup.method}", f"searcher.batch_size={arguments.batch_size}", "logger=none", "trainer=cpu",
        f"supernet.engine={setup.engine}", f"space={arguments.space}", "paths.data_dir=data",
        "paths.output_dir=outputs",
    ]  # fmt: skip
    if hasattr(load_space(arguments.space), "init_channels"):
        overrides += [f"space.init_channels={arguments.init_channels}", f"space.num_cells={arguments.num_cells}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plan = make_plan(compose("config", overrides))
    mask = Mask.full(plan.space) if setup.ratio == 1 else Mask.random(plan.space, setup.ratio, seed)
    module = plan.stages[-1].module
    assert isinstance(module, SupernetSearch), f"{setup.method} trains a supernet"
    module.begin(mask)
    batches = [noise(plan.space, arguments.batch_size, arguments.image_size, arguments.device) for _ in range(2)]
    return Step(module, batches)


def begin(setup: Setup, arguments: argparse.Namespace) -> Begun:
    """Memory of each mask; afterwards one step of the first ones is timed whenever it is asked for."""
    steps = [make_step(setup, seed, arguments) for seed in range(1 if setup.ratio == 1 else arguments.masks)]
    answer: Figures = {"peak_mib": []}
    for step in steps:
        step()  # the optimisers have made their state
        step()
        repeats = arguments.draws if step.draws else 1
        answer["peak_mib"].append([peak_live_memory(step, step.device) / MIB for _ in range(repeats)])

    def seconds() -> list[float]:
        steps[0]()  # not timed: the allocator, empty since the last turn, gets its memory again
        return [step.seconds() for step in steps[: arguments.timed_masks]]

    return Begun(answer, seconds)


def as_row(setup: Setup, answer: Figures, rounds: list[list[float]]) -> Figures:
    peaks = [peak for of_mask in answer["peak_mib"] for peak in of_mask]
    step_ms = [1000 * statistics.median(times) for times in zip(*rounds, strict=True)]
    return {
        "name": setup.name, "method": setup.method, "ratio": setup.ratio, "engine": setup.engine,
        "peak_mib": statistics.mean(peaks), "largest_peak_mib": max(peaks), "peak_mib_of_masks": answer["peak_mib"],
        "step_ms": statistics.mean(step_ms), "step_ms_of_masks": step_ms, "seconds_of_rounds": rounds,
    }  # fmt: skip


def add_ratios(rows: dict[Setup, Figures]) -> None:
    for row in rows.values():
        row["peak_of_darts"] = row["peak_mib"] / rows[WHOLE]["peak_mib"]
        row["peak_of_half"] = row["peak_mib"] / rows[HALF]["peak_mib"]
        row["speed_of_half"] = rows[HALF]["step_ms"] / row["step_ms"]


def as_table(rows: list[Figures], title: str) -> Table:
    table = Table(box=rich.box.SIMPLE, title=title)
    table.add_column("method, ratio", no_wrap=True)
    columns = (
        ("peak\nMiB", "peak_mib", ",.1f"), ("largest\nMiB", "largest_peak_mib", ",.1f"),
        ("of plain\nDARTS", "peak_of_darts", ".1%"), ("of plain\nPC half", "peak_of_half", ".1%"),
        ("step\nms", "step_ms", ",.0f"), ("faster than\nplain PC half", "speed_of_half", ".2f"),
    )  # fmt: skip
    for header, *_ in columns:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], *(format(row[key], form) for _, key, form in columns))
    return table


def parse() -> argparse.Namespace:
    parser = make_row_parser(__doc__, masks=3)
    parser.add_argument("--space", default="darts", help="its name in conf/space; the sizes are of spaces of cells")
    parser.add_argument("--draws", type=positive, default=5, help="steps of methods that draw what they compute")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    load = os.getloadavg()[0]  # of the other jobs, before ours begins: above 0.5 the times say little
    torch.set_num_threads(arguments.threads)
    setups = [setup for setup in SETUPS if arguments.rows in setup.name or setup in (WHOLE, HALF)]
    rows = {setup: as_row(setup, *figures) for setup, figures in take_turns(setups, begin, arguments).items()}
    add_ratios(rows)
    cells = f", C = {arguments.init_channels}, {arguments.num_cells} cells"
    title = f"{arguments.space}{cells if hasattr(load_space(arguments.space), 'init_channels') else ''}, "
    title += f"batch {arguments.batch_size}, 3x{arguments.image_size}x{arguments.image_size}, float32"
    print_table(as_table(list(rows.values()), title))
    print(
        f"fused engine where a row says nothing; 0.5: mean over {arguments.masks} random masks, for step over", end=" "
    )
    print(f"{arguments.timed_masks}; peak of gdas and random_ws: over {arguments.draws} draws;", end=" ")
    print(f"step: median of {arguments.rounds} rounds")
    machine = f"{hardware(arguments.device)}; torch {torch.__version__}; load average before {load:.1f}"
    print(machine)
    if arguments.json is not None:
        keys = ("space", "batch_size", "image_size", "init_channels", "num_cells", "masks", "timed_masks", "draws",
                "threads", "rounds")  # fmt: skip
        settings = {key: getattr(arguments, key) for key in keys} | {"device": str(arguments.device)}
        content = {"format": FORMAT, "settings": settings, "hardware": machine, "rows": list(rows.values())}
        write_json(Path(arguments.json), content)


if __name__ == "__main__":
    main()
