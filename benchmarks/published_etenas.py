"""The whole procedure of Rufaim/ETENAS beside `pruner=etenas`: `against_published.py --etenas PATH` runs it.

Our pruner prunes until one candidate an edge is left, in float64 on noise, and every rating that it makes is noted: the
weights that it drew, its images, r(N) and r(N without j). Then `prune_func_rank` of the clone prunes as it is, round by
round. Where it calls a ranking function, its two networks are given the weights of that candidate and repeat, and its
loader the images; the ranking function is its own. Its masks are compared with ours after every round.
"""

import contextlib
import importlib
import io
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import rich.box
import torch
from harness import commit, print_table
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from halfnas import load_space
from halfnas.pruning import Batch
from halfnas.pruning.etenas import ETENASPruner
from halfnas.pruning.rankers import NNGPFrobenius

BOUND = 1e-10  # relative, of r and of its changes to r(N)
REPEATS, BATCH_SIZE, NUM_CLASSES = 2, 14, 10
#: space -> prune_number and C of its script, the fewest candidates to keep, and the side of the images
SCRIPTS = {"darts": (3, 1, 1 / 8, 16), "nasbench201": (1, 3, 1 / 5, 32)}
#: what the clone imports and neither network nor ranking function needs
ABSENT = ("easydict", "log_utils", "nas_201_api", "datasets", "tqdm")
#: parameters of the published networks -> ours; {e} is the number of an edge, <o> the name of its o-th candidate
RENAMED = (
    (r"^stem\.0\.", r"stem.conv."),
    (r"^stem\.1\.", r"stem.bn."),
    (r"^cells\.(\d+)\.preprocess([01])\.op\.", r"layers.\1.preprocess.\2."),
    (r"^cells\.(\d+)\.edges\.(.*?)\.(?:_ops\.)?(\d+)\.op_a\.op\.", r"layers.\1.edges.{\2}.operations.<\3>."),
    (r"^cells\.(\d+)\.edges\.(.*?)\.(?:_ops\.)?(\d+)\.op_b\.op\.(\d)", r"layers.\1.edges.{\2}.operations.<\3>.+\4"),
    (r"^cells\.(\d+)\.edges\.(.*?)\.(?:_ops\.)?(\d+)\.convs\.0", r"layers.\1.edges.{\2}.operations.<\3>.conv_1"),
    (r"^cells\.(\d+)\.edges\.(.*?)\.(?:_ops\.)?(\d+)\.convs\.1", r"layers.\1.edges.{\2}.operations.<\3>.conv_2"),
    (r"^cells\.(\d+)\.edges\.(.*?)\.(?:_ops\.)?(\d+)\.(?:op\.)?", r"layers.\1.edges.{\2}.operations.<\3>."),
    (r"^cells\.(\d+)\.conv_a\.op\.", r"layers.\1.convolutions.0."),
    (r"^cells\.(\d+)\.conv_b\.op\.", r"layers.\1.convolutions.1."),
    (r"^cells\.(\d+)\.downsample\.", r"layers.\1.shortcut."),
    (r"^lastact\.0\.", r"head.0."),
    (r"^classifier\.", r"head.4."),
)


@dataclass
class Row:
    """One space; differences are the largest of all ratings."""

    what: str
    parameters: int = 0
    ratings: int = 0
    logits: float = 0.0
    r: float = 0.0
    change: float = 0.0
    rounds: list[bool] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether nothing differs by more than the bound, and the same candidates are left after every round."""
        return max(self.logits, self.r, self.change) <= BOUND and all(self.rounds)


@dataclass
class Rating:
    """What our pruner did in one rating."""

    weights: Mapping[str, Tensor]
    images: tuple[Tensor, ...]
    logits: Tensor
    values: tuple[float, float]


@contextlib.contextmanager
def clone(folder: Path) -> Iterator[SimpleNamespace]:
    """What is needed of a clone, imported as it is; it imports more while it runs."""
    stubs = {name: mock.MagicMock() for name in ABSENT}
    stubs["easydict"].EasyDict = lambda settings: SimpleNamespace(**settings)
    stubs["tqdm"].tqdm = iter
    path = str(folder.resolve())
    with (
        mock.patch.dict(sys.modules, stubs),
        mock.patch.object(sys, "dont_write_bytecode", True),  # leave the clone as it is
        mock.patch.object(sys, "path", [path, *sys.path]),
    ):
        script = importlib.import_module("prune_etenas")
        assert Path(str(script.__file__)).parent == folder.resolve()
        yield SimpleNamespace(
            script=script,
            config=stubs["easydict"].EasyDict,
            search_spaces=script.get_search_spaces,
            build=script.get_cell_based_tiny_net,
            is_single_path=script.is_single_path,
            rating=script.get_nngp_n_v2,
            frobenius=script.MetricType.FRO,
        )


@contextlib.contextmanager
def on_the_cpu() -> Iterator[None]:
    """What the published code needs to run without CUDA, in float64."""
    with (
        mock.patch.object(torch.Tensor, "cuda", lambda tensor, *_, **__: tensor),
        mock.patch.object(nn.Module, "cuda", lambda module, *_, **__: module),
        mock.patch.object(torch.cuda, "current_device", return_value=0),
        mock.patch.object(torch.cuda, "empty_cache"),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        yield


def our_pruning(name: str) -> tuple[ETENASPruner, dict[tuple[int, str, int, str], list[Rating]], list[Any]]:
    """Prune down to one candidate an edge -> (round, kind, edge, operation) -> its ratings; and the masks of rounds."""
    prune_number, channels, ratio, size = SCRIPTS[name]
    space = load_space(name, init_channels=16, num_cells=15)
    pruner = ETENASPruner(
        "etenas", {"nngp": NNGPFrobenius()}, repeats=REPEATS, prune_number=prune_number, channels=channels, network={},
        image_size=None, num_batches=2, batch_size=BATCH_SIZE,
    )  # fmt: skip
    pruner.begin(space, space, ratio=ratio, seed=0)
    ratings: dict[tuple[int, str, int, str], list[Rating]] = defaultdict(list)
    masks: list[Any] = []
    rate = pruner._rate

    def noted(ranker: Any, j: int, sample: Any) -> tuple[float, float]:
        values = rate(ranker, j, sample)
        network = pruner._supernet
        weights = {name: p.detach().clone() for name, p in network.named_parameters() if not name.startswith("alpha.")}
        with torch.no_grad():
            for alpha in network.architecture_parameters():
                alpha.zero_()
            logits = network(sample.batches[0].images)
        images = tuple(batch.images for batch in sample.batches)
        ratings[(len(masks), *pruner._candidates.places[j])].append(Rating(weights, images, logits, values))
        return values

    source = torch.Generator().manual_seed(0)
    with mock.patch.object(pruner, "_rate", noted):
        while not pruner.done:
            before = pruner.mask.kept
            shape = (BATCH_SIZE, 3, size, size)
            pruner.step([Batch(torch.randn(shape, generator=source, dtype=torch.float64), None) for _ in range(2)])
            if pruner.mask.kept != before:
                masks.append(pruner.mask.kept)
    return pruner, ratings, masks


def compare(published: SimpleNamespace, name: str) -> Row:
    """Prune one space with both."""
    prune_number, channels, _, size = SCRIPTS[name]
    pruner, ratings, masks = our_pruning(name)
    kinds = list(pruner.mask.kept)
    operations = published.search_spaces("cell", "nas-bench-201" if name == "nasbench201" else name)
    settings = {
        "name": "DARTS-V1", "C": channels, "N": 1, "use_stem": True, "num_classes": NUM_CLASSES, "space": operations,
        "affine": True, "track_running_stats": True,
    }  # fmt: skip
    if name == "darts":
        settings |= {"depth": 2, "stem_multiplier": 1, "super_type": "nasnet-super", "steps": 4, "multiplier": 4}
    else:
        settings |= {"depth": -1, "max_nodes": 4}
    config = published.config(settings)
    network = published.build(config)
    row = Row(f"{name}, C={channels}, {size} pixels, {REPEATS} repeats, {prune_number} of an edge a round")
    row.parameters = sum(p.numel() for n, p in network.named_parameters() if not n.startswith("arch_"))
    done: dict[tuple[int, str, int, str], int] = defaultdict(int)

    def rank(loader: Any, _: Any, networks: list[nn.Module]) -> list[float]:
        whole, without = ([alpha > -published.script.INF for alpha in each.get_alphas()] for each in networks)
        [(kind, (edge, o))] = [
            (kinds[k], place) for k in range(len(kinds)) for place in (whole[k] & ~without[k]).nonzero().tolist()
        ]
        key = (len(row.rounds), kind, edge, operations[o])
        rating = ratings[key][done[key]]
        done[key] += 1
        for each in networks:
            give(each, rating.weights, operations)
        with torch.no_grad():
            networks[0].train()
            row.logits = max(row.logits, difference(rating.logits, networks[0](rating.images[0])[1]))
        found = published.rating(
            [(images, torch.zeros(len(images))) for images in rating.images], None, networks,
            metric=published.frobenius, train_mode=True, as_correlation=True, use_logits=True, num_batch=2,
        )  # fmt: skip
        ours, theirs = torch.tensor(rating.values), torch.tensor(found)
        row.r = max(row.r, difference(ours, theirs))
        row.change = max(row.change, ((ours[0] - ours[1]) - (theirs[0] - theirs[1])).abs().item() / found[0])
        row.ratings += 1
        return found

    alphas = [alpha.detach().clone().zero_() for alpha in network.get_alphas()]
    for alpha in alphas:
        alpha[:, 0] = -published.script.INF
    network.set_alphas(alphas)
    while not published.is_single_path(network):
        alphas = published.script.prune_func_rank(
            [(None, rank, {"sign": 1})], alphas, config, {}, None, None, {}, init="kaiming_norm", repeat=REPEATS,
            prune_number=prune_number,
        )  # fmt: skip
        network.set_alphas(alphas)
        left = {
            kind: [{operations[o] for o in row.nonzero().flatten().tolist()} for row in alpha > -published.script.INF]
            for kind, alpha in zip(kinds, alphas, strict=True)
        }
        ours = {kind: [set(names) for names in edges] for kind, edges in masks[len(row.rounds)].items()}
        row.rounds.append(left == ours)
    assert len(row.rounds) == len(masks)
    assert all(done[key] == len(each) for key, each in ratings.items())
    return row


@torch.no_grad()
def give(theirs: nn.Module, weights: Mapping[str, Tensor], operations: list[str]) -> None:
    """Copy our weights into their network; of candidates that ours does not have any more, zeros."""
    copied = set()
    for name, parameter in theirs.named_parameters():
        if name.startswith("arch_"):
            continue
        ours = our_name(name, theirs.edge2index, operations)
        parameter.copy_(weights[ours]) if ours in weights else parameter.zero_()
        copied.add(ours)
    assert copied >= set(weights), f"no place for {sorted(set(weights) - copied)[:3]} in the published network"


def our_name(name: str, edges: Mapping[str, int], operations: list[str]) -> str:
    for pattern, replacement in RENAMED:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            renamed = re.sub(r"\{(.*?)\}", lambda edge: str(edges[edge[1]]), renamed)
            renamed = re.sub(r"<(\d+)>", lambda index: operations[int(index[1])], renamed)
            return re.sub(r"\+(\d)", lambda layer: str(int(layer[1]) + 4), renamed)  # the second half of a sep_conv
    raise KeyError(f"no place for {name} in our network")


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest entry of the published tensor."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def as_table(rows: list[Row]) -> Table:
    """The rows as they are printed."""
    table = Table(box=rich.box.SIMPLE, title=f"Largest relative differences, float64, 2 batches of {BATCH_SIZE}")
    table.add_column("pruning")
    for header in ("parameters", "ratings", "logits", "r(N)", "change", "same masks", "verdict"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        figures = (f"{value:.1e}" for value in (row.logits, row.r, row.change))
        same = f"{sum(row.rounds)}/{len(row.rounds)} rounds"
        verdict = "agrees" if row.agrees else "DIFFERS"
        table.add_row(row.what, f"{row.parameters:,}", str(row.ratings), *figures, same, verdict)
    return table


def all_rows(folder: Path) -> list[Row]:
    """Both spaces. Sets the default dtype; a few minutes on one core."""
    torch.set_default_dtype(torch.float64)
    try:
        with clone(folder) as published, on_the_cpu():
            return [compare(published, name) for name in SCRIPTS]
    finally:
        torch.set_default_dtype(torch.float32)


def report(console: Console, folder: Path) -> bool:
    """Print what the pruning of a clone compares to -> whether all agrees."""
    console.print(
        "python benchmarks/against_published.py --etenas PATH; "
        f"Rufaim/ETENAS {commit(folder)}, torch {torch.__version__}",
        highlight=False,
        soft_wrap=True,
    )
    rows = all_rows(folder)
    print_table(as_table(rows))
    agree = sum(row.agrees for row in rows)
    console.print(f"{agree} of {len(rows)} agree within {BOUND:g}", highlight=False)
    return agree == len(rows)
