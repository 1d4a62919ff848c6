import pytest
import torch
from torch import nn

from halfnas.spaces import CellPlan, DartsSpace
from halfnas.spaces.operations import FactorizedReduce, ReLUConvBN

# quark0/darts, cnn/genotypes.py: this order decides ties and published alphas.
CANDIDATES = (
    "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3",
    "dil_conv_5x5",
)  # fmt: skip


def small_space(**changes):
    return DartsSpace(**{"init_channels": 4, "num_cells": 3, **changes})


@pytest.mark.parametrize("kind", ["normal", "reduce"])
def test_topology(kind):
    cell = small_space().kinds[kind]
    pairs = [(edge.source, edge.target) for edge in cell.edges]
    assert pairs == [
        (0, 2), (1, 2),
        (0, 3), (1, 3), (2, 3),
        (0, 4), (1, 4), (2, 4), (3, 4),
        (0, 5), (1, 5), (2, 5), (3, 5), (4, 5),
    ]  # fmt: skip
    assert {edge.candidates for edge in cell.edges} == {CANDIDATES}
    assert small_space().candidates(kind) == (CANDIDATES,) * 14
    assert cell.num_inputs == 2
    assert cell.nodes == (2, 3, 4, 5)
    assert cell.output == (2, 3, 4, 5)
    assert [cell.edges_into(node) for node in cell.nodes] == [
        (0, 1), (2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12, 13),
    ]  # fmt: skip
    assert [cell.genes_into(node) for node in cell.nodes] == [2, 2, 2, 2]


def test_kinds_are_normal_and_reduce():
    assert list(small_space().kinds) == ["normal", "reduce"]
    assert small_space().name == "darts"


# quark0/darts, cnn/model_search.py and model.py: 8 layers: 2 and 5; 20 layers: 6 and 13; 14 layers: 4 and 9.
@pytest.mark.parametrize(
    ("num_cells", "reductions"),
    [(3, (1, 2)), (4, (1, 2)), (5, (1, 3)), (6, (2, 4)), (8, (2, 5)), (14, (4, 9)), (20, (6, 13))],
)
def test_reductions(num_cells, reductions):
    space = small_space(num_cells=num_cells)
    plans = space.skeleton(search=True).layers
    assert space.reductions == reductions
    assert [plan.kind for plan in plans] == ["reduce" if i in reductions else "normal" for i in range(num_cells)]


def test_skeleton_of_eight_cells():
    skeleton = small_space(num_cells=8, num_classes=7).skeleton(search=True)
    plans = skeleton.layers
    assert all(isinstance(plan, CellPlan) for plan in plans)
    assert [plan.edges[0].channels for plan in plans] == [4, 4, 8, 8, 8, 16, 16, 16]
    from_inputs = (1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0)
    for plan in plans:
        assert tuple(edge.stride for edge in plan.edges) == (
            tuple(1 + e for e in from_inputs) if plan.kind == "reduce" else (1,) * 14
        )
    # only the cell right after a reduction brings its older input to half the resolution
    first = [type(plan.preprocess[0]) for plan in plans]
    assert [i for i, kind in enumerate(first) if kind is FactorizedReduce] == [3, 6]
    assert {type(plan.preprocess[1]) for plan in plans} == {ReLUConvBN}
    assert skeleton.auxiliary_layer == 5
    assert skeleton.auxiliary_head is None

    first_states = skeleton.stem(torch.randn(2, 3, 8, 8))
    assert [tuple(state.shape) for state in first_states] == [(2, 12, 8, 8)] * 2
    assert first_states[0] is first_states[1]
    assert skeleton.head(torch.randn(2, 64, 2, 2)).shape == (2, 7)


@pytest.mark.parametrize("search", [True, False])
def test_batch_norms_of_the_skeleton(search):
    skeleton = small_space(num_cells=4).skeleton(search=search)
    assert skeleton.stem.bn.affine  # even in search, as in quark0/darts
    norms = [
        module
        for plan in skeleton.layers
        for preprocess in plan.preprocess
        for module in preprocess.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert len(norms) == 8
    assert {norm.affine for norm in norms} == {not search}


def test_in_channels():
    stem = small_space(in_channels=1).skeleton(search=True).stem
    assert stem(torch.randn(2, 1, 8, 8))[0].shape == (2, 12, 8, 8)


def test_auxiliary_head_is_made_for_8x8_features():
    space = small_space(num_classes=7)
    assert space.skeleton(search=False).auxiliary_head is None
    head = space.skeleton(search=False, auxiliary=True).auxiliary_head
    channels = 4 * 16  # four states of 4C
    assert head(torch.randn(2, channels, 8, 8)).shape == (2, 7)


def test_auxiliary_head_reads_what_the_genotype_concatenates():
    skeleton = small_space().skeleton(search=False, auxiliary=True, outputs={"reduce": (4, 5)})
    assert skeleton.auxiliary_head(torch.randn(2, 2 * 16, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_cells": 2}, "`num_cells` must be at least 3, got 2: fewer leave no normal cell"),
        ({"num_cells": 0}, "`num_cells` must be at least 3, got 0"),
        ({"init_channels": 0}, "`init_channels` must be positive, got 0"),
        ({"stem": "imagenette"}, "`stem` must be one of cifar.*, got 'imagenette'"),
    ],
)
def test_refused_sizes(changes, message):
    with pytest.raises(ValueError, match=message):
        small_space(**changes)


def test_smallest_images():
    space = small_space()
    space.check_images(4)
    with pytest.raises(ValueError, match="images of 3x3 are too small: 2 reductions need at least 4x4; use a dataset"):
        space.check_images(3)


def test_smallest_images_for_the_auxiliary_head():
    space = small_space()
    space.check_images(29, auxiliary=True)
    with pytest.raises(ValueError, match=r"needs 8x8 features.*28x28 give 7x7; switch it off"):
        space.check_images(28, auxiliary=True)
    space.check_images(28)


@pytest.mark.parametrize("partial_channels", [1, 2, 3, 4, 6, 12])
def test_partial_channels_that_divide(partial_channels):
    small_space(init_channels=12).check_partial_channels(partial_channels)


@pytest.mark.parametrize("partial_channels", [0, -4, 5, 8, 24])
def test_partial_channels_that_do_not_divide(partial_channels):
    message = f"`partial_channels` must divide `init_channels`: 12 is no multiple of {partial_channels}; possible: 1, 2"
    with pytest.raises(ValueError, match=message):
        small_space(init_channels=12).check_partial_channels(partial_channels)
