"""Peak memory of live tensors while a function runs: neither the cache of an allocator nor what lived before counts."""

from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from halfnas.memory.cuda import reset_peak_memory


def peak_live_memory(function: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Largest number of bytes that `function()` has allocated on a device at one time, above those before it.

    On CUDA as counted by its allocator, elsewhere by torch's profiler from every allocation and release. Weights,
    optimiser state and whatever else lives before and after are not in it. Release nothing inside that was allocated
    before: CUDA's figure would be less by it, the profiler does not see it.
    """
    device = torch.device(device)
    if device.type == "cuda":
        reset_peak_memory(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:  # or 2.11 warns
        function()
    recorded = profiler.profiler.kineto_results.events()
    events = [event for event in recorded if event.name() == "[memory]" and event.device_type() == DeviceType.CPU]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
