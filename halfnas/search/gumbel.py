"""The relaxation of GDAS: one candidate an edge, drawn anew in every pass, with a gradient for all of them.

Source: Dong & Yang, Searching for a Robust Neural Architecture in Four GPU Hours, CVPR 2019; D-X-Y/AutoDL-Projects
f46486e: xautodl/models/cell_searchs, search_cells.py and search_model_gdas.py; exps/NAS-Bench-201-algos/GDAS.py.
"""

from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from halfnas.networks import Mixing, Supernet
from halfnas.search.relaxations import Relaxation
from halfnas.search.rows import alpha_rows, cut_rows, rows_of_kinds, shape_of_rows


class HardGumbel(Relaxation):
    """Of every edge the candidate that a Gumbel softmax ranks first; nothing else of the edge is computed.

        p = softmax((log softmax(alpha) + g) / tau), g from Gumbel(0, 1)
        w = onehot(argmax p) - [p] + p, where [p] has no gradient

    w is 1 for the candidate that is picked and 0 for the others, and has the gradient of p. tau falls from the first to
    the last epoch on a line.

    The published cells of NAS-Bench-201 add the weights of the candidates that were not picked to what an edge gives: 0
    in value, so that its derivative by w of the picked one is o(x) - 1. Those of the DARTS space do not, and neither
    does the variant `forward_gdas_v1`.

    Ours is double noise from the CPU, without the loop that draws again what is not finite: it always is.

    Args:
        temperature: tau in the first epoch.
        temperature_min: tau in the last one.
        add_others: add the weights of the others, as the published cells of NAS-Bench-201.

    Attributes:
        temperature: the present tau.
    """

    captures = False  # which candidates run is decided on the host

    temperature: Tensor

    def __init__(
        self,
        temperature: Annotated[float, Field(gt=0, description="logits are divided by it")],
        temperature_min: PositiveFloat,
        add_others: bool,
    ) -> None:
        super().__init__()
        self._first, self._last = temperature, temperature_min
        self.add_others = add_others
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set tau. A search of one epoch has that of the first, where the published formula divides by 0."""
        self.temperature.fill_(self._first - (self._first - self._last) * epoch / max(epochs - 1, 1))

    def draw(self, supernet: Supernet, generator: torch.Generator) -> Tensor:
        """The g of all candidates, [E, O], float64."""
        exponential_EO = torch.empty(shape_of_rows(supernet), dtype=torch.float64).exponential_(generator=generator)
        return -exponential_EO.clamp_min(torch.finfo(torch.float64).tiny).log()

    def forward(self, supernet: Supernet, noise: Tensor | None = None) -> dict[str, Mixing]:
        """Kind of cell -> w, and what is picked; without noise what alpha prefers, see `validated`."""
        alpha_EO = alpha_rows(supernet)
        gumbel_EO = torch.zeros_like(alpha_EO) if noise is None else noise.to(alpha_EO)
        soft_EO = ((alpha_EO.log_softmax(dim=1) + gumbel_EO) / self.temperature).softmax(dim=1)
        picked_E = soft_EO.argmax(dim=1)
        one_hot_EO = torch.zeros_like(soft_EO).scatter(1, picked_E[:, None], 1.0)
        weights_EO = one_hot_EO - soft_EO.detach() + soft_EO
        others_E = ((1 - one_hot_EO) * weights_EO).sum(dim=1) if self.add_others else None
        return _paths(supernet, weights_EO, picked_E, others_E)

    @torch.no_grad()
    def validated(self, supernet: Supernet, noise: Tensor | None = None) -> dict[str, Mixing]:
        """Kind of cell -> the candidate with the largest alpha on every edge, at weight 1; noise does not matter.

        The published code validates nothing but what it drew in the architecture step.
        """
        alpha_EO = alpha_rows(supernet)
        picked_E = alpha_EO.argmax(dim=1)
        return _paths(supernet, torch.zeros_like(alpha_EO).scatter(1, picked_E[:, None], 1.0), picked_E, None)


def _paths(supernet: Supernet, weights_EO: Tensor, picked_E: Tensor, others_E: Tensor | None) -> dict[str, Mixing]:
    picked = tuple((o,) for o in picked_E.tolist())  # waits for the device, once for all kinds
    weights = cut_rows(supernet, weights_EO)
    return {
        kind: Mixing(
            weights[rows], supernet.edge_weights(kind), picked[rows], None if others_E is None else others_E[rows]
        )
        for kind, rows in rows_of_kinds(supernet).items()
    }
