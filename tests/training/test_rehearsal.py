import pytest
import torch
from torch import nn

from halfnas.data import Fake
from halfnas.training.rehearsal import random_batch, rehearsal

CPU = torch.device("cpu")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).eval()


def test_nothing_is_left_of_it(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.random.get_rng_state()
    with rehearsal(network, CPU):
        assert network.training
        network(torch.randn(2, 1, 8, 8)).sum().backward()
        torch.optim.SGD(network.parameters(), lr=1.0).step()
        assert not torch.equal(network[0].weight, before["0.weight"])
        assert not torch.equal(network[1].running_mean, before["1.running_mean"])

    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_nor_after_an_error(network):
    def fail():
        with rehearsal(network, CPU):
            network(torch.randn(2, 1, 8, 8))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not network.training
    assert not network[1].running_mean.any()
    assert network[1].num_batches_tracked == 0


def test_random_batch_has_the_shape_of_the_images():
    settings = {"num_train": 4, "num_test": 4, "seed": 0, "crop_padding": 1, "flip": False, "num_workers": 0}
    dataset = Fake(num_classes=3, in_channels=2, image_size=5, **settings)
    images, labels = random_batch(dataset, 7, CPU)

    assert images.shape == (7, 2, 5, 5)
    assert labels.shape == (7,)
    assert set(labels.tolist()) <= {0, 1, 2}
    assert all(torch.equal(a, b) for a, b in zip(random_batch(dataset, 7, CPU), (images, labels), strict=True))
