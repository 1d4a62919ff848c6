"""Peaks of a CUDA device; without one, that nothing asks CUDA for what only a context has before there is one."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import halfnas
from halfnas.callbacks import MemoryMonitor, StepTimer
from halfnas.memory import MIB, peak_live_memory, peak_memory, reset_peak_memory
from halfnas.runs.checkpoints import Header
from halfnas.stages.run import fit
from halfnas.training import capture
from halfnas.training.rehearsal import rehearsal

CUDA = torch.device("cuda", 0)

#: Functions of torch.cuda that make the context themselves, or can do without one: what they give on no device.
SAFE = {
    "init": None, "is_available": True, "synchronize": None, "empty_cache": None, "get_rng_state": torch.zeros(1),
    "set_rng_state": None, "get_sync_debug_mode": 0, "set_sync_debug_mode": None, "graph_pool_handle": (0, 1),
    "current_stream": None, "Stream": None, "stream": None, "CUDAGraph": None, "graph": None,
    "get_device_properties": None,
}  # fmt: skip
#: Those of them that make it.
MAKING = {"init", "synchronize", "get_rng_state", "set_sync_debug_mode", "current_stream", "Stream"}
#: Those that are an error, or give zeros, where nobody has made it.
NEEDING = {"reset_peak_memory_stats": None, "max_memory_allocated": 3 * MIB, "max_memory_reserved": 5 * MIB,
           "memory_allocated": 2 * MIB}  # fmt: skip


class Context:
    """CUDA as torch shows it, without a device."""

    def __init__(self, monkeypatch):
        self.exists = False
        self.calls = []
        for name, value in {**SAFE, **NEEDING}.items():
            monkeypatch.setattr(torch.cuda, name, self._function(name, value))

    def _function(self, name, value):
        def function(*arguments, **named):
            self.calls.append(name)
            self.exists = self.exists or name in MAKING
            if name in NEEDING and not self.exists:
                raise RuntimeError(f"Invalid device argument: torch.cuda.{name} before there is a context")
            return value

        return function


@pytest.fixture
def context(monkeypatch):
    return Context(monkeypatch)


def module(**settings):
    """What the callbacks read of a LightningModule."""
    logged = {}
    return SimpleNamespace(
        device=CUDA, stage="search", logged=logged, log=lambda key, value: logged.update({key: value}), **settings
    )


def test_resetting_peaks(context):
    reset_peak_memory(CUDA)
    assert context.calls[-1] == "reset_peak_memory_stats"


def test_peaks(context):
    reset_peak_memory(CUDA)
    assert peak_memory(CUDA) == {"peak_allocated_mib": 3.0, "peak_reserved_mib": 5.0}


def test_peak_of_live_memory(context):
    assert peak_live_memory(lambda: None, "cuda") == 1 * MIB


def test_the_start_of_a_stage(context):
    """Before Lightning has touched the device."""
    strategy = SimpleNamespace(root_device=CUDA)
    trainer = SimpleNamespace(strategy=strategy, callback_metrics={}, checkpoint_callbacks=[], fits=0)

    def count(*_, **__):
        trainer.fits += 1

    trainer.fit = count
    stage = SimpleNamespace(name="search", tests=False, module=None, data=None)
    fit(stage, trainer, Header("search", {}), None)
    assert trainer.fits == 1
    assert "reset_peak_memory_stats" in context.calls


def test_what_watches_memory(context):
    monitor, watched = MemoryMonitor(), module()
    monitor.on_train_start(None, watched)
    monitor.on_train_epoch_end(None, watched)
    assert watched.logged == {"search/peak_allocated_mib": 3.0, "search/peak_reserved_mib": 5.0}


def test_the_clock_of_a_step(context):
    timer, watched = StepTimer(), module(loss=None)
    timer.on_train_batch_start(None, watched, None, 0)
    timer.on_train_batch_end(SimpleNamespace(is_last_batch=True), watched, None, None, 0)
    timer.on_train_epoch_end(None, watched)
    assert watched.logged["search/step_ms"] > 0
    assert context.calls == ["synchronize"] * 2


def test_a_rehearsal(context, monkeypatch):
    forked = []
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device="cuda": forked.append(device))
    with rehearsal(torch.nn.Linear(2, 2), CUDA):
        pass
    assert forked == [CUDA]


def test_looking_for_waits(context):
    with capture.waits_for_the_device() as found:
        pass
    assert found == []


def test_every_function_of_cuda_that_is_called_is_known_here():
    """A new one belongs in one of the lists above, so that these tests see it."""
    called = set()
    for path in Path(halfnas.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "torch.cuda":
                called.add(node.attr)
    assert called <= {*SAFE, *NEEDING}
    assert {"init", "reset_peak_memory_stats", "max_memory_allocated"} <= called


@pytest.mark.gpu
def test_peaks_are_positive_and_start_anew():
    reset_peak_memory(CUDA)
    before = peak_memory(CUDA)
    large = torch.empty(64 * MIB, dtype=torch.uint8, device=CUDA)
    after = peak_memory(CUDA)
    assert after["peak_allocated_mib"] - before["peak_allocated_mib"] == pytest.approx(64, abs=1)
    assert after["peak_reserved_mib"] >= after["peak_allocated_mib"]

    del large
    assert peak_memory(CUDA) == after
    reset_peak_memory(CUDA)
    assert peak_memory(CUDA)["peak_allocated_mib"] <= before["peak_allocated_mib"]
    assert peak_memory(CUDA)["peak_reserved_mib"] < after["peak_reserved_mib"]
