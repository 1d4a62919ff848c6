"""The number that a sweep optimises, from the metrics of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Objective:
    """What is maximised, and what it may cost.

    A run over its budget is worth 1 - cost / budget: less than any run within, and the less the further over. That is
    Deb's rule for constraints (Computer Methods in Applied Mechanics and Engineering 186, 2000), for metrics that are
    never negative, such as accuracies.

    Attributes:
        metric: a key of metrics.json.
        budget_metric: the key that is limited.
        budget: its limit; None for none.
    """

    metric: str
    budget_metric: str
    budget: float | None = None

    @classmethod
    def of(cls, cfg: Any) -> "Objective":
        """That of the settings of a run."""
        return cls(cfg.optimized_metric, cfg.budget_metric, cfg.optimized_budget)

    def value(self, metrics: Mapping[str, float]) -> float | None:
        """None where something that it needs was not measured."""
        if self.missing(metrics):
            return None
        if self.budget is not None and metrics[self.budget_metric] > self.budget:
            return 1 - metrics[self.budget_metric] / self.budget
        return metrics[self.metric]

    def missing(self, metrics: Mapping[str, float]) -> list[str]:
        """The keys that were not measured."""
        needed = [self.metric] if self.budget is None else [self.metric, self.budget_metric]
        return [key for key in needed if key not in metrics]
