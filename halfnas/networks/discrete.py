"""The network of one genotype, trained from scratch in the end.

Source: quark0/darts, cnn/model.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from halfnas.networks.macro import MacroNetwork
from halfnas.spaces import NONE, CellKind, CellPlan, Gene, Genotype, SearchSpace
from halfnas.spaces.inverted_residual import Residual


class DiscreteCell(nn.Module):
    """A cell with one operation on each chosen edge.

    Drop path acts on every operation but the identity and `none`, and of a `Residual` on its branch. An operation that
    is alone in its cell, as in a chain of layers, is only dropped where it is a residual: without it nothing is left.

    `none` is a module like the others, so that what stands before it gets a gradient, zero, in every genotype.

    Attributes:
        sources: the state that every operation reads.
        genes_of_node: for every node the numbers of the operations that are added up in it.
        paths: for every operation its row in the factors of drop path, None where it is never dropped.
        num_paths: how many operations can be dropped.
    """

    def __init__(
        self, space: SearchSpace, plan: CellPlan, kind: CellKind, genes: Sequence[Gene], output: Sequence[int]
    ) -> None:
        super().__init__()
        self.output = tuple(output)
        self.preprocess = nn.ModuleList(plan.preprocess)
        self.operations = nn.ModuleList()
        self.paths: list[int | None] = []
        self.num_paths = 0
        self.sources = [source for _, source in genes]
        edges = kind.edges_of(genes)
        self.genes_of_node = [[g for g, e in enumerate(edges) if kind.edges[e].target == node] for node in kind.nodes]
        for (name, _), edge in zip(genes, edges, strict=True):
            operation = space.operation(name, plan.edges[edge], search=False)
            kept = isinstance(operation, nn.Identity) or name == NONE
            kept = kept or (len(genes) == 1 and not isinstance(operation, Residual))
            self.operations.append(operation)
            self.paths.append(None if kept else self.num_paths)
            self.num_paths += not kept

    def forward(self, *inputs: Tensor, drop_path: Tensor | None = None) -> Tensor:
        """The last outputs of the network -> the output of the cell.

        Args:
            drop_path: what the outputs of operations are multiplied by, [num_paths, B]; None drops none.
        """
        states = [preprocess(x) for preprocess, x in zip(self.preprocess, inputs, strict=True)]
        for genes in self.genes_of_node:
            states.append(sum(self._output(gene, states, drop_path) for gene in genes))
        return torch.cat([states[i] for i in self.output], dim=1)

    def _output(self, gene: int, states: Sequence[Tensor], drop_path: Tensor | None) -> Tensor:
        operation, x, path = self.operations[gene], states[self.sources[gene]], self.paths[gene]
        if drop_path is None or path is None:
            return operation(x)
        branch = operation.branch(x) if isinstance(operation, Residual) else operation(x)
        dropped = branch * drop_path[path][:, None, None, None].to(branch.dtype)
        return x + dropped if isinstance(operation, Residual) else dropped


class DiscreteNetwork(MacroNetwork):
    """One architecture. `network(images)` gives logits; training uses `forward_with_auxiliary`."""

    def __init__(self, space: SearchSpace, genotype: Genotype, *, auxiliary: bool = False) -> None:
        space.check_genotype(genotype)

        def make_cell(plan: CellPlan, kind: CellKind) -> nn.Module:
            output = genotype.outputs.get(plan.kind, kind.output)
            return DiscreteCell(space, plan, kind, genotype.cells[plan.kind], output)

        skeleton = space.skeleton(search=False, auxiliary=auxiliary, outputs=genotype.outputs)
        super().__init__(space, skeleton, make_cell)
        self.genotype = genotype
        self.auxiliary_layer = skeleton.auxiliary_layer
        self.auxiliary_head = skeleton.auxiliary_head
        self.num_paths = sum(layer.num_paths for layer in self.layers if isinstance(layer, DiscreteCell))

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes]."""
        return self._run(images, auxiliary=False)[0]

    def forward_with_auxiliary(self, images: Tensor, drop_path: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits, and those of the auxiliary head, None where there is none.

        Args:
            drop_path: what the outputs of all operations that can be dropped are multiplied by, [num_paths, B]; None
                drops none.
        """
        return self._run(images, auxiliary=True, drop_path=drop_path)

    def _run(self, images: Tensor, *, auxiliary: bool, drop_path: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        auxiliary_logits = None
        states = self.stem(images)
        first_path = 0
        for index, layer in enumerate(self.layers):
            if isinstance(layer, DiscreteCell):
                paths = None if drop_path is None else drop_path[first_path : first_path + layer.num_paths]
                first_path += layer.num_paths
                output = layer(*states, drop_path=paths)
            else:
                output = layer(states[-1])
            states = (*states[1:], output)
            if auxiliary and self.auxiliary_head is not None and index == self.auxiliary_layer:
                auxiliary_logits = self.auxiliary_head(states[-1])
        return self.head(states[-1]), auxiliary_logits

    def num_parameters(self) -> int:
        """Parameters of the network that is deployed: without the auxiliary head."""
        head = 0 if self.auxiliary_head is None else sum(p.numel() for p in self.auxiliary_head.parameters())
        return sum(p.numel() for p in self.parameters()) - head
