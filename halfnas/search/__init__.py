"""How one architecture is chosen from a masked supernet."""

from halfnas.search.dirichlet import Dirichlet, DirichletKL
from halfnas.search.gumbel import HardGumbel
from halfnas.search.method import SearchMethod
from halfnas.search.module import BilevelSearch
from halfnas.search.path import RandomPath, path
from halfnas.search.random_search import RandomSearch
from halfnas.search.random_ws import RandomWS
from halfnas.search.regularizers import BetaDecay, Regularizer, mean_logsumexp
from halfnas.search.relaxations import Relaxation, Softmax
from halfnas.search.step import BilevelStep, WeightStep
from halfnas.search.supernet_search import SupernetSearch
from halfnas.search.unrolled import UnrolledStep

__all__ = [
    "BetaDecay", "BilevelSearch", "BilevelStep", "Dirichlet", "DirichletKL", "HardGumbel", "RandomPath", "RandomSearch",
    "RandomWS", "Regularizer", "Relaxation", "SearchMethod", "Softmax", "SupernetSearch", "UnrolledStep", "WeightStep",
    "mean_logsumexp", "path",
]  # fmt: skip
