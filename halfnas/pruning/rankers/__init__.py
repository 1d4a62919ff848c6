"""Ranking functions, each with its formula, its sign and its source; configured in conf/pruner."""

from halfnas.pruning.rankers.fisher import Fisher
from halfnas.pruning.rankers.flops import FLOPs
from halfnas.pruning.rankers.grad_norm import GradNorm
from halfnas.pruning.rankers.grasp import GraSP
from halfnas.pruning.rankers.jacob_cov import JacobianCovariance
from halfnas.pruning.rankers.linear_regions import LinearRegions
from halfnas.pruning.rankers.naswot import NASWOT
from halfnas.pruning.rankers.nngp import NNGPFrobenius, NNGPMean
from halfnas.pruning.rankers.ntk import NTKConditionNumber
from halfnas.pruning.rankers.parameters import ParameterCount
from halfnas.pruning.rankers.snip import SNIP
from halfnas.pruning.rankers.synflow import SynFlow
from halfnas.pruning.rankers.zen import Zen
from halfnas.pruning.rankers.zico import ZiCo

__all__ = [
    "NASWOT", "SNIP", "FLOPs", "Fisher", "GraSP", "GradNorm", "JacobianCovariance", "LinearRegions", "NNGPFrobenius",
    "NNGPMean", "NTKConditionNumber", "ParameterCount", "SynFlow", "Zen", "ZiCo",
]  # fmt: skip
