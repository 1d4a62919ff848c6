"""Rows of a table that take turns: each in a process of its own, so that no allocator disturbs another.

In every round each is timed once, so that a busy moment of the machine does not hit only one of them.
"""

import argparse
import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch

from halfnas.memory import reset_peak_memory


class Named(Protocol):
    """What a row is of; it travels to another process."""

    @property
    def name(self) -> str:
        """For people."""
        ...


R = TypeVar("R", bound=Named)


class Begun(NamedTuple):
    """What a row's process has once it has begun.

    Attributes:
        answer: the figures that are measured once.
        seconds: times every step of the row once.
    """

    answer: dict[str, Any]
    seconds: Callable[[], list[float]]


Begin = Callable[[R, argparse.Namespace], Begun]


class Figures(NamedTuple):
    """Of one row: what was measured once, and the seconds of every step in every round."""

    answer: dict[str, Any]
    rounds: list[list[float]]


def take_turns(
    rows: Sequence[R], begin: Begin[R], arguments: argparse.Namespace, timed: Callable[[R], bool] = lambda row: True
) -> dict[R, Figures]:
    """Measure all rows.

    Args:
        rows: what is measured.
        begin: makes a row ready and measures what is measured once; it is called in the row's own process.
        arguments: `threads`, `device`, `rounds` and what `begin` reads.
        timed: whether a row takes part in the rounds.
    """
    workers = [_Worker(row, begin, arguments) for row in rows]
    rounds: dict[R, list[list[float]]] = {row: [] for row in rows}
    try:
        answers = {worker.row: worker.ask(f"memory {i}/{len(workers)}") for i, worker in enumerate(workers, 1)}
        for number in range(1, arguments.rounds + 1):
            for worker in workers:
                if timed(worker.row):
                    rounds[worker.row].append(worker.ask(f"round {number}/{arguments.rounds}"))
    finally:
        for worker in workers:
            worker.process.terminate()
    return {row: Figures(answers[row], rounds[row]) for row in rows}


class _Worker(Generic[R]):
    """The process of a row, as its parent sees it."""

    def __init__(self, row: R, begin: Begin[R], arguments: argparse.Namespace) -> None:
        self.row = row
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, row, begin, arguments), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, progress: str) -> Any:
        """Let it do the next thing, while all others wait."""
        print(f"{progress}: {self.row.name}", file=sys.stderr, flush=True)
        try:
            self.connection.send(None)
            return self.connection.recv()
        except (EOFError, OSError):
            raise SystemExit(f"error: the process of {self.row.name!r} died") from None


def _work(connection: Connection, row: R, begin: Begin[R], arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # as conf/trainer/default.yaml
    connection.recv()
    begun = begin(row, arguments)
    _release(arguments.device)
    connection.send(begun.answer)
    while True:
        connection.recv()
        connection.send(begun.seconds())
        _release(arguments.device)


def _release(device: torch.device) -> None:
    """Give the memory that the allocators hold back to the other rows."""
    gc.collect()  # the profiler is a cycle of 200 MB
    reset_peak_memory(device)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
