import time

import pytest
from lightning.pytorch import Callback

from halfnas.callbacks import StepTimer


class Slow(Callback):
    """A known time inside each step, and a long one in validation."""

    def on_before_backward(self, *args):
        time.sleep(0.02)

    def on_validation_batch_start(self, *args):
        time.sleep(0.5)


def test_it_is_the_time_of_a_training_step(search, fit):
    task = search(epochs=1)
    trainer = fit(task.module, task.data, [StepTimer(), Slow()], limit_val_batches=1)

    steps_ms = trainer.callback_metrics["search/step_ms"].item()
    assert 20 < steps_ms < 450


@pytest.mark.parametrize(("stage", "prefix"), [("search", "search"), ("evaluation", "evaluate")])
def test_every_stage_that_trains_has_one(request, fit, stage, prefix):
    task = request.getfixturevalue(stage)(epochs=1)
    trainer = fit(task.module, task.data, [StepTimer()], limit_val_batches=0)

    assert trainer.callback_metrics[f"{prefix}/step_ms"] > 0
