"""The published code as an oracle: the same weights must give the same logits, gradients and genotypes.

    python benchmarks/against_published.py --darts PATH --pc-darts PATH
    python benchmarks/against_published.py --etenas PATH      # pruner=etenas, see published_etenas.py

PATH are clones of quark0/darts, yuhuixu1993/PC-DARTS and Rufaim/ETENAS. Their modules are imported from there as they
are; weights and architecture parameters are copied into our networks, everything runs in float64 on the CPU, and the
two are compared: logits (also those of the auxiliary head of a final network) and all gradients in training mode,
logits in evaluation mode after it, so that running statistics count too, and the cells that both read out of random
architecture parameters.
Exit code 1 where anything differs by more than 1e-9. Each command takes a minute or two on one core.
"""

import argparse
import contextlib
import importlib
import io
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import published_etenas
import rich.box
import torch
from harness import commit, print_table
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from halfnas import Genotype, build_network, build_supernet, load_space
from halfnas.networks import DiscreteNetwork
from halfnas.spaces import find_genotype

BOUND = 1e-9  # of the largest entry of each tensor; what float64 itself loses here stays below 1e-11
BATCH_SIZE, IMAGE_SIZE = 3, 32  # not 2: the auxiliary head's batch norm over two values has next to no gradient
ARCHITECTURE_STD = 1.0  # far from the initial 1e-3, so that the mixing is uneven and the choice of a cell not trivial
WEIGHT_JITTER = 0.1  # moves the affine parameters of batch norms off 1 and 0, where a mix-up would go unseen
AUXILIARY_WEIGHT = 0.4  # quark0/darts, cnn/train.py
DROP_PATH = 0.2  # quark0/darts, cnn/train.py
NUM_DRAWS = 20

#: the modules of both repositories that we run, by the names that they import one another with
PUBLISHED_MODULES = ("operations", "genotypes", "utils", "model_search", "model")
#: parameters of the published networks -> ours; <o> stands for the name of their o-th candidate
RENAMED = (
    (r"^stem\.0\.", r"stem.conv."),
    (r"^stem\.1\.", r"stem.bn."),
    (r"^cells\.(\d+)\.preprocess([01])\.(?:op\.)?", r"layers.\1.preprocess.\2."),
    (r"^cells\.(\d+)\._ops\.(\d+)\._ops\.(\d+)\.(?:op\.)?", r"layers.\1.edges.\2.{mixed}operations.<\3>."),
    (r"^cells\.(\d+)\._ops\.(\d+)\.(?:op\.)?", r"layers.\1.operations.\2."),
    (r"^auxiliary_head\.features\.", r"auxiliary_head.features."),
    (r"^auxiliary_head\.classifier\.", r"auxiliary_head.classifier.linear."),
    (r"^classifier\.", r"head.linear."),
)


@dataclass
class Comparison:
    """One row of the table; differences are relative, the largest over all tensors compared."""

    what: str
    parameters: int = 0
    logits: float = 0.0
    gradients: float = 0.0
    evaluated: float = 0.0
    same_cells: int = 0
    cells: int = 0

    @property
    def agrees(self) -> bool:
        """Whether nothing differs by more than the bound."""
        worst = max(self.logits, self.gradients, self.evaluated)
        return worst <= BOUND and self.same_cells == self.cells


# ----------------------------------------------------------------------------------------------- the published code


def load_published(folder: Path) -> SimpleNamespace:
    """Import a repository's modules and forget them again: the other repository's have the same names."""
    before = {name: sys.modules.pop(name) for name in PUBLISHED_MODULES if name in sys.modules}
    write_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # leave the clone as it is
    sys.path.insert(0, str(folder.resolve()))
    importlib.invalidate_caches()
    try:
        modules: dict[str, ModuleType] = {name: importlib.import_module(name) for name in PUBLISHED_MODULES}
    finally:
        sys.path.remove(str(folder.resolve()))
        sys.dont_write_bytecode = write_bytecode
        for name in PUBLISHED_MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(before)
    for name, module in modules.items():
        assert Path(str(module.__file__)).parent == folder.resolve(), f"{name} came from elsewhere: {module.__file__}"
    return SimpleNamespace(**modules)


@contextlib.contextmanager
def modern_cpu() -> Iterator[None]:
    """What the published code of 2018 and 2019 needs to run on a CPU in float64."""
    with (
        mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor),  # architecture parameters are put on a GPU
        mock.patch.object(torch.cuda, "FloatTensor", lambda *size: torch.empty(*size)),  # the mask of drop path
        contextlib.redirect_stdout(io.StringIO()),  # a cell prints its channels
        default_dtype(torch.float64),
    ):
        yield


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


# ------------------------------------------------------------------------------------------ copying and comparing


def our_name(name: str, operations: list[str], partial: bool) -> str:
    for pattern, replacement in RENAMED:
        renamed, count = re.subn(pattern, replacement.replace("{mixed}", "mixed." if partial else ""), name)
        if count:
            return re.sub(r"<(\d+)>", lambda index: operations[int(index[1])], renamed)
    raise KeyError(f"no place for {name} in our network")


def architecture(theirs: nn.Module) -> dict[str, Tensor]:
    """The architecture parameters of a published search network, under our names and flat as ours."""
    named = {f"alpha.{kind}": getattr(theirs, f"alphas_{kind}") for kind in ("normal", "reduce")}
    if hasattr(theirs, "betas_normal"):
        named |= {f"beta.{kind}": getattr(theirs, f"betas_{kind}") for kind in ("normal", "reduce")}
    return named


def copy_across(theirs: nn.Module, ours: nn.Module, names: Mapping[str, str], searched: Mapping[str, Tensor]) -> None:
    """Copy parameters, buffers and architecture; strict, so that nothing is left out on either side."""
    state = {names[name]: tensor for name, tensor in theirs.state_dict().items()}
    state |= {name: tensor.detach().flatten() for name, tensor in searched.items()}
    ours.load_state_dict(state, strict=True)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest entry of the published tensor; infinite where one is not finite."""
    if not (ours.isfinite().all() and theirs.isfinite().all()):
        return float("inf")
    largest = theirs.abs().max().item()
    gap = (ours - theirs).abs().max().item()
    if largest == 0:
        return 0.0 if gap == 0 else float("inf")
    return gap / largest


def compare(
    what: str, theirs: nn.Module, ours: nn.Module, operations: list[str], *, drop_path: float = 0.0, seed: int = 0
) -> Comparison:
    """Run both on the same images, from the same weights, and put the differences into a row.

    Args:
        operations: the candidates in their published order.
        drop_path: probability that an output is dropped.
        seed: of the images and of drop path, which draws the same masks in both.
    """
    searched = architecture(theirs) if hasattr(theirs, "alphas_normal") else {}
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(WEIGHT_JITTER * torch.randn_like(parameter))
        for parameter in searched.values():
            parameter.copy_(ARCHITECTURE_STD * torch.randn_like(parameter))
    partial = any(name.startswith("beta") for name in searched)
    names = {name: our_name(name, operations, partial) for name in theirs.state_dict()}
    copy_across(theirs, ours, names, searched)
    images = torch.randn(BATCH_SIZE, 3, IMAGE_SIZE, IMAGE_SIZE)
    labels = torch.arange(BATCH_SIZE)

    their_logits = forward(theirs, images, labels, seed, drop_path)
    our_logits = forward(ours, images, labels, seed, drop_path)
    row = Comparison(what)
    row.logits = max(difference(a, b) for a, b in zip(our_logits, their_logits, strict=True))

    their_gradients = {names[name]: parameter.grad for name, parameter in theirs.named_parameters()}
    their_gradients |= {name: parameter.grad.flatten() for name, parameter in searched.items()}
    our_gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert our_gradients.keys() == their_gradients.keys()
    row.parameters = sum(gradient.numel() for gradient in our_gradients.values())
    row.gradients = max(difference(our_gradients[name], gradient) for name, gradient in their_gradients.items())

    theirs.eval()
    ours.eval()
    with torch.no_grad():
        published = theirs(images)
        row.evaluated = difference(ours(images), published[0] if isinstance(published, tuple) else published)
    return row


def published_drop_path(num_paths: int, num_images: int, probability: float) -> Tensor | None:
    """Factors of all paths, drawn one path after the other, as the published code does while it runs."""
    if probability == 0:
        return None
    kept = [torch.empty(num_images).bernoulli_(1 - probability) for _ in range(num_paths)]
    return torch.stack(kept) / (1 - probability)


def forward(network: nn.Module, images: Tensor, labels: Tensor, seed: int, drop_path: float) -> list[Tensor]:
    """One forward and backward pass in training mode -> the logits, and those of the auxiliary head."""
    torch.manual_seed(seed)
    network.train()
    if isinstance(network, DiscreteNetwork):
        outputs = network.forward_with_auxiliary(images, published_drop_path(network.num_paths, len(images), drop_path))
    else:
        outputs = network(images)
    logits = list(outputs) if isinstance(outputs, tuple) else [outputs]
    loss = cross_entropy(logits[0], labels)
    for auxiliary in logits[1:]:
        loss = loss + AUXILIARY_WEIGHT * cross_entropy(auxiliary, labels)
    loss.backward()
    return [tensor.detach() for tensor in logits]


# ------------------------------------------------------------------------------------------------------- the rows


def search_network(published: SimpleNamespace, what: str, channels: int, cells: int, classes: int) -> Comparison:
    theirs = published.model_search.Network(channels, classes, cells, None)
    partial_channels = next((module.k for module in theirs.modules() if hasattr(module, "k")), 1)
    space = load_space("darts", init_channels=channels, num_cells=cells, num_classes=classes)
    ours = build_supernet(space, partial_channels=partial_channels)
    operations = list(published.genotypes.PRIMITIVES)
    row = compare(f"{what}, search, C={channels}, {cells} cells, {classes} classes", theirs, ours, operations)

    row.cells = NUM_DRAWS
    for _ in range(NUM_DRAWS):
        with torch.no_grad():
            for name, parameter in architecture(theirs).items():
                parameter.copy_(ARCHITECTURE_STD * torch.randn_like(parameter))
                ours.get_parameter(name).copy_(parameter.flatten())
        row.same_cells += ours.genotype() == as_genotype(theirs.genotype())
    return row


def evaluation_network(
    published: SimpleNamespace,
    cell: str,
    our_cell: str,
    channels: int,
    cells: int,
    classes: int,
    drop_path: float = 0.0,
) -> Comparison:
    genotype = getattr(published.genotypes, cell)
    theirs = published.model.NetworkCIFAR(channels, classes, cells, True, genotype)
    theirs.drop_path_prob = drop_path
    ours = build_network(
        find_genotype(our_cell), init_channels=channels, num_cells=cells, num_classes=classes, auxiliary=True
    )
    what = f"{cell}, final, C={channels}, {cells} cells, {classes} classes"
    what += f", drop path {drop_path}" if drop_path else ""
    row = compare(what, theirs, ours, list(published.genotypes.PRIMITIVES), drop_path=drop_path)
    row.cells, row.same_cells = 1, int(ours.genotype == as_genotype(genotype))
    return row


def as_genotype(published: Any) -> Genotype:
    """A genotype of ours from the named tuple of the published code."""
    return Genotype(
        "darts",
        {"normal": tuple(published.normal), "reduce": tuple(published.reduce)},
        {"normal": tuple(published.normal_concat), "reduce": tuple(published.reduce_concat)},
    )


def all_rows(darts: SimpleNamespace, pc_darts: SimpleNamespace) -> Iterator[Comparison]:
    yield search_network(darts, "DARTS", 16, 8, 10)
    yield search_network(darts, "DARTS", 4, 5, 100)
    yield search_network(pc_darts, "PC-DARTS", 16, 8, 10)
    yield search_network(pc_darts, "PC-DARTS", 8, 5, 100)
    for repository, cell, our_cell in ((darts, "DARTS_V2", "darts_v2"), (pc_darts, "PC_DARTS_cifar", "pc_darts")):
        yield evaluation_network(repository, cell, our_cell, 36, 20, 10, 0.0)  # the size in their train.py
        yield evaluation_network(repository, cell, our_cell, 8, 8, 100, DROP_PATH)


def as_table(rows: list[Comparison]) -> Table:
    table = Table(box=rich.box.SIMPLE, title=f"Largest relative differences, float64, batch {BATCH_SIZE}")
    table.add_column("network")
    for header in ("parameters", "logits", "gradients", "logits, eval()", "same cells", "verdict"):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        figures = (f"{value:.1e}" for value in (row.logits, row.gradients, row.evaluated))
        verdict = "agrees" if row.agrees else "DIFFERS"
        table.add_row(row.what, f"{row.parameters:,}", *figures, f"{row.same_cells}/{row.cells}", verdict)
    return table


def against_darts(console: Console, darts: Path, pc_darts: Path) -> bool:
    """Print what DARTS and PC-DARTS compare to -> whether all agree."""
    console.print(
        "python benchmarks/against_published.py --darts PATH --pc-darts PATH; "
        f"quark0/darts {commit(darts)}, yuhuixu1993/PC-DARTS {commit(pc_darts)}, torch {torch.__version__}",
        highlight=False,
        soft_wrap=True,
    )
    published = [load_published(folder) for folder in (darts / "cnn", pc_darts)]
    with modern_cpu():
        rows = list(all_rows(*published))
    print_table(as_table(rows))
    agree = sum(row.agrees for row in rows)
    console.print(f"{agree} of {len(rows)} agree within {BOUND:g}", highlight=False)
    return agree == len(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--darts", type=Path, metavar="PATH", help="clone of quark0/darts")
    parser.add_argument("--pc-darts", type=Path, metavar="PATH", help="clone of yuhuixu1993/PC-DARTS")
    parser.add_argument("--etenas", type=Path, metavar="PATH", help="clone of Rufaim/ETENAS")
    arguments = parser.parse_args()
    if (arguments.darts is None) != (arguments.pc_darts is None):
        parser.error("--darts and --pc-darts go together")
    if arguments.darts is None and arguments.etenas is None:
        parser.error("give the folders of clones: --darts and --pc-darts, or --etenas")
    for option, folder, modules in (
        ("--darts", arguments.darts and arguments.darts / "cnn", PUBLISHED_MODULES),
        ("--pc-darts", arguments.pc_darts, PUBLISHED_MODULES),
        ("--etenas", arguments.etenas, ("prune_etenas",)),
    ):
        if missing := [name for name in modules if folder is not None and not (folder / f"{name}.py").is_file()]:
            parser.error(f"{option}: no {missing[0]}.py in {folder}; give the folder of a clone")
    torch.set_num_threads(1)  # convolutions in float64 are many small calls
    torch.manual_seed(0)
    console = Console(width=150)
    agree = []
    if arguments.darts is not None:
        agree.append(against_darts(console, arguments.darts, arguments.pc_darts))
    if arguments.etenas is not None:
        agree.append(published_etenas.report(console, arguments.etenas))
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
