"""What a search space is: kinds of cell, their edges with candidate operations, and the skeleton they sit in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfnas.runs.reading import quoted
from halfnas.spaces.published import is_published

if TYPE_CHECKING:
    from torch import nn

    from halfnas.spaces.genotype import Gene, Genotype

#: The candidate that carries no signal. It takes part in the softmax; `CellKind.choices` says where it may be chosen.
NONE = "none"


@dataclass(frozen=True)
class Edge:
    """One place of choice: state `source` feeds state `target` through one of `candidates`.

    The states of a cell are its inputs 0..num_inputs-1, then its nodes in order.
    """

    source: int
    target: int
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class CellKind:
    """The graph that all cells of one kind share, and with it their architecture parameters.

    Attributes:
        num_inputs: how many of the last outputs of the network a cell reads.
        edges: ordered by target, then source.
        edges_per_node: how many incoming edges a node of the discrete cell keeps; None keeps all, `none` on some.
        output: the states concatenated over channels to give the cell's output.
    """

    num_inputs: int
    edges: tuple[Edge, ...]
    edges_per_node: int | None
    output: tuple[int, ...]

    @property
    def nodes(self) -> tuple[int, ...]:
        """The states that are computed, in order."""
        return tuple(dict.fromkeys(edge.target for edge in self.edges))

    def edges_into(self, node: int) -> tuple[int, ...]:
        """Indices of the edges that end in `node`."""
        return tuple(i for i, edge in enumerate(self.edges) if edge.target == node)

    def genes_into(self, node: int) -> int:
        """How many operations feed `node` in a discrete cell."""
        incoming = len(self.edges_into(node))
        return incoming if self.edges_per_node is None else min(self.edges_per_node, incoming)

    def edges_of(self, genes: "Sequence[Gene]") -> tuple[int, ...]:
        """The edge on which every operation of a discrete cell stands."""
        targets = (node for node in self.nodes for _ in range(self.genes_into(node)))
        return tuple(
            next(e for e in self.edges_into(target) if self.edges[e].source == source)
            for (_, source), target in zip(genes, targets, strict=True)
        )

    def choices(self, edge: Edge) -> tuple[str, ...]:
        """The candidates of an edge that a discrete cell may have there.

        Where a node selects some of its edges (DARTS) those left out are the ones without signal, and a selected one
        is never `none`. Where it keeps all of them (NAS-Bench-201) `none` is an operation like the others.
        """
        if self.edges_per_node is None:
            return edge.candidates
        return tuple(name for name in edge.candidates if name != NONE)


def is_chain(kinds: Mapping[str, Sequence[object]]) -> bool:
    """Whether kinds of cell are layers one after the other: several, of one edge each.

    Args:
        kinds: kind -> its edges, what stands on them, or the genes of a genotype.
    """
    return len(kinds) > 1 and all(len(edges) == 1 for edges in kinds.values())


@dataclass(frozen=True)
class EdgePlan:
    """The sizes of an operation on one edge: [B, in_channels, H, W] -> [B, out_channels, H / stride, W / stride].

    Sizes that the stride does not divide are rounded up.
    """

    in_channels: int
    out_channels: int
    stride: int = 1

    @property
    def keeps_shape(self) -> bool:
        """Whether what the edge gives has the shape of what it reads."""
        return self.in_channels == self.out_channels and self.stride == 1

    @property
    def channels(self) -> int:
        """The channels of an edge that leaves their number as it is.

        Raises:
            ValueError: it changes them.
        """
        if self.in_channels != self.out_channels:
            raise ValueError(
                f"an operation that keeps the channels cannot make {self.out_channels} of {self.in_channels}"
            )
        return self.in_channels


@dataclass(frozen=True)
class CellPlan:
    """Where one cell sits: its fixed modules, and the sizes of the operations to be put on its edges.

    Attributes:
        kind: key into `SearchSpace.kinds`.
        edges: the sizes of every edge of the kind.
        preprocess: one module an input, bringing it to the channels that the edges read and to their resolution.
    """

    kind: str
    edges: tuple[EdgePlan, ...]
    preprocess: "tuple[nn.Module, ...]"


@dataclass(frozen=True)
class Skeleton:
    """The fixed part of a network, with the cells still to be filled in.

    Attributes:
        stem: images [B, C, H, W] -> tuple of the first `num_inputs` states.
        layers: cells to build, and fixed modules (state -> state) between them.
        head: last state -> logits [B, num_classes].
        auxiliary_layer: index of the layer after which an auxiliary head may read, None for no such place.
        auxiliary_head: state after that layer -> logits, training only.
    """

    stem: "nn.Module"
    layers: "Sequence[CellPlan | nn.Module]"
    head: "nn.Module"
    auxiliary_layer: int | None = None
    auxiliary_head: "nn.Module | None" = None


class SearchSpace(ABC):
    """A space of architectures. A new one is a subclass in a file of its own and a yaml in conf/space.

    Attributes:
        name: what mask and genotype files say under `space`, and the name of its yaml.
        published_partial_channels: K of PC-DARTS in this space, which `partial_channels=auto` stands for; 1 where there
            are no partial channels.
        tables: files with the trained accuracies of all architectures, as they are published, and then with latencies;
            empty where there are none. See `halfnas.spaces.trained`.
    """

    name: str
    published_partial_channels: int = 1
    tables: tuple[str, ...] = ()

    def __init__(self, *, num_classes: int, in_channels: int) -> None:
        self.num_classes = num_classes
        self.in_channels = in_channels

    @property
    @abstractmethod
    def kinds(self) -> Mapping[str, CellKind]:
        """Kinds of cell, by name."""

    @abstractmethod
    def operation(self, name: str, edge: EdgePlan, *, search: bool) -> "nn.Module":
        """Build one candidate.

        Args:
            name: one of the candidates of the edge.
            edge: the sizes of what it reads and gives.
            search: as it stands in a supernet (batch norms without affine parameters) or in a final network.
        """

    @abstractmethod
    def skeleton(
        self, *, search: bool, auxiliary: bool = False, outputs: Mapping[str, tuple[int, ...]] | None = None
    ) -> Skeleton:
        """Build the fixed modules.

        Args:
            search: see `operation`.
            auxiliary: with the auxiliary head; a space that has none raises ValueError.
            outputs: the states concatenated by each kind of cell, where a genotype differs from `kinds`.
        """

    def has_auxiliary_head(self, image_size: int) -> bool:
        """Whether square images of this size can have an auxiliary head, which `auxiliary=auto` then stands for."""
        return False

    def refuse_auxiliary_head(self, auxiliary: bool) -> None:
        """Raise ValueError where one is asked for, in a space that has none."""
        if auxiliary:
            raise ValueError(f"the {self.name} space has no auxiliary head; switch it off (evaluation.auxiliary=false)")

    def check_images(self, image_size: int, *, auxiliary: bool = False) -> None:
        """Raise ValueError where square images of this size are too small for the network, or its auxiliary head."""
        self.refuse_auxiliary_head(auxiliary and not self.has_auxiliary_head(image_size))

    def resolve_partial_channels(self, partial_channels: int | Literal["auto"]) -> int:
        """K, where `auto` is that of the space; see `check_partial_channels`."""
        return self.published_partial_channels if partial_channels == "auto" else partial_channels

    def check_partial_channels(self, partial_channels: int) -> None:
        """Raise ValueError where 1/`partial_channels` of the channels cannot be sent through the candidates."""
        if partial_channels < 1:
            raise ValueError(f"`partial_channels` must be at least 1 (all channels), got {partial_channels}")
        if partial_channels > 1:
            raise ValueError(f"the {self.name} space has no partial channels, got partial_channels={partial_channels}")

    def candidates(self, kind: str) -> tuple[tuple[str, ...], ...]:
        """Names of the candidate operations, one tuple an edge."""
        return tuple(edge.candidates for edge in self.kinds[kind].edges)

    def architecture_string(self, genotype: "Genotype") -> str | None:
        """A genotype of this space as its authors write it; None where they have no way of their own."""
        return None

    def parse_architecture(self, text: str) -> "Genotype":
        """The genotype of an architecture as the authors of the space write it.

        Raises:
            ValueError: it is not written so, or they have no way of their own.
        """
        raise ValueError(f"the authors of the {self.name} space have no way of their own of writing an architecture")

    def check_genotype(self, genotype: "Genotype") -> None:
        """Raise ValueError where `genotype` is not an architecture of this space; the message names its file."""
        try:
            self._check_genotype(genotype)
        except ValueError as error:
            raise ValueError(f"{genotype.source}: {error}" if genotype.source else str(error)) from None

    def _check_genotype(self, genotype: "Genotype") -> None:
        """The same, where a space may add rules of its own."""
        if genotype.space != self.name:
            raise ValueError(f"the genotype belongs to space {quoted(genotype.space)}, not to {self.name!r}")
        if set(genotype.cells) != set(self.kinds):
            cells = quoted(sorted(genotype.cells))
            raise ValueError(f"the genotype has cells {cells}, {self.name} has {sorted(self.kinds)}")
        if stray := sorted(set(genotype.outputs) - set(self.kinds)):
            raise ValueError(f"the genotype gives an output to {quoted(stray[0])}, which is no cell of {self.name}")
        for name, kind in self.kinds.items():
            genes = genotype.cells[name]
            wanted = sum(kind.genes_into(node) for node in kind.nodes)
            if len(genes) != wanted:
                raise ValueError(f"cell {name!r} needs {wanted} (operation, source) pairs, got {len(genes)}")
            targets = [node for node in kind.nodes for _ in range(kind.genes_into(node))]
            read: set[tuple[int, int]] = set()
            for (operation, source), node in zip(genes, targets, strict=True):
                edges = {kind.edges[e].source: kind.edges[e] for e in kind.edges_into(node)}
                if source not in edges:
                    raise ValueError(f"cell {name!r}: node {node} cannot read state {source}; it reads {sorted(edges)}")
                if (source, node) in read and not is_published(genotype):  # cate_small does
                    raise ValueError(f"cell {name!r}: node {node} reads state {source} twice; it has one edge from it")
                read.add((source, node))
                known = kind.choices(edges[source])
                if operation not in known:
                    raise ValueError(f"cell {name!r}: unknown operation {quoted(operation)}; known: {', '.join(known)}")
            outputs = genotype.outputs.get(name, kind.output)
            if not outputs or not set(outputs) <= set(kind.nodes) or len(set(outputs)) < len(outputs):
                nodes = list(kind.nodes)
                raise ValueError(
                    f"cell {name!r}: output {quoted(list(outputs))} must be some of nodes {nodes}, each once"
                )


def check_channels_divide(init_channels: int, partial_channels: int) -> None:
    """Raise ValueError where 1/`partial_channels` of `init_channels`, and so of its multiples, is no whole number."""
    if partial_channels < 1 or init_channels % partial_channels:
        divisors = [k for k in (1, 2, 4, 8, 16) if init_channels % k == 0]
        raise ValueError(
            f"`partial_channels` must divide `init_channels`: {init_channels} is no multiple of {partial_channels}; "
            f"possible: {', '.join(map(str, divisors))}"
        )
