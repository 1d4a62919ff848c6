"""Steps captured into CUDA graphs: thousands of kernels started at once, where starting each takes longer than it runs.

Source: the CUDA Graphs section of torch's CUDA semantics notes.
"""

import contextlib
import gc
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from halfnas.training.ranks import num_processes

log = logging.getLogger(__name__)

#: How a run may be asked for captured steps: where they are possible, always, or never.
CUDA_GRAPHS = ("auto", True, False)

#: Calls of one signature before it is captured: cuDNN chooses its algorithms, optimisers make their state.
WARMUP = 2


def check_cuda_graphs(cuda_graphs: str | bool) -> None:
    """Raise ValueError for what `cuda_graphs` cannot be."""
    if not any(cuda_graphs is known or cuda_graphs == known == "auto" for known in CUDA_GRAPHS):
        raise ValueError(f"`cuda_graphs` must be auto, true or false, got {cuda_graphs!r}")


class Replay:
    """Calls a function of tensors; on CUDA it is captured once for each signature of its inputs, and then replayed.

    The function must not look at values on the host, draw random numbers but from the default generator of the device,
    or change anything but tensors that exist before it is called (and gradients, that it clears first). What it returns
    is overwritten by the next call. The graphs share one pool of memory, as only one of them runs at a time; batches of
    another size (the last one of an epoch) get a graph of their own and no memory of their own.

    A graph is good until the training that it was captured in ends: Lightning then gives back the workspaces of cuBLAS,
    to which it points.

    Nothing is tried that is known to fail, because a failed capture leaves CUDA's random numbers unusable for the rest
    of the process: not on several processes, whose gradients are summed by hooks, not with detect_anomaly, and not
    where a call before it was seen to wait for the device.

    Args:
        function: what is called.
        cuda_graphs: auto captures on a CUDA device where it can; true raises where it cannot; false never does.
        name: the name of the function, for the log.
        obstacle: why it cannot be captured, where that is known beforehand.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        cuda_graphs: str | bool = "auto",
        name: str = "step",
        obstacle: str | None = None,
    ) -> None:
        check_cuda_graphs(cuda_graphs)
        self._function = function
        self._name = name
        self._obstacle = obstacle
        self._must = cuda_graphs is True
        self._gave_up = cuda_graphs is False
        self._calls: dict[Any, int] = {}
        self._graphs: dict[Any, Graph] = {}
        self._pool: Any = None
        self._stream: Any = None

    @property
    def captured(self) -> int:
        """How many graphs there are."""
        return len(self._graphs)

    def __call__(self, *inputs: Tensor) -> Any:
        """The function of `inputs`."""
        if self._gave_up:
            return self._function(*inputs)
        if (reason := why_not(inputs[0].device) or self._obstacle) is not None:
            self._give_up(reason)
            return self._function(*inputs)
        signature = (_autocast(), *((x.shape, x.stride(), x.dtype) for x in inputs))
        if signature in self._graphs:
            return self._graphs[signature](*inputs)
        if self._stream is None:
            self._stream, self._pool = torch.cuda.Stream(inputs[0].device), torch.cuda.graph_pool_handle()
        calls = self._calls[signature] = self._calls.get(signature, 0) + 1
        if calls <= WARMUP:
            return self._warm_up(inputs, last=calls == WARMUP)
        if not self._graphs:
            log.info("the %s is captured into a CUDA graph", self._name)
        try:
            with _no_autocast_cache(inputs[0].device):
                graph = self._graphs[signature] = Graph(self._function, inputs, self._pool, self._stream)
        except RuntimeError as error:
            self._give_up(_cause(error))
            return self._function(*inputs)
        return graph(*inputs)

    def _warm_up(self, inputs: tuple[Tensor, ...], *, last: bool) -> Any:
        """Call it as it is, on a stream of its own, which a capture needs too."""
        with _no_autocast_cache(inputs[0].device), on_stream(self._stream):
            if not last:
                return self._function(*inputs)
            with waits_for_the_device() as found:
                outputs = self._function(*inputs)
        if found:
            self._give_up("it waits for the device, as reading a value of a tensor does")
        return outputs

    def _give_up(self, reason: str) -> None:
        if self._must:
            raise RuntimeError(f"`cuda_graphs=true`, but the {self._name} cannot be captured: {reason}; use auto")
        if torch.cuda.is_available():  # elsewhere nobody expects a graph
            log.warning("the %s runs without a CUDA graph: %s", self._name, reason)
        self._gave_up = True


class Graph:
    """A function captured on one set of inputs.

    Args:
        function: see `Replay`.
        inputs: an example; the graph has buffers like them.
        pool: memory shared with other graphs.
        stream: what it is captured on.
    """

    def __init__(self, function: Callable[..., Any], inputs: tuple[Tensor, ...], pool: Any, stream: Any) -> None:
        self._inputs = [x.clone() for x in inputs]
        self._graph = torch.cuda.CUDAGraph()
        # What Python has yet to throw away, as a graph of the stage before, must not go in the middle of a capture.
        gc.collect()
        # Around it the present stream: torch 2.11 stays on the other one where a capture fails. Other threads may go on
        # as they like: those that load images pin memory.
        with (
            torch.cuda.stream(torch.cuda.current_stream(stream.device)),
            torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"),
        ):
            self._outputs = function(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Any:
        """Replay it on other inputs of the same shapes."""
        for buffer, x in zip(self._inputs, inputs, strict=True):
            buffer.copy_(x, non_blocking=True)
        self._graph.replay()
        return self._outputs


def why_not(device: torch.device) -> str | None:
    """Why nothing can be captured here; None where it can."""
    if device.type != "cuda":
        return f"there are no CUDA graphs on the device {device.type!r}"
    if num_processes() > 1:
        return "several processes tell each other gradients and statistics in the middle of a step"
    if torch.is_anomaly_enabled():
        return "trainer.detect_anomaly looks at every gradient"
    return None


@contextlib.contextmanager
def on_stream(stream: Any) -> Iterator[None]:
    """Inside, kernels are started on a stream of their own, in order with those before and after."""
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield
    current.wait_stream(stream)


@contextlib.contextmanager
def waits_for_the_device() -> Iterator[list[str]]:
    """Notes what inside makes the host wait for the device, in the list that it gives once it is left."""
    found: list[str] = []
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    for warning in caught:
        message = str(warning.message)
        if "synchronizing CUDA operation" in message:
            found.append(message)
        elif "Synchronization debug mode is a prototype" not in message:  # said when the mode is set; nobody asked
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _cause(error: BaseException) -> str:
    """The first line of the first of a chain of errors: those after it say that the capture had failed by then."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    return str(error).strip().split("\n")[0]


def _autocast() -> Any:
    return torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")


@contextlib.contextmanager
def _no_autocast_cache(device: torch.device) -> Iterator[None]:
    """Autocast as it is, but it casts weights anew each time: its cache would outlive the step that filled it."""
    kind = device.type
    with torch.autocast(
        kind,
        dtype=torch.get_autocast_dtype(kind),
        enabled=torch.is_autocast_enabled(kind),
        cache_enabled=False,
    ):
        yield
