"""What watches a run and never trains: memory, history, checkpoints, progress, pictures."""

from halfnas.callbacks.checkpoint import StageCheckpoint
from halfnas.callbacks.history import HistoryFile
from halfnas.callbacks.memory import MemoryMonitor
from halfnas.callbacks.progress import StageProgress
from halfnas.callbacks.publish import publish_genotype, publish_mask

__all__ = ["HistoryFile", "MemoryMonitor", "StageCheckpoint", "StageProgress", "publish_genotype", "publish_mask"]
