"""How the space is halved: ranking functions, importance of candidates, pruners and the pruning stage."""

from halfnas.pruning.importance import exact_changes, taylor_changes
from halfnas.pruning.importance_pruner import ImportancePruner, NothingUsable
from halfnas.pruning.module import PruningModule
from halfnas.pruning.pruner import NoPruner, Pruner, RandomPruner
from halfnas.pruning.ranking import LogitRanking, RankingFunction
from halfnas.pruning.sample import Batch, Sample
from halfnas.pruning.scoring_network import ScoringNetwork

__all__ = [
    "Batch", "ImportancePruner", "LogitRanking", "NoPruner", "NothingUsable", "Pruner", "PruningModule",
    "RandomPruner", "RankingFunction", "Sample", "ScoringNetwork", "exact_changes", "taylor_changes",
]  # fmt: skip
