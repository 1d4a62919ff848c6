"""A search space that is nothing like DARTS, for pictures and tables, and one that is DARTS with few choices."""

from dataclasses import replace

from halfnas.spaces import CellKind, DartsSpace, Edge
from halfnas.spaces.space import SearchSpace


class OtherSpace(SearchSpace):
    """One input or three, all edges kept or one, candidates that differ from edge to edge."""

    name = "other"

    def __init__(self, kinds=None):
        super().__init__(num_classes=10, in_channels=3)
        names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
        dense = tuple(Edge(source, target, names) for target in range(1, 4) for source in range(target))
        mixed = (Edge(0, 3, ("mbconv_3", "mbconv_5")), Edge(2, 3, ("mbconv_3", "identity")), Edge(3, 4, ("attention",)))
        self._kinds = kinds or {
            "cell": CellKind(num_inputs=1, edges=dense, edges_per_node=None, output=(3,)),
            "stage": CellKind(num_inputs=3, edges=mixed, edges_per_node=1, output=(3, 4)),
        }

    @property
    def kinds(self):
        return self._kinds

    def operation(self, name, edge, *, search):
        raise NotImplementedError

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        raise NotImplementedError


class UnevenSpace(SearchSpace):
    """Two kinds of cell; edges with four, three, two and one candidates, `none` first, last or not at all."""

    name = "uneven"

    def __init__(self):
        super().__init__(num_classes=10, in_channels=3)

    @property
    def kinds(self):
        first = (Edge(0, 1, ("none", "a", "b", "c")), Edge(0, 2, ("a", "none")))
        second = (Edge(0, 1, ("a", "b", "c")), Edge(0, 2, ("b",)), Edge(1, 2, ("b", "a", "none")))
        return {
            "first": CellKind(num_inputs=1, edges=first, edges_per_node=None, output=(2,)),
            "second": CellKind(num_inputs=1, edges=second, edges_per_node=None, output=(2,)),
        }

    def operation(self, name, edge, *, search):
        raise NotImplementedError

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        raise NotImplementedError


#: The edges of a NarrowSpace that have a choice.
OPEN_EDGES = (0, 6, 13)


class NarrowSpace(DartsSpace):
    """All 8 candidates on three edges and one on the others, which is quick to score."""

    @property
    def kinds(self):
        kinds = {}
        for name, kind in super().kinds.items():
            edges = [
                e if n in OPEN_EDGES else replace(e, candidates=e.candidates[3:4]) for n, e in enumerate(kind.edges)
            ]
            kinds[name] = replace(kind, edges=tuple(edges))
        return kinds
