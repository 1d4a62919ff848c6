import numpy as np
import pytest
import torch
from torch import nn

from halfnas.pruning import Batch, Sample, ScoringNetwork
from halfnas.pruning.rankers import LinearRegions


def regions(num_patches=200, patch_size=1, spread=1.0):
    return LinearRegions(1.0, 1, num_patches=num_patches, patch_size=patch_size, spread=spread)


def thresholds(*values):
    """A network whose ReLUs switch at these values of one number."""
    layer = nn.Linear(1, len(values))
    layer.weight, layer.bias = nn.Parameter(torch.ones(len(values), 1)), nn.Parameter(-torch.tensor(values))
    return ScoringNetwork(nn.Sequential(nn.Flatten(), layer.double(), nn.ReLU()))


def numbers(*values):
    return Sample([Batch(torch.tensor(values).double()[:, None, None, None], None)])


def test_on_a_line():
    # -1 | 0.5 | 2, 2.5 | 9: the ReLUs that switch at 0, 1 and 5 see four regions of the five numbers.
    sample = numbers(-1.0, 0.5, 2.0, 2.5, 9.0)
    assert regions()(thresholds(0.0, 1.0, 5.0), sample).item() == pytest.approx(4, abs=1e-9)
    assert regions()(thresholds(0.0, 5.0), sample).item() == pytest.approx(3, abs=1e-9)
    assert regions()(thresholds(100.0), sample).item() == pytest.approx(1, abs=1e-9)


def test_patches_are_drawn_together_towards_the_first():
    sample = numbers(-1.0, 0.5, 2.0, 2.5, 9.0)
    first = regions()._patches(sample)[0].item()
    near = [first + 0.1 * (x - first) for x in (-1.0, 0.5, 2.0, 2.5, 9.0)]
    cuts = [(near[0] + near[1]) / 2, (near[3] + near[4]) / 2]  # a region below, one between and one above
    assert regions(spread=0.1)(thresholds(*cuts), sample).item() == pytest.approx(3, abs=1e-9)
    assert regions(spread=0.0)(thresholds(*cuts), sample).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("spread", [1.0, 0.3, 0.05])
def test_against_a_count_of_different_codes(network, sample, frozen, spread):
    ranker = regions(num_patches=60, patch_size=3, spread=spread)
    patches = ranker._patches(sample)
    near = patches[0] + spread * (patches - patches[0])
    module, inputs = frozen(network.module, patches), []
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.register_forward_pre_hook(lambda part, args: inputs.append(args[0].flatten(1).numpy()))
    module(near)
    expected = len(np.unique(np.concatenate(inputs, axis=1) > 0, axis=0))
    found = ranker(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, abs=1e-9)
    if spread < 1:
        assert 1 < expected < 60


def test_patches_are_parts_of_the_images():
    images = torch.arange(3 * 2 * 5 * 7, dtype=torch.float64).view(3, 2, 5, 7)
    sample = Sample([Batch(images[:2], None), Batch(images[2:], None)])
    patches = regions(num_patches=500, patch_size=3)._patches(sample)
    assert patches.shape == (500, 2, 3, 3)
    found = set()
    for patch in patches:
        i, _, y, x = np.unravel_index(int(patch[0, 0, 0]), images.shape)
        assert patch.equal(images[i, :, y : y + 3, x : x + 3])
        found.add((int(i), int(y), int(x)))
    assert found == {(i, y, x) for i in range(3) for y in range(3) for x in range(5)}  # every place, the last ones too


def test_patches_depend_on_the_seed_alone():
    images = torch.randn(3, 2, 8, 8)
    samples = [Sample([Batch(images, None)], seed) for seed in (4, 4, 5)]
    first, again, other = (regions(patch_size=3)._patches(sample) for sample in samples)
    assert first.equal(again)
    assert not first.equal(other)


def test_patches_fit_into_the_images(network, sample):
    assert regions(num_patches=5, patch_size=6)(network, sample).item() > 0
    with pytest.raises(ValueError, match="`patch_size` must not exceed the sides of the images, 6x6, got 7"):
        regions(patch_size=7)(network, sample)
