"""Peak CUDA memory of one stage."""

import gc

import torch

from halfnas.memory.saved import MIB


def reset_peak_memory(device: torch.device) -> None:
    """Give cached memory back and start the peaks anew, so that a stage does not inherit those of the one before."""
    if device.type == "cuda":
        torch.cuda.init()  # without a context there are no peaks, and resetting them is an error
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, float]:
    """Peaks since the last reset in MiB: `peak_allocated_mib` (tensors) and `peak_reserved_mib` (with the cache).

    Empty on devices other than CUDA, where neither exists.
    """
    if device.type != "cuda":
        return {}
    return {
        "peak_allocated_mib": torch.cuda.max_memory_allocated(device) / MIB,
        "peak_reserved_mib": torch.cuda.max_memory_reserved(device) / MIB,
    }
