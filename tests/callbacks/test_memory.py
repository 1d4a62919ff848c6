import pytest
import torch

from halfnas import Mask
from halfnas.callbacks import MemoryMonitor
from halfnas.memory import MIB, saved_for_backward

KEY = "search/step_activations_mib"


@pytest.fixture
def measure(search, fit):
    def run(mask=None, batch_size=8):
        task = search(mask, batch_size, epochs=1)
        trainer = fit(task.module, task.data, [MemoryMonitor()], limit_train_batches=1, limit_val_batches=0)
        return trainer.callback_metrics[KEY].item()

    return run


def test_it_is_what_a_step_keeps(measure, search):
    module = search().module.train()
    images, labels = torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.long)
    expected = saved_for_backward(lambda: module.loss(images, labels), module) / MIB

    assert expected > 0
    assert measure() == pytest.approx(expected, rel=1e-6)


def test_it_is_the_same_every_time(measure):
    assert measure() == measure()


def test_it_grows_with_the_batch(measure):
    # Almost all that is kept has a batch dimension.
    assert measure(batch_size=16) == pytest.approx(2 * measure(batch_size=8), rel=0.05)


def test_half_the_candidates_need_less(measure, space):
    full = measure(Mask.full(space))
    half = measure(Mask.random(space, ratio=0.5, seed=0))

    assert 0.3 * full < half < 0.7 * full


def test_no_cuda_peaks_on_a_cpu(search, fit):
    task = search(epochs=1)
    trainer = fit(task.module, task.data, [MemoryMonitor()], limit_val_batches=0)

    assert not any("peak" in key for key in trainer.callback_metrics)


@pytest.mark.parametrize("stage", ["search", "evaluation"])
def test_training_does_not_notice(request, fit, stage):
    """Weights, running statistics and random numbers are those of a training that nobody watches."""

    def train(callbacks):
        task = request.getfixturevalue(stage)(epochs=2)
        trainer = fit(task.module, task.data, callbacks, limit_val_batches=0)
        return task.module.state_dict(), torch.random.get_rng_state(), trainer.callback_metrics

    watched, watched_random, metrics = train([MemoryMonitor()])
    alone, alone_random, _ = train([])

    assert f"{'evaluate' if stage == 'evaluation' else stage}/step_activations_mib" in metrics
    assert any("running_mean" in key for key in alone)
    assert watched.keys() == alone.keys()
    assert [key for key in alone if not torch.equal(alone[key], watched[key])] == []
    assert torch.equal(watched_random, alone_random)
