"""Of the candidates of an edge only those run that a mixing picked, on every engine."""

import pytest
import torch

from halfnas.memory import peak_live_memory, saved_for_backward
from halfnas.networks import Mixing, build_supernet
from halfnas.spaces import DartsSpace, Mask
from recorded import give_weights

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
EDGES = tuple(
    ("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")
    if e % 3
    else ("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3")
    for e in range(14)
)
MASK = Mask("darts", {"normal": EDGES, "reduce": EDGES})
#: Of the four candidates of an edge, one, or two of which one may be `none`.
PICKED = tuple((e % 4,) if e % 3 else (0, 1 + e % 2 * 2) for e in range(14))
OPTIONS = [{"engine": e, "recompute": r} for e in ("plain", "fused") for r in ("none", "nodes", "cells")]


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def make_supernet(mask=MASK, **options):
    supernet = build_supernet(SPACE, mask, **options)
    give_weights(supernet.double().train())
    return supernet


def picking(supernet, picked):
    """The softmax over all, of which some are picked."""
    return {kind: mixing._replace(picked=picked) for kind, mixing in supernet.mixing().items()}


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options.values()))
@pytest.mark.parametrize("partial_channels", [1, 2])
def test_equals_a_supernet_of_the_picked_ones(options, partial_channels, images):
    """Given the same weights: there a mask leaves nothing else."""
    supernet = make_supernet(partial_channels=partial_channels, **options)
    kept = {
        kind: [tuple(edge[o] for o in sorted(picked)) for edge, picked in zip(edges, PICKED, strict=True)]
        for kind, edges in supernet.mask.kept.items()
    }
    small = make_supernet(Mask("darts", kept), partial_channels=partial_channels)
    small.load_state_dict({k: v for k, v in supernet.state_dict().items() if not k.startswith("alpha")}, strict=False)

    mixing = picking(supernet, PICKED)
    weights = {
        kind: Mixing(
            tuple(w[sorted(picked)].detach() for w, picked in zip(m.operations, PICKED, strict=True)),
            None if m.edges is None else m.edges.detach(),
        )
        for kind, m in mixing.items()
    }
    logits = supernet(images, mixing), small(images, weights)
    torch.testing.assert_close(*logits, rtol=1e-10, atol=1e-10)
    for output in logits:
        output.square().sum().backward()
    expected, buffers = dict(small.named_parameters()), dict(small.named_buffers())
    started = make_supernet(partial_channels=partial_channels, **options)
    untouched = 0
    for name, parameter in supernet.named_parameters():
        if name.startswith(("alpha", "beta")):
            continue
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-8, atol=1e-10, msg=name)
        else:
            untouched += 1
            assert parameter.grad is None, name
    assert untouched > 50
    for name, buffer in started.named_buffers():
        if "running" in name:
            value = buffers.get(name, buffer)
            torch.testing.assert_close(dict(supernet.named_buffers())[name], value, msg=name)


@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_picking_all_is_picking_nothing(engine, images):
    supernet = make_supernet(partial_channels=2, engine=engine)
    everything = picking(supernet, ((0, 1, 2, 3),) * 14)
    torch.testing.assert_close(supernet(images, everything), supernet(images), rtol=1e-10, atol=1e-12)


def test_offsets_are_added_to_the_channels_that_are_mixed(images):
    supernet = make_supernet(partial_channels=2)
    edge = supernet.layers[0].edges[2]
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    weights = torch.rand(4, dtype=torch.float64)
    plain, moved = edge(x, weights, (1,)), edge(x, weights, (1,), torch.tensor(0.5, dtype=torch.float64))
    torch.testing.assert_close(moved[:, 0::2], plain[:, 0::2] + 0.5)
    torch.testing.assert_close(moved[:, 1::2], plain[:, 1::2])


@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("partial_channels", [1, 2])
def test_bytes_are_those_of_the_picked_ones(engine, partial_channels):
    """What is kept for the backward pass, and the peak of live tensors, of one candidate of an edge and of four."""
    supernet = make_supernet(partial_channels=partial_channels).float()
    images = torch.randn(8, 1, 16, 16)
    mixing = {"all": None, "one": picking(supernet, ((2,),) * 14)}
    kept = {key: saved_for_backward(lambda m=m: supernet(images, m).sum(), supernet) for key, m in mixing.items()}
    peaks = {key: peak_live_memory(lambda m=m: supernet(images, m).sum().backward()) for key, m in mixing.items()}
    most = 0.45 if partial_channels == 1 else 0.6  # the channels that pass by are the same in both
    assert kept["one"] < most * kept["all"]
    assert peaks["one"] < most * peaks["all"]
