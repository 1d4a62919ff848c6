"""Every kind of space is halved: by chance, by kernels, by counting and by flow, exactly and to first order."""

import pytest
import torch

from halfnas.pruning import Batch, ImportancePruner, RandomPruner
from halfnas.pruning.rankers import NNGPFrobenius, ParameterCount, SynFlow
from halfnas.spaces import MobileNetSpace, load_space, num_kept

CELLS = {"init_channels": 2, "num_cells": 3}
SPACES = {
    **{name: load_space(name, **CELLS) for name in ("s1", "s3", "s4")},
    "nasbench_macro": load_space("nasbench_macro", width_multiplier=0.25),
    "mobilenet": MobileNetSpace(
        "mobilenet", stem_channels=8, stem_stride=1, first_channels=8, widths=(8, 16), depths=(2, 1), strides=(1, 2),
        features=16, width_multiplier=1.0,
    ),
}  # fmt: skip


def pruned(space, ranker, importance):
    if ranker is None:
        pruner = RandomPruner()
        pruner.begin(space, space, ratio=0.5, seed=0)
        return pruner.mask
    pruner = ImportancePruner(
        "toy", {"toy": ranker()}, importance=importance, combine="sum", rounds=1, scope="edge", aggregate="mean",
        repeats=1, max_repeats=1, stability=0.9, network={}, image_size=None, num_batches=1, batch_size=4,
        candidates_per_call=16,
    )  # fmt: skip
    pruner.begin(space, space, ratio=0.5, seed=0)
    source = torch.Generator().manual_seed(0)
    pruner.step([Batch(torch.randn(4, 3, 8, 8, generator=source), torch.randint(4, (4,), generator=source))])
    return pruner.mask


@pytest.mark.parametrize(
    ("ranker", "importance"),
    [
        (None, "exact"),
        (NNGPFrobenius, "exact"),
        (NNGPFrobenius, "taylor"),
        (ParameterCount, "taylor"),
        (SynFlow, "exact"),
        (SynFlow, "taylor"),
    ],
)
@pytest.mark.parametrize("name", SPACES)
def test_half_of_every_edge_is_kept(name, ranker, importance):
    space = SPACES[name]
    mask = pruned(space, ranker, importance)
    mask.check(space)
    for kind in space.kinds:
        for names, kept in zip(space.candidates(kind), mask.kept[kind], strict=True):
            assert len(kept) == num_kept(0.5, len(names))
            if ranker is ParameterCount and name == "nasbench_macro":
                assert kept == ("mbconv_3x3_e3", "mbconv_5x5_e6")  # the identity has the fewest


@pytest.mark.parametrize("importance", ["exact", "taylor"])
def test_every_score_is_of_its_candidate(importance):
    """In a chain of more than nine layers too, whose edges differ in their candidates."""
    space = MobileNetSpace(
        "mobilenet", stem_channels=8, stem_stride=1, first_channels=8, widths=(8, 16), depths=(6, 6), strides=(1, 1),
        features=16, width_multiplier=1.0,
    )  # fmt: skip
    scores = pruned(space, ParameterCount, importance).importance
    counts = {
        kind: {name: sum(p.numel() for p in space.operation(name, layer, search=True).parameters()) for name in names}
        for (kind, edges), layer in zip(space.kinds.items(), space.layers, strict=True)
        for names in (edges.edges[0].candidates,)
    }
    assert len({len(names) for names in counts.values()}) == 2
    unit = scores["layer_1"][0]["mbconv_7x7_e6"] / counts["layer_1"]["mbconv_7x7_e6"]
    for kind, names in counts.items():
        assert scores[kind][0] == pytest.approx({name: unit * count for name, count in names.items()}, rel=1e-4)
