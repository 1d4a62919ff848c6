"""Signals that end a run in order."""

import os
import signal

import pytest

from halfnas.jobs import signals


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    handlers = {number: signal.getsignal(number) for number in signals.ENDING}
    monkeypatch.setattr(signals, "_last", None)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.ENDING)
def test_each_interrupts_and_gives_its_exit_code(number):
    signals.end_in_order()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), number)
    assert signals.exit_code() == 128 + number
    os.kill(os.getpid(), number)  # once more at once, as from a terminal and a parent: it is the same one


def test_a_later_one_interrupts_again(monkeypatch):
    signals.end_in_order()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    monkeypatch.setattr(signals, "_last", signals._last - signals.ONE_SIGNAL)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert signals.exit_code() == 130


def test_what_is_ignored_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.end_in_order()
    os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
