"""The network of one genotype, trained from scratch in the end.

Source: quark0/darts, cnn/model.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from halfnas.networks.macro import MacroNetwork
from halfnas.spaces import NONE, CellKind, CellPlan, Gene, Genotype, SearchSpace


class DiscreteCell(nn.Module):
    """A cell with one operation on each chosen edge. Drop path acts on every operation but the identity and `none`.

    `none` is a module like the others, so that what stands before it gets a gradient, zero, in every genotype.
    """

    def __init__(
        self, space: SearchSpace, plan: CellPlan, kind: CellKind, genes: Sequence[Gene], output: Sequence[int]
    ) -> None:
        super().__init__()
        self.output = tuple(output)
        self.preprocess = nn.ModuleList(plan.preprocess)
        self.operations = nn.ModuleList()
        self.drop_paths = nn.ModuleList()
        self.sources = [source for _, source in genes]
        self.genes_per_node = [kind.genes_into(node) for node in kind.nodes]
        targets = [node for node in kind.nodes for _ in range(kind.genes_into(node))]
        for (name, source), target in zip(genes, targets, strict=True):
            edge = next(e for e in kind.edges_into(target) if kind.edges[e].source == source)
            operation = space.operation(name, plan.channels, plan.strides[edge], search=False)
            kept = isinstance(operation, nn.Identity) or name == NONE
            self.operations.append(operation)
            self.drop_paths.append(nn.Identity() if kept else StochasticDepth(0.0, mode="row"))

    def forward(self, *inputs: Tensor) -> Tensor:
        states = [preprocess(x) for preprocess, x in zip(self.preprocess, inputs, strict=True)]
        genes = iter(zip(self.operations, self.drop_paths, self.sources, strict=True))
        for count in self.genes_per_node:
            node = []
            for _ in range(count):
                operation, drop_path, source = next(genes)
                node.append(drop_path(operation(states[source])))
            states.append(sum(node))
        return torch.cat([states[i] for i in self.output], dim=1)


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

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes]."""
        return self._run(images, auxiliary=False)[0]

    def forward_with_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and those of the auxiliary head, None where there is none."""
        return self._run(images, auxiliary=True)

    def _run(self, images: Tensor, *, auxiliary: bool) -> tuple[Tensor, Tensor | None]:
        auxiliary_logits = None
        states = self.stem(images)
        for index, layer in enumerate(self.layers):
            inputs = states if self.layer_kinds[index] is not None else states[-1:]
            states = (*states[1:], layer(*inputs))
            if auxiliary and self.auxiliary_head is not None and index == self.auxiliary_layer:
                auxiliary_logits = self.auxiliary_head(states[-1])
        return self.head(states[-1]), auxiliary_logits

    def set_drop_path(self, probability: float) -> None:
        """Probability with which an operation's output is dropped for a sample, in training mode."""
        for module in self.modules():
            if isinstance(module, StochasticDepth):
                module.p = probability

    def num_parameters(self) -> int:
        """Parameters of the network that is deployed: without the auxiliary head."""
        head = 0 if self.auxiliary_head is None else sum(p.numel() for p in self.auxiliary_head.parameters())
        return sum(p.numel() for p in self.parameters()) - head
