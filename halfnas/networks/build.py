"""From a space and a mask to a supernet, from a genotype to a network."""

from torch import nn

from halfnas.networks.discrete import DiscreteNetwork
from halfnas.networks.plain import PlainCell
from halfnas.networks.supernet import Supernet
from halfnas.spaces import Genotype, Mask, SearchSpace, load_space

#: How a cell of the supernet is computed; all engines give the same function and gradients.
ENGINES: dict[str, type[nn.Module]] = {"plain": PlainCell}


def check_engine(engine: str) -> None:
    """Raise ValueError for an engine that does not exist."""
    if engine not in ENGINES:
        raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}, got {engine!r}")


def build_supernet(
    space: SearchSpace,
    mask: Mask | None = None,
    *,
    partial_channels: int = 1,
    edge_normalization: bool | None = None,
    engine: str = "plain",
) -> Supernet:
    """Build the supernet of what a mask leaves of a space.

    Args:
        mask: None keeps everything. Masked candidates are not built.
        partial_channels: K, only 1/K of the channels goes through the candidates (PC-DARTS); 1 is plain DARTS.
        edge_normalization: weigh the edges into a node by softmax(beta); None: with partial channels only.
        engine: how it is computed.

    Raises:
        ValueError: the mask is of another space, `partial_channels` does not divide the channels, unknown engine.
    """
    check_engine(engine)
    return Supernet(
        space,
        Mask.full(space) if mask is None else mask,
        ENGINES[engine],
        partial_channels=partial_channels,
        edge_normalization=partial_channels > 1 if edge_normalization is None else edge_normalization,
    )


def build_network(
    genotype: Genotype,
    *,
    init_channels: int,
    num_cells: int,
    num_classes: int,
    auxiliary: bool = False,
    in_channels: int = 3,
) -> DiscreteNetwork:
    """Build the network of one genotype in the space that it names.

    Raises:
        ValueError: an unknown space, or a genotype that is not of that space.
    """
    space = load_space(
        genotype.space,
        init_channels=init_channels,
        num_cells=num_cells,
        num_classes=num_classes,
        in_channels=in_channels,
    )
    return DiscreteNetwork(space, genotype, auxiliary=auxiliary)
