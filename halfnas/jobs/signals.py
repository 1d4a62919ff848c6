"""SIGTERM and SIGHUP end a run as Ctrl-C does: with a true status, a closed log and a way to go on."""

import signal
import time
from typing import Any

#: What ends a run in order.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds in which a second signal is the first one once more: a terminal and a parent process send one each.
ONE_SIGNAL = 5.0

_last: float | None = None
_which: int = signal.SIGINT


def end_in_order() -> None:
    """Let every signal that ends a process interrupt it; one that is ignored, as under nohup, stays so."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def exit_code() -> int:
    """The exit code of a program that was interrupted: 128 and the number of the signal."""
    return 128 + _which


def _interrupt(number: int, frame: Any) -> None:
    """Interrupt what runs; not twice at once, as the second would hit while the first one is being written down."""
    global _last, _which
    now = time.monotonic()
    if _last is not None and now - _last < ONE_SIGNAL:
        return
    _last, _which = now, number
    raise KeyboardInterrupt
