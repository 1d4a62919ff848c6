from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import seed_everything
from omegaconf import OmegaConf

from halfnas import Mask
from halfnas.callbacks import MemoryMonitor
from halfnas.config.parts import SettingParts
from halfnas.data import SearchData
from halfnas.memory import MIB, peak_live_memory, saved_for_backward

KEY, PEAK = "search/step_activations_mib", "search/peak_live_mib"
TRAINED = ("darts", "darts2", "pcdarts", "beta_pcdarts", "beta_pcdarts_published", "gdas", "drnas", "random_ws")


@pytest.fixture
def search_by(compose_settings, space, dataset):
    """search_by(searcher, ...): a search of two steps an epoch by any method, the first epoch a warm-up."""

    def make(searcher, recompute="none", epochs=2):
        settings = compose_settings(Path("none"), f"searcher={searcher}")
        parts = SettingParts(OmegaConf.to_container(settings, resolve=True), [])
        seed_everything(0, verbose=False)
        sizes = {"batch_size": 8, "epochs": epochs, "warmup_epochs": 1}
        if searcher == "random_ws":
            sizes |= {"samples": 2, "sample_batches": 1, "finalists": 1}
        supernet = {"engine": "fused", "recompute": recompute}
        module = parts.make("searcher", space=space, supernet=supernet, **sizes)
        module.begin(Mask.full(space))
        data = SearchData(dataset, batch_size=8, seed=0, warmup_epochs=module.frozen_epochs)
        return SimpleNamespace(module=module, data=data)

    return make


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

    assert [key for key in trainer.callback_metrics if "peak" in key] == [PEAK]


@pytest.mark.parametrize("searcher", TRAINED)
def test_the_peak_is_that_of_a_full_step(search_by, fit, searcher):
    """Of the step that training takes after the warm-up, once its optimisers have their state."""
    task = search_by(searcher, epochs=1)
    measured = fit(task.module, task.data, [MemoryMonitor()], limit_train_batches=1, limit_val_batches=1)

    trained = search_by(searcher)
    fit(trained.module, trained.data, limit_train_batches=1, limit_val_batches=0)
    module, step = trained.module.train(), trained.module.step
    step.draw(0, 0)
    batch = torch.randn(8, 1, 8, 8), torch.randint(4, (8,))
    halves = 1 if searcher == "random_ws" else 2
    step(*batch * halves)
    module.zero_grad()
    expected = peak_live_memory(lambda: step(*batch * halves)) / MIB

    assert measured.callback_metrics[PEAK].item() == pytest.approx(expected, rel=0.01)


def test_the_warm_up_is_measured_as_what_comes_after(search_by, fit):
    """An epoch without an architecture step says nothing of the memory that the search needs."""

    def measure(epochs):
        task = search_by("darts", epochs=epochs)
        trainer = fit(task.module, task.data, [MemoryMonitor()], limit_train_batches=1, limit_val_batches=0)
        return trainer.callback_metrics[PEAK].item()

    assert measure(1) == measure(2)  # the first epoch is frozen


def test_the_peak_sees_what_recomputation_saves(search_by, fit):
    def measure(recompute):
        task = search_by("darts", recompute=recompute, epochs=1)
        trainer = fit(task.module, task.data, [MemoryMonitor()], limit_train_batches=1, limit_val_batches=0)
        return trainer.callback_metrics[PEAK].item()

    assert measure("nodes") < 0.6 * measure("none")


def test_the_final_training_has_a_peak(evaluation, fit):
    task = evaluation(epochs=1)
    trainer = fit(task.module, task.data, [MemoryMonitor()], limit_val_batches=0)
    small = trainer.callback_metrics["evaluate/peak_live_mib"]
    task = evaluation(epochs=1, batch_size=16)
    trainer = fit(task.module, task.data, [MemoryMonitor()], limit_val_batches=0)
    assert 1.6 * small < trainer.callback_metrics["evaluate/peak_live_mib"] < 2 * small
    assert small > trainer.callback_metrics["evaluate/step_activations_mib"] / 2  # of half the batch


def test_no_peak_beside_another_profiler(search_by, fit, caplog):
    task = search_by("darts", epochs=1)
    with torch.profiler.profile(acc_events=True):
        trainer = fit(task.module, task.data, [MemoryMonitor()], limit_train_batches=1, limit_val_batches=0)
    assert PEAK not in trainer.callback_metrics
    assert "search/peak_live_mib is not measured: another profiler of torch runs" in caplog.text


@pytest.mark.parametrize("searcher", TRAINED)
def test_a_search_does_not_notice(search_by, fit, searcher):
    def train(callbacks):
        task = search_by(searcher)
        fit(task.module, task.data, callbacks)
        return task.module, torch.random.get_rng_state()

    (watched, watched_random), (alone, alone_random) = train([MemoryMonitor()]), train([])
    assert watched.genotype == alone.genotype
    for key, value in alone.state_dict().items():
        assert torch.equal(value, watched.state_dict()[key]), key
    for ours, theirs in zip(watched.optimizers(), alone.optimizers(), strict=True) if alone.step.passes[1:] else ():
        states = [optimizer.state_dict()["state"] for optimizer in (ours, theirs)]
        assert all(torch.equal(a, b) for a, b in zip(*map(tensors, states), strict=True))
    assert torch.equal(watched_random, alone_random)


def tensors(state):
    return [value for of_parameter in state.values() for value in of_parameter.values() if torch.is_tensor(value)]


@pytest.mark.parametrize("stage", ["search", "evaluation"])
def test_training_does_not_notice(request, fit, stage):
    """Weights, running statistics and random numbers are those of a training that nobody watches."""

    def train(callbacks):
        task = request.getfixturevalue(stage)(epochs=2)
        trainer = fit(task.module, task.data, callbacks, limit_val_batches=0)
        return task.module.state_dict(), torch.random.get_rng_state(), trainer.callback_metrics

    watched, watched_random, metrics = train([MemoryMonitor()])
    alone, alone_random, _ = train([])

    name = "evaluate" if stage == "evaluation" else stage
    assert {f"{name}/step_activations_mib", f"{name}/peak_live_mib"} <= metrics.keys()
    assert any("running_mean" in key for key in alone)
    assert watched.keys() == alone.keys()
    assert [key for key in alone if not torch.equal(alone[key], watched[key])] == []
    assert torch.equal(watched_random, alone_random)
