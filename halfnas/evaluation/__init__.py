"""Training the chosen network from scratch."""

from halfnas.evaluation.cost import count_macs
from halfnas.evaluation.module import Evaluation

__all__ = ["Evaluation", "count_macs"]
