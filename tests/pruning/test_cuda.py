"""Scores on a GPU are those of the CPU, on the same weights and images, in float64."""

import copy

import pytest
import torch

from halfnas.pruning import Batch, ImportancePruner, Sample, ScoringNetwork, rankers
from halfnas.spaces import DartsSpace
from halfnas.spaces.nasbench201 import NASBench201Space

SETTINGS = {"LinearRegions": {"num_patches": 20, "patch_size": 3, "spread": 0.1}}
PRUNER = {
    "combine": "sum", "rounds": 2, "scope": "edge", "aggregate": "mean", "repeats": 1, "max_repeats": 1,
    "stability": 0.9, "network": {}, "image_size": None, "num_batches": 2, "batch_size": 4, "candidates_per_call": 8,
}  # fmt: skip


def make(name):
    return getattr(rankers, name)(weight=1.0, sign=1, **SETTINGS.get(name, {}))


def on_gpu(sample):
    return Sample([Batch(*(part.to("cuda") for part in batch)) for batch in sample.batches], sample.seed)


@pytest.mark.gpu
@pytest.mark.parametrize("name", rankers.__all__)
def test_ranking_functions(name, network, sample):
    moved = ScoringNetwork(
        copy.deepcopy(network.module).to("cuda"),
        {kind: [alpha.to("cuda") for alpha in edges] for kind, edges in network.alpha.items()},
    )
    expected, found = make(name)(network, sample), make(name)(moved, on_gpu(sample))
    assert found.device.type == "cuda"
    assert found.isfinite()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "importance", "space"),
    [
        ("NNGPFrobenius", "taylor", DartsSpace(init_channels=2, num_cells=3, num_classes=8)),
        ("NNGPFrobenius", "exact", NASBench201Space(init_channels=2, num_cells=3, num_classes=8)),
        ("NASWOT", "exact", NASBench201Space(init_channels=2, num_cells=3, num_classes=8)),
        ("ParameterCount", "exact", NASBench201Space(init_channels=2, num_cells=3, num_classes=8)),
        ("FLOPs", "taylor", NASBench201Space(init_channels=2, num_cells=3, num_classes=8)),
    ],
    ids=["nngp", "nngp-exact", "naswot", "params", "flops"],
)
def test_prunings(name, importance, space):
    masks = []
    for device in ("cpu", "cuda"):
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(2, 4, 3, 8, 8, generator=generator, dtype=torch.float64).to(device)
        labels = torch.randint(8, (2, 4), generator=generator).to(device)
        pruner = ImportancePruner("test", {"ranker": make(name)}, importance=importance, **PRUNER)
        pruner.begin(space, space, ratio=0.5, seed=0)
        figures = pruner.step([Batch(*pair) for pair in zip(images, labels, strict=True)])
        assert figures["ranker"] > 0
        masks.append(pruner.mask)
    on_cpu, on_cuda = masks
    assert on_cuda.kept == on_cpu.kept
    for kind, edges in on_cpu.importance.items():
        for found, expected in zip(on_cuda.importance[kind], edges, strict=True):
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
