"""A job in a process of its own, and what becomes of it. Imports none of torch before it is there."""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from hydra.core.utils import configure_log
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf

from halfnas.errors import ConfigError, JobError
from halfnas.jobs.signals import ENDING, end_in_order
from halfnas.runs.status import mark_failed

log = logging.getLogger(__name__)

#: Seconds that an interrupted job has to write down what became of it, before it is asked again, then ended.
PATIENCE = 20.0

#: The environment of the server that processes of jobs are forked from, once it runs.
_server_environment: dict[str, str] | None = None


def run_here(
    container: dict[str, Any], path: str, overrides: list[str], notes: dict[str, str], of_sweep: bool
) -> float | None:
    """Run a job in this process, see `halfnas.jobs.job.run_job`."""
    from halfnas.jobs.job import run_job  # torch is imported here, not by the parent of a sweep

    return run_job(OmegaConf.create(container), path, overrides, notes, of_sweep)


def run_in_child(job: tuple[Any, ...], logging_settings: Any, argv: list[str]) -> float | None:
    """Run a job in a process of its own; what it raises is raised here, or a JobError where its process has shown it.

    Args:
        job: the arguments of `run_here`.
        logging_settings: Hydra's, for the logging of the child.
        argv: the command line of the job alone, with which Lightning starts further processes.
    """
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    ignored = [number for number in ENDING if signal.getsignal(number) is signal.SIG_IGN]
    child = context.Process(target=_child, args=(sender, logging_settings, argv, job, ignored), name="halfnas-job")
    child.start()
    sender.close()
    try:
        outcome, value = receiver.recv()
    except EOFError:
        child.join()
        outcome, value = "died", f"its process ended with exit code {child.exitcode}"
        mark_failed(job[1], value)
    except KeyboardInterrupt:
        _end(child, job[1])
        raise
    child.join(timeout=PATIENCE)
    if child.is_alive():  # it has said what became of it
        child.kill()
        child.join()
    if outcome == "done":
        return value
    if outcome == "interrupted":
        raise KeyboardInterrupt
    raise JobError(f"halfnas: failed: {job[1]}: {value}")


def _context() -> Any:
    """How processes of jobs are started: forked from a server that has imported all they need, and nothing else.

    That takes a tenth of the time of a start from nothing, which several imports of libraries fill. They are as fresh:
    the server has run no job. One that has another environment than the server, or on a system without one, starts
    from nothing.
    """
    global _server_environment
    known = multiprocessing.get_all_start_methods()
    if multiprocessing.get_start_method() not in known:  # in a worker of joblib: a method that the child does not know
        multiprocessing.set_start_method(known[0], force=True)
    environment = dict(os.environ)
    if "forkserver" not in known or _server_environment not in (None, environment):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["halfnas.jobs.ready"])
    _server_environment = environment
    return context


def _end(child: Any, path: str) -> None:
    """End a job in order, as its sweep was told to: ask, ask again, then do it, and say so in its place.

    Ctrl-C reaches every process of a terminal; `kill -INT` only the one that it names.
    """
    for _ in range(2):
        if child.is_alive():
            os.kill(child.pid, signal.SIGINT)
        child.join(timeout=PATIENCE)
    if child.is_alive():
        child.kill()
        child.join()
    mark_failed(path, "interrupted, and ended as it did not end by itself")


def _child(
    sender: Connection, logging_settings: Any, argv: list[str], job: tuple[Any, ...], ignored: Sequence[int] = ()
) -> None:
    sys.argv = argv
    for number in ENDING:  # as in the sweep, not as in the server
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    end_in_order()
    # Processes that load images start as those of a single run do, not as this one was.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_end_with_parent, args=(job[1],), daemon=True).start()
    configure_log(OmegaConf.create(logging_settings))
    try:
        outcome: tuple[str, Any] = ("done", run_here(*job))
    except KeyboardInterrupt:
        outcome = ("interrupted", None)
    except ConfigError as error:
        log.error(str(error))
        outcome = ("failed", error.problems[0])
    except CompactHydraException as error:
        log.error(str(error))
        outcome = ("failed", str(error).removeprefix("halfnas: "))
    except BaseException as error:
        traceback.print_exc()
        outcome = ("failed", f"{type(error).__name__}: {error}")
    with contextlib.suppress(BrokenPipeError):  # the sweep may be gone
        sender.send(outcome)


def _end_with_parent(path: str) -> None:
    """End this process when the sweep that started it is gone, so that the sweep can go on elsewhere.

    An interruption can be swallowed where it hits, as in a finaliser: it is asked for twice.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "jobs of sweeps are children"
    wait([parent.sentinel])
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENCE)
    mark_failed(path, "interrupted: its sweep is gone, and it did not end by itself")
    os._exit(1)
