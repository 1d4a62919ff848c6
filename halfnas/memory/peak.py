"""Peak memory of live tensors while a function runs: neither the cache of an allocator nor what lived before counts."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch._C._profiler import RecordScope
from torch.autograd import DeviceType, ProfilerActivity
from torch.autograd.profiler import (
    ProfilerConfig,
    ProfilerState,
    _disable_profiler,
    _enable_profiler,
    _ExperimentalConfig,
    _prepare_profiler,
)

from halfnas.memory.cuda import reset_peak_memory


def can_count(device: torch.device | str) -> str | None:
    """Why `peak_live_memory` cannot count the allocations of a device now; None where it can."""
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda"):
        return f"allocations are counted on CPUs and CUDA devices, not on {kind!r}"
    if kind == "cpu" and torch.autograd._profiler_enabled():
        return "another profiler of torch runs"
    return None


def peak_live_memory(function: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Largest number of bytes that `function()` has allocated on a device at one time, above those before it.

    On CUDA as counted by its allocator, on a CPU by torch's profiler from every allocation and release. Weights,
    optimiser state and whatever else lives before and after are not in it. Release nothing inside that was allocated
    before: CUDA's figure would be less by it, the profiler does not see it.

    Raises:
        ValueError: they cannot be counted, see `can_count`.
    """
    device = torch.device(device)
    if (reason := can_count(device)) is not None:
        raise ValueError(reason)
    if device.type == "cuda":
        reset_peak_memory(device)
        before = torch.cuda.memory_allocated(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    live = peak = 0
    for _, num_bytes in sorted(_allocations(function)):
        live += num_bytes
        peak = max(peak, live)
    return peak


def _allocations(function: Callable[[], object]) -> list[tuple[int, int]]:
    """Time in ns and bytes of all that `function()` allocates, and, negative, releases.

    Not by `torch.profiler.profile`, which records every operation too: that takes ten times as long as the function.
    """
    activities = {ProfilerActivity.CPU}
    config = ProfilerConfig(ProfilerState.KINETO, False, True, False, False, False, _ExperimentalConfig())
    with _quiet():
        _prepare_profiler(config, activities)
        # No scope of an operation, so that none is recorded. torch's stub does not know the argument.
        _enable_profiler(config, activities, {RecordScope.USER_SCOPE})  # type: ignore[call-arg]
        try:
            function()
        finally:
            recorded = _disable_profiler()
    return [
        (event.start_ns(), event.nbytes())  # type: ignore[attr-defined] # likewise
        for event in recorded.events()
        if event.name() == "[memory]" and event.device_type() == DeviceType.CPU
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, the profiler's library is started without its lines on stderr; it reads the level once in a process."""
    name = "KINETO_LOG_LEVEL"
    if name in os.environ:
        yield
        return
    os.environ[name] = "99"
    try:
        yield
    finally:
        os.environ.pop(name, None)
