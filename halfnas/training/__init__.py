"""What the training of every stage is made of, in plain torch."""

from halfnas.training.capture import Replay, check_cuda_graphs
from halfnas.training.draws import generator
from halfnas.training.means import EpochMeans, correct
from halfnas.training.optimizers import adam, cosine, set_learning_rate, sgd

__all__ = [
    "EpochMeans",
    "Replay",
    "adam",
    "check_cuda_graphs",
    "correct",
    "cosine",
    "generator",
    "set_learning_rate",
    "sgd",
]
