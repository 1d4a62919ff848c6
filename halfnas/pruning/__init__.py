"""How the space is halved: ranking functions, importance of candidates, pruners and the pruning stage."""

from halfnas.pruning.importance import exact_importance
from halfnas.pruning.module import PruningModule
from halfnas.pruning.nngp import NNGPFrobenius
from halfnas.pruning.pruner import ImportancePruner, NoPruner, Pruner, RandomPruner
from halfnas.pruning.ranking import Batch, RankingFunction

__all__ = [
    "Batch", "ImportancePruner", "NNGPFrobenius", "NoPruner", "Pruner", "PruningModule", "RandomPruner",
    "RankingFunction", "exact_importance",
]  # fmt: skip
