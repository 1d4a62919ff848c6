"""The relaxation of DrNAS: the weights of an edge are drawn from a Dirichlet distribution, whose parameters are learnt.

Source: Chen, Wang, Cheng, Tang & Hsieh, DrNAS, ICLR 2021, arXiv 2006.10355; xiangning-chen/DrNAS f2caa4d:
DARTS-space/model_search.py, 201-space/search_model.py, utils.py, architect.py.

Shapes: R proposals, E edges of all kinds, O candidates of the edge that has most.
"""

from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.autograd.function import once_differentiable

from halfnas.networks import Mixing, Supernet
from halfnas.search.relaxations import Relaxation
from halfnas.search.rows import alpha_rows, cut_rows, rows_of_kinds, shape_of_rows

#: Proposals of which the first that is accepted becomes a gamma variate. Each is rejected with a probability below 0.05
#: (Marsaglia & Tsang, section 4), so that all of them are once in 10 ** 10 variates.
PROPOSALS = 8


class Dirichlet(Relaxation):
    """w ~ Dirichlet(elu(alpha) + 1) over the kept candidates of every edge.

    The gradient of w with respect to the concentrations is the implicit one that `torch.distributions` has (Jankowiak &
    Obermeyer, ICML 2018). What differs from it is how w is made: from noise of a fixed shape that was drawn on the CPU,
    without looking at values on the host, so that a step can be captured into a CUDA graph and a draw is the same on
    every device.
    """

    def draw(self, supernet: Supernet, generator: torch.Generator) -> Tensor:
        """R normal variates for every candidate, and R + 1 exponential ones, [2 R + 1, E, O], as exact as alpha."""
        shape = shape_of_rows(supernet)
        normal = torch.randn(PROPOSALS, *shape, generator=generator, dtype=torch.float64)
        exponential = torch.empty(PROPOSALS + 1, *shape, dtype=torch.float64).exponential_(generator=generator)
        return torch.cat([normal, exponential]).to(supernet.architecture_parameters()[0].dtype)

    def forward(self, supernet: Supernet, noise: Tensor | None = None) -> dict[str, Mixing]:
        """Kind of cell -> w; without noise the mean of the distribution."""
        concentration_EO, kept_EO = concentrations(supernet)
        if noise is None:
            weights_EO = concentration_EO / _total(concentration_EO, kept_EO)
        else:
            weights_EO = _Sample.apply(concentration_EO, kept_EO, noise)
        weights = cut_rows(supernet, weights_EO)
        return {
            kind: Mixing(weights[rows], supernet.edge_weights(kind)) for kind, rows in rows_of_kinds(supernet).items()
        }

    def validated(self, supernet: Supernet, noise: Tensor | None = None) -> dict[str, Mixing]:
        """Kind of cell -> w: the published code draws in validation as it does in training."""
        return self(supernet, noise)


class DirichletKL:
    """The divergence of what is learnt from the uniform distribution, the regulariser of the DrNAS paper.

        weight * sum over kinds of cell and edges of  KL(Dirichlet(elu(alpha) + 1) || Dirichlet(1))

    The published scripts have it as an option; their default is weight decay of alpha.

    Args:
        weight: its factor in all epochs.
    """

    def __init__(self, weight: NonNegativeFloat) -> None:
        self.weight = weight

    def weight_at(self, epoch: int, epochs: int) -> float:
        """The factor."""
        return self.weight

    def __call__(self, supernet: Supernet) -> Tensor:
        """The term without its factor."""
        c_EO, kept_EO = concentrations(supernet)
        total_E1 = _total(c_EO, kept_EO)
        terms_EO = (c_EO - 1) * (c_EO.digamma() - total_E1.digamma()) - c_EO.lgamma()  # 0 where c is filled up with 1
        return terms_EO.sum() + (total_E1.lgamma() - kept_EO.sum(dim=1, keepdim=True).to(c_EO).lgamma()).sum()


def concentrations(supernet: Supernet) -> tuple[Tensor, Tensor]:
    """elu(alpha) + 1, [E, O], filled up with 1, and which of them are candidates.

    Below 0 that is exp(alpha), which is computed as such: 1 and expm1(alpha) cancel.
    """
    alpha_EO = alpha_rows(supernet)
    kept_EO = alpha_EO != -torch.inf
    alpha_EO = alpha_EO.masked_fill(~kept_EO, 0.0)
    return torch.where(alpha_EO > 0, alpha_EO + 1, alpha_EO.clamp(max=0.0).exp()), kept_EO


def log_gamma_variates(concentration_EO: Tensor, noise: Tensor) -> Tensor:
    """Logarithms of variates from Gamma(concentration, 1), [E, O], by rejection from R normal ones.

    A variate from Gamma(c + 1) times U^(1/c) is one from Gamma(c), for any c; of its logarithm nothing underflows.
    Source: Marsaglia & Tsang, A Simple Method for Generating Gamma Variables, ACM TOMS 26(3), 2000.

    Args:
        noise: [2 R + 1, E, O], see `Dirichlet.draw`; an exponential variate is a -log U.
    """
    normal_REO, exponential_REO, boost_EO = noise[:PROPOSALS], noise[PROPOSALS:-1], noise[-1]
    d_EO = concentration_EO + (1 - 1 / 3)
    v_REO = (1 + normal_REO / (3 * d_EO.sqrt())) ** 3
    log_v_REO = v_REO.clamp_min(torch.finfo(v_REO.dtype).tiny).log()
    bound_REO = normal_REO.square() / 2 + d_EO * (1 - v_REO + log_v_REO)
    accepted_REO = (v_REO > 0) & (-exponential_REO < bound_REO)
    first_1EO = accepted_REO.int().argmax(dim=0, keepdim=True)
    log_v_EO = log_v_REO.gather(0, first_1EO)[0].masked_fill(~accepted_REO.any(dim=0), 0.0)  # else near the mode
    return d_EO.log() + log_v_EO - boost_EO / concentration_EO


class _Sample(torch.autograd.Function):
    """The weights of a draw, with the gradient of `torch.distributions.Dirichlet.rsample`."""

    @staticmethod
    def forward(ctx: Any, concentration_EO: Tensor, kept_EO: Tensor, noise: Tensor) -> Tensor:
        weights_EO = log_gamma_variates(concentration_EO, noise).masked_fill(~kept_EO, -torch.inf).softmax(dim=1)
        ctx.save_for_backward(weights_EO, concentration_EO, kept_EO)
        return weights_EO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_EO: Tensor) -> tuple[Tensor, None, None]:
        weights_EO, concentration_EO, kept_EO = ctx.saved_tensors
        total_EO = _total(concentration_EO, kept_EO).expand_as(concentration_EO)
        along_EO = torch._dirichlet_grad(weights_EO, concentration_EO, total_EO)
        return along_EO * (gradient_EO - (weights_EO * gradient_EO).sum(dim=1, keepdim=True)), None, None


def _total(concentration_EO: Tensor, kept_EO: Tensor) -> Tensor:
    return concentration_EO.masked_fill(~kept_EO, 0.0).sum(dim=1, keepdim=True)
