"""Training the chosen network from scratch."""

from halfnas.evaluation.cost import count_macs
from halfnas.evaluation.drop_path import drop_path_factors
from halfnas.evaluation.module import Evaluation
from halfnas.evaluation.step import TrainingLoss, TrainingStep

__all__ = ["Evaluation", "TrainingLoss", "TrainingStep", "count_macs", "drop_path_factors"]
