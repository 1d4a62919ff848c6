"""What a card makes of the steps of all stages, captured into CUDA graphs: time, memory, kernels.

    python benchmarks/gpu.py --budget 420                  # on a CUDA device; benchmarks/results/gpu_CARD.json
    python benchmarks/gpu.py --device cpu --tiny           # tries the script itself, uncaptured

Rows that tell most come first. Each is printed and written as soon as it is there; one that fails or takes too long is
written down as such, and those for which no time is left too. A search step is the `BilevelStep` of a search, both
halves, on noise of CIFAR's shape, without a regulariser; a training step the `TrainingStep` of an evaluation, with
auxiliary head and drop path. Settings are those of conf/searcher/pcdarts.yaml and conf/evaluation/darts.yaml.

* wall: median of single calls, each waited for, inputs copied.
* peak: `max_memory_allocated` during a step, above what was allocated before the first one and the optimisers' state.
  cuDNN has chosen its algorithms by then, which takes workspaces of its own.
* reserved: what the allocator holds beyond that once its cache is given back: for a captured step its graph's memory.
* first: seconds of the first call, in most of which cuDNN tries algorithms.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import platform
import re
import statistics
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from harness import hardware, noise, synchronize
from omegaconf import OmegaConf
from torch import Tensor

from halfnas import Mask, build_supernet, load_space
from halfnas.evaluation import TrainingLoss, TrainingStep, drop_path_factors
from halfnas.memory import MIB, reset_peak_memory
from halfnas.networks import DiscreteNetwork
from halfnas.runs.files import write_json
from halfnas.search import BilevelStep, Softmax
from halfnas.spaces import find_genotype
from halfnas.spaces.load import CONF
from halfnas.training import Replay, adam, capture, sgd

FORMAT = 1
RESULTS = Path(__file__).parent / "results"
LEAST_SECONDS = 12  # with less time left no row is begun

Figures = dict[str, float]

#: Published code on the same card as `Row.before` (benchmarks/README.md says how): quark0/darts f276dd3 and
#: yuhuixu1993/PC-DARTS b74702f as they are.
PUBLISHED = (
    {"name": "quark0/darts, search step, batch 256", "wall_ms": 1321, "peak_mib": 30697, "busy_ms": 842,
     "kernels": 39341},
    {"name": "quark0/darts, search step, batch 64", "peak_mib": 7675},
    {"name": "yuhuixu1993/PC-DARTS, search step, batch 256", "wall_ms": 1333, "peak_mib": 9797, "busy_ms": 593,
     "kernels": 44523},
    {"name": "quark0/darts, training step of darts_v2, batch 96", "wall_ms": 170},
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        measure: gives its figures.
        settings: of that function.
        goals: figure -> what it is to reach, the easiest first.
        before: figures at f729d19 with one line mended, on one NVIDIA H200 with torch 2.11.
        most_seconds: it is given up after that many.
    """

    name: str
    measure: Callable[..., Figures]
    settings: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    most_seconds: float = 100


# ---------------------------------------------------------------------------------------------------- what is measured


class Measured:
    """A step with its inputs, called through `Replay`.

    Args:
        step: a function of `inputs`.
        optimizers: those that it steps; their state is no memory of the step.
        captured: whether it is to be captured; then it is an error if it cannot be.
        bf16: under autocast.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        inputs: Sequence[Tensor],
        optimizers: Sequence[torch.optim.Optimizer],
        *,
        captured: bool,
        bf16: bool = False,
    ) -> None:
        self.device = inputs[0].device
        self.inputs = inputs
        self.optimizers = optimizers
        self.captured = captured and self.device.type == "cuda"
        self.bf16 = bf16
        self.replay = Replay(step, cuda_graphs=self.captured)

    def seconds(self) -> float:
        """Of one call, waited for."""
        synchronize(self.device)
        start = time.perf_counter()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            self.replay(*self.inputs)
        synchronize(self.device)
        return time.perf_counter() - start

    def figures(self, calls: int) -> Figures:
        """All of them; `calls` are timed."""
        cuda = self.device.type == "cuda"
        reset_peak_memory(self.device)
        allocated, reserved = _memory(self.device) if cuda else (0.0, 0.0)
        found = {"first_s": self.seconds()}
        for _ in range(capture.WARMUP - 1):
            self.seconds()
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        if self.captured:
            found["capture_s"] = self.seconds()
        times = [self.seconds() for _ in range(calls)]
        if self.captured:
            assert self.replay.captured == 1, "it was captured"
        found |= {"wall_ms": 1e3 * statistics.median(times), "fastest_ms": 1e3 * min(times)}
        if cuda:
            state = sum(_bytes(optimizer) for optimizer in self.optimizers) / MIB
            found["peak_mib"] = torch.cuda.max_memory_allocated(self.device) / MIB - allocated - state
            torch.cuda.empty_cache()
            found["reserved_mib"] = _memory(self.device)[1] - reserved - state
        return found


def _memory(device: torch.device) -> tuple[float, float]:
    return torch.cuda.memory_allocated(device) / MIB, torch.cuda.memory_reserved(device) / MIB


def _bytes(optimizer: torch.optim.Optimizer) -> int:
    states = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in states if isinstance(value, Tensor))


def make_search(
    arguments: argparse.Namespace,
    *,
    engine: str,
    recompute: str = "none",
    partial_channels: int = 4,
    ratio: float = 0.5,
    batch_size: int = 256,
    captured: bool = True,
    bf16: bool = False,
) -> Measured:
    """A search step."""
    torch.manual_seed(0)
    settings: Any = OmegaConf.load(CONF / "searcher" / "pcdarts.yaml")
    sizes = {"init_channels": 4, "num_cells": 3} if arguments.tiny else {"init_channels": 16, "num_cells": 8}
    space = load_space("darts", **sizes)
    mask = Mask.random(space, ratio, 0) if ratio < 1 else Mask.full(space)
    supernet = build_supernet(space, mask, partial_channels=partial_channels, engine=engine, recompute=recompute)
    supernet.to(arguments.device).train()
    batch_size = 4 if arguments.tiny else batch_size
    batches = [noise(space, batch_size, 32, arguments.device) for _ in range(2)]
    weights = sgd(
        supernet.weight_parameters(),
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    architecture = adam(
        supernet.architecture_parameters(),
        learning_rate=settings.architecture_learning_rate,
        betas=tuple(settings.architecture_betas),
        weight_decay=settings.architecture_weight_decay,
    )
    step = BilevelStep(supernet, weights, architecture, gradient_clip=settings.gradient_clip, relaxation=Softmax())
    inputs = [*batches[0], *batches[1]]
    return Measured(step, inputs, [weights, architecture], captured=captured, bf16=bf16)


def search(arguments: argparse.Namespace, *, calls: int = 10, **settings: Any) -> Figures:
    """Figures of a search step."""
    return make_search(arguments, **settings).figures(2 if arguments.tiny else calls)


def method(arguments: argparse.Namespace, *, name: str, ratio: float, captured: bool, calls: int) -> Figures:
    """Figures of a search step of a method as train.py makes it; one that cannot be captured runs as it is."""
    import methods

    tiny = arguments.tiny
    sizes = {"batch_size": 4 if tiny else 256, "image_size": 32, "init_channels": 4 if tiny else 16}
    like = argparse.Namespace(**sizes, space="darts", num_cells=3 if tiny else 8, device=arguments.device)
    step = methods.make_step(methods.Setup(name, ratio), 0, like)
    return Measured(step.step, step.inputs, step.optimizers, captured=captured).figures(2 if tiny else calls)


def training(arguments: argparse.Namespace, *, bf16: bool) -> Figures:
    """Figures of a training step of darts_v2; in bf16 with channels last."""
    torch.manual_seed(0)
    settings: Any = OmegaConf.load(CONF / "evaluation" / "darts.yaml")
    tiny, device = arguments.tiny, arguments.device
    space = load_space("darts", init_channels=4 if tiny else 36, num_cells=3 if tiny else 20)
    network = DiscreteNetwork(space, find_genotype("darts_v2"), auxiliary=True).to(device).train()
    memory_format = torch.channels_last if bf16 else torch.contiguous_format
    network.to(memory_format=memory_format)
    images, labels = noise(space, 4 if tiny else settings.batch_size, 32, device)
    factors = drop_path_factors(network.num_paths, len(images), settings.drop_path / 2).to(device)
    optimizer = sgd(
        network.parameters(),
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    loss = TrainingLoss(network, label_smoothing=settings.label_smoothing, auxiliary_weight=settings.auxiliary_weight)
    step = TrainingStep(loss, optimizer, gradient_clip=settings.gradient_clip)
    inputs = [images.contiguous(memory_format=memory_format), labels, factors]
    return Measured(step, inputs, [optimizer], captured=True, bf16=bf16).figures(2 if tiny else 10)


def pruning(arguments: argparse.Namespace) -> Figures:
    """The whole pruning stage as train.py runs it, on noise of CIFAR's shape."""
    from hydra import compose, initialize_config_dir

    from halfnas.config.schema import register
    from halfnas.jobs.job import run_job

    register()
    accelerator = "cpu" if arguments.device.type == "cpu" else "gpu"
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["stage=prune", "experiment=half_cifar10", "dataset=fake", "recipe=cifar10", "logger=none"]
        overrides += [f"trainer={accelerator}", "~callbacks.progress", f"paths.output_dir={folder}"]
        if arguments.tiny:
            overrides += ["pruner.repeats=1", "pruner.rounds=1", "pruner.network.init_channels=2"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            settings = compose("config", [*overrides, f"paths.data_dir={folder}"])
        with contextlib.redirect_stdout(io.StringIO()):  # the table at the end of a run
            run_job(settings, folder)
        metrics = json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))
    wanted = ("seconds", "repeats", "agreement", "peak_allocated_mib")
    return {name: metrics[f"prune/{name}"] for name in wanted if f"prune/{name}" in metrics}


def loading(arguments: argparse.Namespace) -> Figures:
    """Images a second that the loaders make ready on the device."""
    from loading import NOISE, SETTINGS, make_loaders, measure

    from halfnas.data import Fake

    batches = 3 if arguments.tiny else 100
    dataset = Fake(**NOISE | {"num_train": 12 if arguments.tiny else NOISE["num_train"]}, **SETTINGS)
    batch_size = 4 if arguments.tiny else 96
    loaders = make_loaders(dataset, argparse.Namespace(device=arguments.device, batch_size=batch_size))
    found = {}
    for key, name in (("search_images_per_s", "crop, flip"), ("evaluation_images_per_s", "crop, flip, cutout")):
        measure(loaders[name], 0, batches, arguments.device)
        found[key] = statistics.median(measure(loaders[name], n, batches, arguments.device) for n in (1, 2, 3))
    return found


def kernels(arguments: argparse.Namespace, **settings: Any) -> Figures:
    """How many kernels the first row's step starts, and how long they run together.

    Of a step of its own that is not captured: the graph of an earlier row does not outlive a Lightning trainer that ran
    in between, which gives back cuBLAS' workspaces.
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    measured = make_search(arguments, captured=False, **settings)
    for _ in range(capture.WARMUP):
        measured.seconds()
    cuda = arguments.device.type == "cuda"
    activity = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as profiler:
        measured.seconds()
    wanted = DeviceType.CUDA if cuda else DeviceType.CPU
    events = [event for event in profiler.profiler.kineto_results.events() if event.device_type() == wanted]
    started = [event for event in events if not event.name().startswith(("Memcpy", "Memset"))]
    return {"kernels": float(len(started)), "busy_ms": sum(event.duration_ns() for event in events) / 1e6}


FIRST = {"engine": "fused"}
ROWS = (
    Row("search, fused, PC half", search, FIRST, {"wall_ms": (131, 70, 25), "peak_mib": (1914, 307)},
        {"wall_ms": 131, "peak_mib": 1914}),
    Row("training, bf16, channels last", training, {"bf16": True}, {"wall_ms": (45,)},
        {"wall_ms": 39, "peak_mib": 3388}),
    Row("training, float32", training, {"bf16": False}, {}, {"wall_ms": 55}),
    Row("pruning, nngp", pruning, {}, {"seconds": (10,)}, {}, most_seconds=60),
    Row("search, fused, PC half, nodes", search, {**FIRST, "recompute": "nodes"}, {"peak_mib": (711, 307)},
        {"wall_ms": 156, "peak_mib": 711}),
    Row("search, fused, PC half, cells", search, {**FIRST, "recompute": "cells"}, {"peak_mib": (711, 307)}),
    Row("search, fused, PC half, eager", search, {**FIRST, "captured": False, "calls": 3}, {},
        {"wall_ms": 1095, "peak_mib": 1845}),
    Row("search, fused, PC half, bf16", search, {**FIRST, "bf16": True}, {"wall_ms": (139, 70, 25)},
        {"wall_ms": 139, "peak_mib": 1543}),
    Row("search, plain, PC half", search, {"engine": "plain"}, {}, {"peak_mib": 6294}),
    Row("search, plain, DARTS, batch 64", search,
        {"engine": "plain", "partial_channels": 1, "ratio": 1.0, "batch_size": 64}),
    Row("gdas, all", method, {"name": "gdas", "ratio": 1.0, "captured": False, "calls": 3}),
    Row("random_ws, all", method, {"name": "random_ws", "ratio": 1.0, "captured": False, "calls": 3}),
    Row("drnas, half", method, {"name": "drnas", "ratio": 0.5, "captured": True, "calls": 5}),
    Row("darts2, half", method, {"name": "darts2", "ratio": 0.5, "captured": True, "calls": 5}),
    Row("loading", loading),
    Row("kernels of the first row", kernels, FIRST, {}, {"kernels": 23876, "busy_ms": 139}),
)  # fmt: skip


# ---------------------------------------------------------------------------------------------- a process for the rows


def work(connection: Connection, arguments: argparse.Namespace) -> None:
    """Measure the rows whose numbers arrive, and send their figures, or what went wrong."""
    torch.backends.cudnn.benchmark = True  # as conf/trainer/default.yaml
    while True:
        row = ROWS[connection.recv()]
        try:
            connection.send(("figures", row.measure(arguments, **row.settings)))
        except BaseException as error:
            traceback.print_exc()
            first_line = (str(error).strip() or "no message").split("\n")[0]
            connection.send(("error", f"{type(error).__name__}: {first_line}"))
        reset_peak_memory(arguments.device)


class Worker:
    """The process that measures. After an error, which may leave CUDA unusable, another one goes on."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.process: Any = None

    def measure(self, number: int, seconds: float) -> tuple[str, Any]:
        """("figures", those of a row) or ("error", why there are none), after `seconds` at the latest."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, theirs = context.Pipe()
            self.process = context.Process(target=work, args=(theirs, self.arguments), daemon=True)
            self.process.start()
            theirs.close()
        kind, value = "error", f"took longer than {seconds:g} s"
        try:
            self.connection.send(number)
            if self.connection.poll(seconds):
                kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            value = f"its process ended with exit code {self.process.exitcode}"
        if kind == "error":
            self.close()
        return kind, value

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


# ----------------------------------------------------------------------------------------------------------- the table

COLUMNS = (
    ("wall ms", "wall_ms", ",.1f"), ("peak MiB", "peak_mib", ",.0f"), ("reserved", "reserved_mib", ",.0f"),
    ("first s", "first_s", ",.1f"),
)  # fmt: skip
IN_COLUMNS = {key for _, key, _ in COLUMNS}
UNITS = {"wall_ms": "ms", "peak_mib": "MiB", "seconds": "s", "busy_ms": "ms", "kernels": "kernels"}


def say(text: str) -> None:
    """At once, whatever reads it."""
    print(text, flush=True)


def header() -> str:
    return f"{'row':<32}" + "".join(f"{title:>10}" for title, *_ in COLUMNS) + "  goals; before; others"


def line(row: Row, figures: Mapping[str, float]) -> str:
    cells = [format(figures[key], form) if key in figures else "" for _, key, form in COLUMNS]
    notes = [f"goal {_values(row.goals)}"] if row.goals else []
    notes += [f"before {_values({key: [value] for key, value in row.before.items()})}"] if row.before else []
    notes += [f"{key} {value:,.4g}" for key, value in figures.items() if key not in IN_COLUMNS]
    return f"{row.name:<32}" + "".join(f"{cell:>10}" for cell in cells) + "  " + "; ".join(notes)


def _values(values: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{'/'.join(format(v, ',g') for v in found)} {UNITS[key]}" for key, found in values.items())


def commit() -> str | None:
    """That of the sources; None where there is no repository."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--budget", type=float, default=420, help="seconds, after which no row is begun or goes on")
    parser.add_argument("--row-seconds", type=float, default=100, help="the most that a row may take")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows with TEXT in their name; A|B for several")
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the script itself")
    parser.add_argument("--json", type=Path, metavar="PATH", help="default: benchmarks/results/gpu_CARD.json")
    return parser.parse_args()


def main() -> int:
    started = time.monotonic()
    arguments = parse()
    if arguments.device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("error: there is no CUDA device; --device cpu --tiny tries the script")
    card = hardware(arguments.device)
    slug = re.sub(r"[^a-z0-9]+", "_", card.lower()).strip("_")
    path = arguments.json or RESULTS / f"gpu_{slug}{'_tiny' * arguments.tiny}.json"
    content: dict[str, Any] = {
        "format": FORMAT, "card": card, "torch": torch.__version__, "cuda": torch.version.cuda,
        "python": platform.python_version(), "commit": commit(), "tiny": arguments.tiny, "rows": [],
        "published": [{**row, "source": "benchmarks/README.md, On a GPU"} for row in PUBLISHED],
    }  # fmt: skip
    say(f"{card}; torch {torch.__version__}; commit {content['commit']}\n{header()}")
    worker = Worker(arguments)
    try:
        for number, row in enumerate(ROWS):
            if not any(text in row.name for text in arguments.rows.split("|")):
                continue
            if arguments.tiny:  # of other sizes
                row = replace(row, goals={}, before={})
            left = arguments.budget - (time.monotonic() - started)
            begun = time.monotonic()
            if left < LEAST_SECONDS:
                kind, found = "error", "not run: no time left"
            else:
                kind, found = worker.measure(number, min(round(left), arguments.row_seconds, row.most_seconds))
            entry = {"name": row.name, "seconds": round(time.monotonic() - begun, 2)}
            entry |= {"goals": dict(row.goals), "before": dict(row.before)}
            entry |= {"figures": found} if kind == "figures" else {"error": found}
            content["rows"].append(entry)
            write_json(path, content)
            say(line(row, found) if kind == "figures" else f"{row.name:<32}  {found}")
    finally:
        worker.close()
    say("published code, as measured before")
    for published in PUBLISHED:
        say(f"  {published['name']}: {_values({k: [v] for k, v in published.items() if k != 'name'})}")
    say(f"written: {path}")
    return int(any("error" in entry and not entry["error"].startswith("not run") for entry in content["rows"]))


if __name__ == "__main__":
    raise SystemExit(main())
