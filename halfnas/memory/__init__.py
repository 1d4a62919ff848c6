"""Measuring memory."""

from halfnas.memory.cuda import peak_memory, reset_peak_memory
from halfnas.memory.peak import peak_live_memory
from halfnas.memory.saved import MIB, SavedTensors, saved_for_backward

__all__ = ["MIB", "SavedTensors", "peak_live_memory", "peak_memory", "reset_peak_memory", "saved_for_backward"]
