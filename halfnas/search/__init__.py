"""How one architecture is chosen from a masked supernet."""

from halfnas.search.dirichlet import Dirichlet, DirichletKL
from halfnas.search.gumbel import HardGumbel
from halfnas.search.module import BilevelSearch
from halfnas.search.regularizers import BetaDecay, Regularizer, mean_logsumexp
from halfnas.search.relaxations import Relaxation, Softmax
from halfnas.search.step import BilevelStep
from halfnas.search.unrolled import UnrolledStep

__all__ = [
    "BetaDecay",
    "BilevelSearch",
    "BilevelStep",
    "Dirichlet",
    "DirichletKL",
    "HardGumbel",
    "Regularizer",
    "Relaxation",
    "Softmax",
    "UnrolledStep",
    "mean_logsumexp",
]
