"""Every space of conf/space, made narrow, on every engine: one function, one search, one discrete network."""

import logging

import pytest
import torch
from torch.nn import functional as F

from halfnas import build_supernet
from halfnas.networks import DiscreteNetwork
from halfnas.networks.fused.cell import FusedCell
from halfnas.search import BilevelStep, Softmax
from halfnas.spaces import EdgePlan, Mask, MobileNetSpace, load_space
from halfnas.training import adam, sgd
from recorded import give_weights

CELLS = {"init_channels": 4, "num_cells": 3}
CLASSES = {"num_classes": 4, "in_channels": 1}
SPACES = {
    **{name: load_space(name, **CELLS, **CLASSES) for name in ("s1", "s2", "s3")},
    "nasbench_macro": load_space("nasbench_macro", width_multiplier=0.25, **CLASSES),
    "mobilenet": MobileNetSpace(
        "mobilenet", stem_channels=8, stem_stride=1, first_channels=8, widths=(8, 16), depths=(3, 2), strides=(1, 2),
        features=16, width_multiplier=1, **CLASSES,
    ),
}  # fmt: skip


def batch(seed):
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 1, 9, 9, generator=source, dtype=torch.float64)
    return images, torch.randint(4, (4,), generator=source)


def make_step(supernet):
    weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
    architecture = adam(supernet.architecture_parameters(), learning_rate=6e-3, betas=(0.5, 0.999), weight_decay=1e-3)
    return BilevelStep(supernet, weights, architecture, gradient_clip=0.5, relaxation=Softmax())


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("recompute", ["none", "nodes", "cells"])
@pytest.mark.parametrize("name", SPACES)
def test_engines_search_alike(name, recompute, ratio):
    space = SPACES[name]
    mask = Mask.random(space, ratio, seed=1)
    supernets = [build_supernet(space, mask), build_supernet(space, mask, engine="fused", recompute=recompute)]
    for supernet in supernets:
        give_weights(supernet.double().train())
        step = make_step(supernet)
        for number in range(2):
            step(*batch(number), *batch(10 + number))
    for key, wanted in supernets[0].state_dict().items():
        torch.testing.assert_close(supernets[1].state_dict()[key], wanted, rtol=1e-8, atol=1e-10, msg=key)
    genotype = supernets[0].genotype()
    assert supernets[1].genotype() == genotype
    network = DiscreteNetwork(space, genotype).double()
    F.cross_entropy(network(batch(0)[0]), batch(0)[1]).backward()


def test_layers_that_change_the_shape_run_plain_and_that_is_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        supernet = build_supernet(SPACES["nasbench_macro"], engine="fused")
    plain = [number for number, layer in enumerate(supernet.layers) if not isinstance(layer, FusedCell)]
    assert plain == [0, 2, 5]
    assert [record.getMessage() for record in caplog.records] == [
        "3 of 8 cells run on the plain engine: their edges change channels or resolution"
    ]


def test_a_stem_of_stride_two():
    space = MobileNetSpace(
        "mobilenet", stem_channels=8, stem_stride=2, first_channels=8, widths=(8,), depths=(1,), strides=(2,),
        features=16, width_multiplier=1.0, **CLASSES,
    )  # fmt: skip
    assert space.layers == (EdgePlan(8, 8, 2),)
    (state,) = space.skeleton(search=True).stem(torch.randn(2, 1, 9, 9))
    assert state.shape == (2, 8, 5, 5)
    assert build_supernet(space)(torch.randn(2, 1, 9, 9)).shape == (2, 4)
