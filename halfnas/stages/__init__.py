"""The stages of a run: one file each, and this is the one list of them, in the order in which they run."""

from halfnas.stages.evaluate import Evaluate
from halfnas.stages.prune import Prune
from halfnas.stages.search import Search
from halfnas.stages.stage import Parts, Stage

STAGES: tuple[type[Stage], ...] = (Prune, Search, Evaluate)

__all__ = ["STAGES", "Evaluate", "Parts", "Prune", "Search", "Stage"]
