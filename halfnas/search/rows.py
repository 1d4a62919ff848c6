"""The edges of all kinds of cell as the rows of one matrix, so that a relaxation computes them together.

Shapes: E edges of all kinds, kind after kind; O candidates of the edge that has most. Edges with fewer are filled up.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from halfnas.networks import Supernet


def shape_of_rows(supernet: Supernet) -> tuple[int, int]:
    """(E, O)."""
    sizes = _sizes(supernet)
    return len(sizes), max(sizes)


def alpha_rows(supernet: Supernet) -> Tensor:
    """Alpha, [E, O], filled up with -inf: a softmax over a row is that over the candidates of the edge."""
    edges = [alpha_O for kind in supernet.alpha for alpha_O in supernet.edge_alphas(kind)]
    return pad_sequence(edges, batch_first=True, padding_value=-torch.inf)


def cut_rows(supernet: Supernet, weights_EO: Tensor) -> tuple[Tensor, ...]:
    """Of each row what belongs to candidates that are there: a vector an edge."""
    return tuple(row_O[:size] for row_O, size in zip(weights_EO.unbind(), _sizes(supernet), strict=True))


def rows_of_kinds(supernet: Supernet) -> dict[str, slice]:
    """Kind of cell -> which rows are its edges."""
    rows, begin = {}, 0
    for kind in supernet.alpha:
        end = begin + len(supernet.mask.kept[kind])
        rows[kind], begin = slice(begin, end), end
    return rows


def _sizes(supernet: Supernet) -> list[int]:
    return [len(names) for kind in supernet.alpha for names in supernet.mask.kept[kind]]
