"""The torch modules that a space gives: the supernet, and the network of one genotype."""

from halfnas.networks.build import ENGINES, build_network, build_supernet, check_engine
from halfnas.networks.discrete import DiscreteNetwork
from halfnas.networks.supernet import Mixing, Supernet

__all__ = ["ENGINES", "DiscreteNetwork", "Mixing", "Supernet", "build_network", "build_supernet", "check_engine"]
