"""A job in a process of its own, and what becomes of it. Imports none of torch before it is there."""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection, wait
from typing import Any

from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from halfnas.errors import ConfigError, Diverged, JobError
from halfnas.runs.folder import mark_failed

log = logging.getLogger(__name__)

PATIENCE = 30.0  # seconds that an interrupted job has to write down what became of it


def run_here(container: dict[str, Any], path: str, overrides: list[str]) -> float | None:
    """Run a job in this process, see `halfnas.jobs.job.run_job`."""
    from halfnas.jobs.job import run_job  # torch is imported here, not by the parent of a sweep

    return run_job(OmegaConf.create(container), path, overrides)


def run_in_child(job: tuple[Any, ...], logging_settings: Any, argv: list[str]) -> float | None:
    """Run a job in a process of its own; what it raises is raised here, or a JobError where its process has shown it.

    Args:
        job: settings as plain containers, path and overrides, see `halfnas.jobs.job.run_job`.
        logging_settings: Hydra's, for the logging of the child.
        argv: the command line of the job alone, with which Lightning starts further processes.
    """
    known = multiprocessing.get_all_start_methods()
    if multiprocessing.get_start_method() not in known:  # in a worker of joblib: a method that the child does not know
        multiprocessing.set_start_method(known[0], force=True)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, logging_settings, argv, job), name="halfnas-job")
    child.start()
    sender.close()
    try:
        outcome, value = receiver.recv()
    except EOFError:
        child.join()
        outcome, value = "died", f"its process ended with exit code {child.exitcode}"
        mark_failed(job[1], value)
    except KeyboardInterrupt:
        _interrupt(child)
        raise
    finally:
        child.join(timeout=PATIENCE)
        if child.is_alive():
            child.terminate()
            child.join()
    if outcome == "done":
        return value
    if outcome == "interrupted":
        raise KeyboardInterrupt
    raise JobError(f"halfnas: failed: {job[1]}: {value}")


def _interrupt(child: Any) -> None:
    """Ctrl-C reaches every process of a terminal; `kill -INT` only the one that it names."""
    if child.is_alive():
        os.kill(child.pid, signal.SIGINT)


def _child(sender: Connection, logging_settings: Any, argv: list[str], job: tuple[Any, ...]) -> None:
    sys.argv = argv
    signal.signal(signal.SIGINT, _interrupt_once)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure_log(OmegaConf.create(logging_settings))
    try:
        sender.send(("done", run_here(*job)))
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):  # the sweep may be gone
            sender.send(("interrupted", None))
    except ConfigError as error:
        log.error(str(error))
        sender.send(("failed", error.problems[0]))
    except Diverged as error:
        log.error(str(error))
        sender.send(("failed", str(error).removeprefix("halfnas: ")))
    except BaseException as error:
        traceback.print_exc()
        sender.send(("failed", f"{type(error).__name__}: {error}"))


def _interrupt_once(*_: Any) -> None:
    """A second Ctrl-C would hit while the first one is being written down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Interrupt this process when the sweep that started it is gone, so that the sweep can go on elsewhere."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "jobs of sweeps are children"
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGINT)
