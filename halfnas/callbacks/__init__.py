"""What watches a run and never trains: memory, speed, history, checkpoints, progress, pictures, lineage."""

from halfnas.callbacks.checkpoint import StageCheckpoint
from halfnas.callbacks.history import HistoryFile
from halfnas.callbacks.lineage import Lineage
from halfnas.callbacks.memory import MemoryMonitor
from halfnas.callbacks.progress import StageProgress
from halfnas.callbacks.publish import publish_genotype, publish_mask
from halfnas.callbacks.speed import StepTimer

__all__ = [
    "HistoryFile",
    "Lineage",
    "MemoryMonitor",
    "StageCheckpoint",
    "StageProgress",
    "StepTimer",
    "publish_genotype",
    "publish_mask",
]
