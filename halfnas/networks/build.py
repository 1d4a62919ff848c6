"""From a space and a mask to a supernet, from a genotype to a network."""

import os
import shutil
from typing import Any

import torch

from halfnas.networks.cell import SupernetCell
from halfnas.networks.discrete import DiscreteNetwork
from halfnas.networks.fused.cell import FusedCell
from halfnas.networks.plain import PlainCell
from halfnas.networks.recompute import check_recompute
from halfnas.networks.supernet import ARCHITECTURE_INIT_STD, Supernet
from halfnas.spaces import Genotype, Mask, SearchSpace, load_space

#: How a cell of the supernet is computed; all engines give the same function and gradients.
ENGINES: dict[str, type[SupernetCell]] = {"plain": PlainCell, "fused": FusedCell}


def check_engine(engine: str) -> None:
    """Raise ValueError for an engine that does not exist."""
    if engine not in ENGINES:
        raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}, got {engine!r}")


def check_compile(compile: bool, engine: str) -> None:
    """Raise ValueError where nothing could be compiled: by that engine, on this Python, without a compiler."""
    if not isinstance(compile, bool):
        raise ValueError(f"`compile` must be true or false, got {compile!r}")
    if not compile:
        return
    if not ENGINES[engine].compiles:
        able = ", ".join(name for name, cell in ENGINES.items() if cell.compiles)
        raise ValueError(f"`compile` needs `engine` {able}: {engine} has nothing to compile")
    if not torch._dynamo.is_dynamo_supported():
        raise ValueError(f"`compile` does not work here: torch {torch.__version__} cannot compile on this Python")
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++", "c++"]
    if not any(map(shutil.which, compilers)):
        raise ValueError(f"`compile` needs a C++ compiler, and there is no {' or '.join(compilers)}")


def build_supernet(
    space: SearchSpace,
    mask: Mask | None = None,
    *,
    partial_channels: int = 1,
    edge_normalization: bool | None = None,
    architecture_init_std: float = ARCHITECTURE_INIT_STD,
    engine: str = "plain",
    recompute: str = "none",
    compile: bool = False,
) -> Supernet:
    """Build the supernet of what a mask leaves of a space.

    Args:
        mask: None keeps everything. Masked candidates are not built.
        partial_channels: K, only 1/K of the channels goes through the candidates (PC-DARTS); 1 is plain DARTS.
        edge_normalization: weigh the edges into a node by softmax(beta); None: with partial channels only.
        architecture_init_std: of the normal distribution, around 0, that alpha and beta are drawn from; with 0 all
            candidates start equal.
        engine: how it is computed: "plain" as in the textbook, "fused" in less memory and time. Same weights.
        recompute: what is forgotten after the forward pass and computed again in the backward pass, see `RECOMPUTE`.
        compile: let torch.compile turn the parts of a fused supernet that repeat into machine code.

    Raises:
        ValueError: the mask is of another space, `partial_channels` does not divide the channels, an unknown engine
            or way to recompute, or compilation cannot work.
    """
    check_engine(engine)
    check_recompute(recompute)
    check_compile(compile, engine)
    return Supernet(
        space,
        Mask.full(space) if mask is None else mask,
        ENGINES[engine],
        partial_channels=partial_channels,
        edge_normalization=partial_channels > 1 if edge_normalization is None else edge_normalization,
        architecture_init_std=architecture_init_std,
        recompute=recompute,
        compile=compile,
    )


def build_network(
    genotype: Genotype, *, num_classes: int, auxiliary: bool = False, in_channels: int = 3, **sizes: Any
) -> DiscreteNetwork:
    """Build the network of one genotype in the space that it names.

    Args:
        sizes: those of the space: `init_channels` and `num_cells` where it has them, as those of conf/space/<name>.yaml
            are for a search; others only where they differ from these.

    Raises:
        ValueError: an unknown space, a size that it does not have or that is missing, or a genotype that is not of that
            space.
    """
    space = load_space(genotype.space, num_classes=num_classes, in_channels=in_channels, **sizes)
    if missing := [size for size in ("init_channels", "num_cells") if hasattr(space, size) and size not in sizes]:
        raise ValueError(f"a network of space {genotype.space} needs {' and '.join(f'`{size}`' for size in missing)}")
    return DiscreteNetwork(space, genotype, auxiliary=auxiliary)
