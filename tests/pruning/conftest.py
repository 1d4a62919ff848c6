"""Small networks to rate, in float64, and what they are rated on."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.func import replace_all_batch_norm_modules_

from halfnas.networks import DiscreteNetwork, build_supernet
from halfnas.pruning import Batch, Sample, ScoringNetwork
from halfnas.spaces import Mask
from halfnas.spaces.nasbench201 import NASBench201Space, from_architecture_string

ARCHITECTURE = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
CANDIDATES = (
    ("none", "nor_conv_1x1", "nor_conv_3x3"), ("skip_connect",), ("nor_conv_3x3", "avg_pool_3x3"), ("nor_conv_1x1",),
    ("skip_connect", "nor_conv_3x3"), ("avg_pool_3x3",),
)  # fmt: skip


@pytest.fixture
def sample() -> Sample:
    """Two batches of four images, of four classes."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 4, 3, 6, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (2, 4), generator=generator)
    return Sample([Batch(*pair) for pair in zip(images, labels, strict=True)], seed=3)


@pytest.fixture
def unlabelled(sample: Sample) -> Sample:
    """The same without labels."""
    return Sample([batch._replace(labels=None) for batch in sample.batches])


@pytest.fixture
def single(sample: Sample) -> Sample:
    """One image."""
    return Sample([Batch(sample.images[:1], sample.labels[:1])])


@pytest.fixture(params=["discrete", "supernet"])
def network(request: pytest.FixtureRequest) -> ScoringNetwork:
    """NAS-Bench-201 with two channels; all parameters are random, those of batch norms too."""
    space = NASBench201Space(init_channels=2, num_cells=3, num_classes=4)
    alpha: dict[str, list[Tensor]] = {}
    module: nn.Module
    if request.param == "discrete":
        module = DiscreteNetwork(space, from_architecture_string(ARCHITECTURE))
    else:
        module = build_supernet(space, Mask(space.name, {"cell": CANDIDATES}))
        alpha = {"cell": [torch.zeros(len(names), dtype=torch.float64) for names in CANDIDATES]}
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.startswith("alpha."):
                parameter.zero_()
            else:
                parameter.normal_(mean=0.2, std=0.7, generator=generator)
    replace_all_batch_norm_modules_(module)
    return ScoringNetwork(module.double().train().requires_grad_(False), alpha)


@pytest.fixture
def weights(network: ScoringNetwork) -> list[nn.Parameter]:
    """Of convolutions and linear layers, for torch.autograd."""
    parts = [part for part in network.module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    return [part.weight.requires_grad_() for part in parts]


@pytest.fixture
def linear() -> Callable[..., ScoringNetwork]:
    """linear(W, ...): a chain of linear layers with these weights, a ReLU between two of them."""

    def make(*matrices: list[list[float]]) -> ScoringNetwork:
        layers: list[nn.Module] = [nn.Flatten()]
        for rows in matrices:
            weight = torch.tensor(rows, dtype=torch.float64)
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            layer.weight = nn.Parameter(weight)
            layers += [layer, nn.ReLU()]
        return ScoringNetwork(nn.Sequential(*layers[:-1]))

    return make


@pytest.fixture
def vectors() -> Callable[..., Sample]:
    """vectors(X, labels): a batch of images of 1x1 with these channels."""

    def make(rows: list[list[float]], labels: list[int] | None = None) -> Sample:
        images = torch.tensor(rows, dtype=torch.float64)[:, :, None, None]
        return Sample([Batch(images, None if labels is None else torch.tensor(labels))])

    return make


@pytest.fixture
def frozen() -> Callable[[nn.Module, Tensor], nn.Module]:
    """frozen(module, images): a copy whose batch norms are in evaluation mode, with what they see of these images."""

    def make(module: nn.Module, images: Tensor) -> nn.Module:
        copy = deepcopy(module)
        norms = [part for part in copy.modules() if isinstance(part, nn.BatchNorm2d)]
        seen: dict[nn.Module, Tensor] = {}
        hooks = [norm.register_forward_pre_hook(lambda part, inputs: seen.update({part: inputs[0]})) for norm in norms]
        with torch.no_grad():
            copy(images)
        for norm, hook in zip(norms, hooks, strict=True):
            hook.remove()
            columns = seen[norm].transpose(0, 1).flatten(1)
            norm.running_mean, norm.running_var = columns.mean(1), columns.var(1, unbiased=False)
            norm.track_running_stats = True
            norm.eval()
        return copy

    return make
