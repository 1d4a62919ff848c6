"""How far a search has decided: what it would choose now, by how much, and whether that is more than its start."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from halfnas.spaces import SearchSpace, Strengths, ordered

#: Chosen and next strength have grown apart that differ, in the mean, by so many times what they did at the start,
TIMES_START = 10.0
#: and by more than rounding makes of equals, as a part of the chosen one: up to 1e-7.
ROUNDING = 1e-6
#: Where they have not, there is still a decision if they differ by more than this part of the chosen one ...
TIE = 0.01
#: ... and more than this part of the edges has moved of those that would have moved by chance.
MOVED = 0.5


@dataclass(frozen=True)
class Decisions:
    """The choices of a search on every edge that has one: two candidates or more that can be chosen.

    Attributes:
        chosen: (kind of cell, edge) -> the strongest candidate, of exact equals that which the seed prefers.
        strengths: (kind of cell, edge) -> its strength, and that of the next one.
        alternatives: (kind of cell, edge) -> the candidates that can be chosen.
    """

    chosen: Mapping[tuple[str, int], str]
    strengths: Mapping[tuple[str, int], tuple[float, float]]
    alternatives: Mapping[tuple[str, int], int]

    @classmethod
    def of(cls, space: SearchSpace, strengths: Mapping[str, Strengths], seed: int) -> "Decisions":
        """Read them off strengths.

        Args:
            space: which candidates can be chosen, see `CellKind.choices`.
            strengths: kind -> for each edge the strength of every kept candidate, all finite.
            seed: orders exact equals, see `halfnas.spaces.ties`.
        """
        chosen, values, alternatives = {}, {}, {}
        for kind, cell in space.kinds.items():
            for e, edge in enumerate(cell.edges):
                there = {name: strengths[kind][e][name] for name in cell.choices(edge) if name in strengths[kind][e]}
                if len(there) < 2:
                    continue
                first, second, *_ = ordered(there, kind, e, seed)
                chosen[kind, e], values[kind, e] = first, (there[first], there[second])
                alternatives[kind, e] = len(there)
        return cls(chosen, values, alternatives)

    def moved_from(self, start: "Decisions") -> float:
        """The share of edges that prefer another candidate than at the start."""
        return float(np.mean([name != start.chosen[edge] for edge, name in self.chosen.items()]))

    @property
    def moved_by_chance(self) -> float:
        """The share that would have moved if both had been drawn: 1 - 1/n on an edge with n candidates to choose."""
        return float(np.mean([1 - 1 / n for n in self.alternatives.values()]))

    @property
    def margin(self) -> float:
        """The gap between chosen and next strength, a mean over edges."""
        return float(np.mean([first - second for first, second in self.strengths.values()]))

    @property
    def relative_margin(self) -> float:
        """The same as a part of the chosen strength."""
        return float(np.mean([(first - second) / first if first else 0.0 for first, second in self.strengths.values()]))

    def is_tie_break(self, start: "Decisions") -> bool:
        """Whether the start tells chosen candidates from others more than what came after it.

        After a start of equal candidates the least difference is what the task has made, so that only rounding counts.
        """
        if self.relative_margin >= max(TIMES_START * start.relative_margin, ROUNDING):
            return False
        return self.relative_margin < TIE or self.moved_from(start) < MOVED * self.moved_by_chance
