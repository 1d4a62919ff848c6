"""Measuring memory, and what moves through it."""

from halfnas.memory.cuda import peak_memory, reset_peak_memory
from halfnas.memory.peak import can_count, peak_live_memory
from halfnas.memory.saved import MIB, SavedTensors, saved_for_backward
from halfnas.memory.traffic import Traffic

__all__ = [
    "MIB",
    "SavedTensors",
    "Traffic",
    "can_count",
    "peak_live_memory",
    "peak_memory",
    "reset_peak_memory",
    "saved_for_backward",
]
