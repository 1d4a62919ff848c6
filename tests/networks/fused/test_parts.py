import weakref

import torch

from halfnas.networks.fused.parts import Accumulator, concatenated, grouped, repeated, summed, take, without_gaps


def test_one_part_alone_is_not_copied():
    x = torch.randn(2, 3, 4, 4)
    assert concatenated([x]) is x
    assert torch.equal(concatenated([x, x]), repeated(x, 2))


def test_repeated_and_summed():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(summed(repeated(x, 4), 3), 4 * x)
    assert repeated(x, 1) is x
    assert summed(x, 3) is x


def test_without_gaps():
    x = torch.randn(2, 8, 4, 4)
    assert without_gaps(x[:, ::2]).is_contiguous()
    last = x.contiguous(memory_format=torch.channels_last)
    assert without_gaps(last[:, :4]).is_contiguous(memory_format=torch.channels_last)
    assert without_gaps(last[:, ::2]).is_contiguous()  # its channels do not lie side by side
    assert torch.equal(without_gaps(last[:, ::2]), x[:, ::2])


def test_grouped():
    assert grouped("abcdef", [2, 0, 3]) == [["a", "b"], [], ["c", "d", "e"]]
    assert grouped([], []) == []


def test_what_is_taken_is_let_go():
    parts = [torch.zeros(1), torch.ones(1)]
    taken = weakref.ref(take(parts, 0))
    assert taken() is None
    assert parts == [None, torch.ones(1)]


def test_accumulator():
    whole, first, last = torch.randn(2, 4, 3, 3), torch.randn(2, 1, 3, 3), torch.randn(2, 3, 3, 3)
    added = Accumulator(4)
    assert added.total() is None
    added.add(1, last)
    assert torch.equal(added.total(), torch.cat([torch.zeros_like(first), last], dim=1))
    added.add(0, first.clone())
    added.add(0, first)
    assert torch.equal(added.total(), torch.cat([2 * first, last], dim=1))
    added = Accumulator(4)
    added.add(0, whole.clone())
    added.add(0, first)
    assert torch.equal(added.total(), whole + torch.cat([first, torch.zeros_like(last)], dim=1))
    added = Accumulator(4)
    added.add(0, first)
    assert torch.equal(added.total(), torch.cat([first, torch.zeros_like(last)], dim=1))
