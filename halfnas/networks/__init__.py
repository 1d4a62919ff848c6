"""The torch modules that a space gives: the supernet, and the network of one genotype."""

from halfnas.networks.build import ENGINES, build_network, build_supernet, check_compile, check_engine
from halfnas.networks.cell import Mixing
from halfnas.networks.discrete import DiscreteNetwork
from halfnas.networks.joined import JoinedNorms
from halfnas.networks.macro import MacroNetwork
from halfnas.networks.recompute import RECOMPUTE, check_recompute
from halfnas.networks.supernet import ARCHITECTURE_INIT_STD, Supernet

__all__ = [
    "ARCHITECTURE_INIT_STD",
    "ENGINES",
    "RECOMPUTE",
    "DiscreteNetwork",
    "JoinedNorms",
    "MacroNetwork",
    "Mixing",
    "Supernet",
    "build_network",
    "build_supernet",
    "check_compile",
    "check_engine",
    "check_recompute",
]
