from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback

from halfnas.callbacks import StepTimer


class Slow(Callback):
    """A clock by which a backward pass takes 20 ms, two of which are a step, and a validation half a second."""

    now = 0.0

    def on_before_backward(self, *args):
        self.now += 0.02

    def on_validation_batch_start(self, *args):
        self.now += 0.5


def test_it_is_the_time_of_a_training_step(search, fit, monkeypatch):
    slow = Slow()
    monkeypatch.setattr("halfnas.callbacks.speed.time", SimpleNamespace(perf_counter=lambda: slow.now))
    task = search(epochs=1)
    trainer = fit(task.module, task.data, [StepTimer(), slow], limit_val_batches=1)

    assert trainer.callback_metrics["search/step_ms"].item() == pytest.approx(40)


@pytest.mark.parametrize(("stage", "prefix"), [("search", "search"), ("evaluation", "evaluate")])
def test_every_stage_that_trains_has_one(request, fit, stage, prefix):
    task = request.getfixturevalue(stage)(epochs=1)
    trainer = fit(task.module, task.data, [StepTimer()], limit_val_batches=0)

    assert trainer.callback_metrics[f"{prefix}/step_ms"] > 0
