"""How one architecture is chosen from a masked supernet."""

from halfnas.search.module import BilevelSearch
from halfnas.search.regularizers import BetaDecay, Regularizer, mean_logsumexp

__all__ = ["BetaDecay", "BilevelSearch", "Regularizer", "mean_logsumexp"]
