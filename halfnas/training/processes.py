"""The processes of a run on one machine: none of them lives on when another one has died.

Lightning's own launcher kills the first process without a word as soon as another one has failed, and leaves the others
where the first one is killed.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

#: Tells a process which one has started it.
PARENT = "HALFNAS_PARENT"
#: Seconds between two looks at the others.
INTERVAL = 0.5
#: Seconds that the first process has to notice by itself that another one has failed, and to write that down.
PATIENCE = 30.0


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes, and ends the first one where one of these has failed.

    Attributes:
        when_lost: is told what has happened where the first process did not notice by itself, before it ends.
    """

    when_lost: Callable[[str], None] | None = None

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start them if nobody has, then call the function here."""
        if not self.cluster_environment.creates_processes_externally:
            self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
            os.environ[PARENT] = str(os.getpid())
            self._call_children_scripts()
            del os.environ[PARENT]
            Observer(self.procs, self.when_lost).start()
        return super().launch(function, *args, trainer=trainer, **kwargs)


class Observer(threading.Thread):
    """Looks after processes that this one has started; ends this one, with all of them, when one has failed.

    Args:
        processes: they have rank 1, 2, ...
        when_lost: see `Launcher`.
        patience: see `PATIENCE`.
    """

    def __init__(
        self,
        processes: Sequence[subprocess.Popen[Any]],
        when_lost: Callable[[str], None] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(daemon=True, name="halfnas-observer")
        self._processes = processes
        self._when_lost = when_lost
        self._patience = patience

    def run(self) -> None:
        """Wait until all have ended well, or one has not."""
        while any(process.poll() is None for process in self._processes) and self.failure() is None:
            time.sleep(INTERVAL)
        message = self.failure()
        if message is None:
            return
        time.sleep(self._patience)  # whoever ends before that takes this thread along
        try:
            if self._when_lost is not None:
                self._when_lost(message)
        finally:
            for process in self._processes:
                process.kill()
            os._exit(1)

    def failure(self) -> str | None:
        """What has become of the first process that has failed; None while none has."""
        for rank, process in enumerate(self._processes, start=1):
            if process.poll():
                return f"process {rank} has ended with exit code {process.returncode}"
        return None


def failure() -> str | None:
    """What has become of another process of this run that this one has started; None while none has failed."""
    observers = [thread for thread in threading.enumerate() if isinstance(thread, Observer)]
    return next((message for observer in observers if (message := observer.failure())), None)


def end_with_parent() -> None:
    """End this process when the one that has started it as a part of its run is gone, whatever it waits for then."""
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), daemon=True, name="halfnas-parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    with contextlib.suppress(OSError):
        os.write(2, b"halfnas: the first process of this run is gone\n")
    os._exit(1)
