import math

import pytest
import torch

from halfnas.training import EpochMeans, correct

CPU = torch.device("cpu")


def test_means_are_over_images_not_batches():
    means = EpochMeans(("loss", "accuracy"), CPU)
    means.add(3, loss=torch.tensor(2.0), accuracy=torch.tensor(1 / 3))
    means.add(1, loss=torch.tensor(6.0))
    assert means.take() == {"loss": 3.0, "accuracy": pytest.approx(1 / 3)}


def test_what_was_not_measured_has_no_mean_and_taking_starts_anew():
    means = EpochMeans(("loss", "accuracy"), CPU)
    means.add(2, loss=torch.tensor(1.0))
    assert means.take() == {"loss": 1.0}
    assert means.take() == {}


def test_many_small_numbers_are_not_lost():
    """In float32 the sum would stop to grow, or drift."""
    means = EpochMeans(("loss",), CPU)
    for _ in range(1000):
        means.add(50_000, loss=torch.tensor(0.1))
    assert means.take()["loss"] == pytest.approx(torch.tensor(0.1).item(), rel=1e-12)


def test_processes_are_added_up_before_the_division():
    means = EpochMeans(("loss",), CPU)
    means.add(1, loss=torch.tensor(1.0))
    other = torch.tensor([[9.0], [3.0]], dtype=torch.float64)  # a sum of 9 over 3 images
    assert means.take(lambda sums: sums + other) == {"loss": 2.5}


def test_a_value_that_is_not_finite_shows():
    means = EpochMeans(("loss",), CPU)
    means.add(1, loss=torch.tensor(float("nan")))
    means.add(1, loss=torch.tensor(1.0))
    assert math.isnan(means.take()["loss"])


def test_no_graph_is_kept():
    means = EpochMeans(("loss",), CPU)
    loss = torch.ones((), requires_grad=True) * 2
    means.add(1, loss=loss)
    assert means.take() == {"loss": 2.0}


def test_correct():
    logits = torch.tensor([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
    assert correct(logits, torch.tensor([1, 1, 1])).item() == pytest.approx(2 / 3)
