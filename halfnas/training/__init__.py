"""What the training of every stage is made of, in plain torch."""

from halfnas.training.capture import Replay, check_cuda_graphs
from halfnas.training.draws import generator, seed_default_generators
from halfnas.training.finite import check_epoch, check_finite
from halfnas.training.means import EpochMeans, correct
from halfnas.training.optimizers import adam, begin_momentum, cosine, set_learning_rate, sgd
from halfnas.training.ranks import averaged, gathered, num_processes
from halfnas.training.strategy import Ranks
from halfnas.training.transfer import to_device

__all__ = [
    "EpochMeans",
    "Ranks",
    "Replay",
    "adam",
    "averaged",
    "begin_momentum",
    "check_cuda_graphs",
    "check_epoch",
    "check_finite",
    "correct",
    "cosine",
    "gathered",
    "generator",
    "num_processes",
    "seed_default_generators",
    "set_learning_rate",
    "sgd",
    "to_device",
]
