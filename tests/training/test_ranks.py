import pytest
import torch
from torch import distributed, nn

from halfnas.spaces.operations import Noise
from halfnas.training import averaged, gathered
from ranks import on_ranks


def test_one_process_has_what_it_has():
    assert gathered([1, "two"]) == [1, "two"]
    weight = nn.Parameter(torch.ones(2))
    averaged(torch.Tensor.backward, [weight])((weight * 3).sum())
    assert weight.grad.tolist() == [3, 3]


def gather():
    rank = distributed.get_rank()
    return gathered([(rank, number) for number in range(rank)])


def average():
    """Of a parameter of each dtype, one laid out with the channels last, and one that takes no part."""
    rank = distributed.get_rank()
    laid_out = torch.ones(2, 3, 2, 2).to(memory_format=torch.channels_last)
    single, double, unused, last = map(nn.Parameter, (torch.ones(2), torch.ones(2).double(), torch.ones(1), laid_out))
    values = torch.arange(24.0).view(2, 3, 2, 2) * (rank + 1)
    backward = averaged(torch.Tensor.backward, [single, double, unused, last])
    backward((single * rank).sum() + (double * 10 * rank).sum() + (last * values).sum())
    return [None if p.grad is None else p.grad.tolist() for p in (single, double, unused, last)]


def draw():
    """The noise of the part of a batch that this process has."""
    noise = Noise(stride=1)
    noise.share = (distributed.get_rank(), 2)
    torch.manual_seed(0)
    return noise(torch.zeros(3, 2, 4, 4)), noise.eval()(torch.zeros(3, 2, 4, 4))


def everything():
    return gather(), average(), draw()


@pytest.fixture(scope="module")
def found():
    return on_ranks(everything)


def test_lists_are_joined_in_the_order_of_ranks(found):
    assert [joined for joined, _, _ in found] == [[(1, 0)]] * 2


def test_gradients_are_averaged(found):
    mean = (torch.arange(24.0).view(2, 3, 2, 2) * 1.5).tolist()
    for _, averages, _ in found:
        assert averages == [[0.5, 0.5], [5.0, 5.0], None, mean]


def test_noise_of_two_processes_is_that_of_their_joined_batch(found):
    torch.manual_seed(0)
    whole = Noise(stride=1)(torch.zeros(6, 2, 4, 4))
    first, second = (drawn for _, _, (drawn, _) in found)
    assert torch.cat([first, second]).equal(whole)
    assert all(validated.shape == (3, 2, 4, 4) for _, _, (_, validated) in found)
