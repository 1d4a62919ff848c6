"""The scoring networks of ETENAS against plain functions of tensors, in float64."""

import pytest
import torch
from etenas_reference import REFERENCES, of_darts

from halfnas import load_space
from halfnas.networks import build_supernet
from halfnas.pruning import ScoringNetwork
from halfnas.pruning.etenas_network import ETENASSpace, network_for
from halfnas.spaces import Mask
from other_space import NarrowSpace, OtherSpace, UnevenSpace

SIZES = {"num_classes": 5, "in_channels": 3}


def built(space, mask, init_channels):
    """The supernet in float64 with random parameters, those of batch norms too, all candidates weighted alike."""
    torch.manual_seed(0)
    supernet = build_supernet(ETENASSpace(space, init_channels=init_channels, **SIZES), mask).double().train()
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if name.startswith("alpha."):
                parameter.zero_()
            else:
                parameter.normal_(mean=0.2, std=0.7)
    return supernet.requires_grad_(False)


@pytest.mark.parametrize("size", [8, 12])
@pytest.mark.parametrize("name", REFERENCES)
def test_logits_are_those_of_the_published_network(name, size):
    reference, init_channels = REFERENCES[name]
    space = load_space(name, init_channels=16, num_cells=15)
    kept = {kind: [names[1:] for names in space.candidates(kind)] for kind in space.kinds}
    images = torch.randn(4, 3, size, size, dtype=torch.float64)
    for _ in range(3):  # with ever fewer candidates
        supernet = built(space, Mask(space.name, kept), init_channels)
        expected = reference(dict(supernet.named_parameters()), images, kept)
        assert expected.shape == (4, 5)
        torch.testing.assert_close(supernet(images), expected, rtol=1e-10, atol=1e-10)
        kept = {kind: [names[e % 2 :][:-1] or names for e, names in enumerate(edges)] for kind, edges in kept.items()}


@pytest.mark.parametrize("name", REFERENCES)
def test_leaving_a_candidate_out_is_not_building_it(name):
    reference, init_channels = REFERENCES[name]
    space = load_space(name, init_channels=16, num_cells=15)
    mask = Mask(space.name, {kind: [names[1:] for names in space.candidates(kind)] for kind in space.kinds})
    supernet = built(space, mask, init_channels)
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    kind = list(space.kinds)[-1]
    alpha = {k: [torch.zeros(len(names), dtype=torch.float64) for names in edges] for k, edges in mask.kept.items()}
    alpha[kind][2][1] = -torch.inf
    found = ScoringNetwork(supernet, alpha)(images)
    expected = reference(dict(supernet.named_parameters()), images, mask.without(kind, 2, mask.kept[kind][2][1]).kept)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_odd_sizes_are_padded():
    space = load_space("darts", init_channels=16, num_cells=8)
    kept = {kind: [names[1:] for names in space.candidates(kind)] for kind in space.kinds}
    supernet = built(space, Mask(space.name, kept), 1)
    images = torch.randn(3, 3, 7, 7, dtype=torch.float64)
    expected = of_darts(dict(supernet.named_parameters()), images, kept)
    torch.testing.assert_close(supernet(images), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["darts", "s1", "s2", "s3", "s4"])
def test_cells_of_darts_are_rated_in_its_skeleton(name):
    assert network_for(load_space(name)) == "darts"
    assert network_for(NarrowSpace(init_channels=8, num_cells=8)) == "darts"


@pytest.mark.parametrize("space", [load_space("mobilenet"), load_space("nasbench_macro"), OtherSpace(), UnevenSpace()])
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match=f"has no network for the {space.name} space; use pruner=nngp_exact"):
        network_for(space)


def test_has_no_auxiliary_head():
    space = ETENASSpace(load_space("darts"), init_channels=1, **SIZES)
    with pytest.raises(ValueError, match="no auxiliary head"):
        space.skeleton(search=True, auxiliary=True)
