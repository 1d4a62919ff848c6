"""Labelled images: where they come from, how they are augmented, split and batched."""

from halfnas.data.augmentation import Augmentation, Draws, Normalization
from halfnas.data.batches import Batches, Pairs
from halfnas.data.cifar import Cifar10, Cifar100
from halfnas.data.dataset import Handling, ImageDataset
from halfnas.data.digits import Digits
from halfnas.data.fake import Fake
from halfnas.data.modules import EvaluationData, PruningData, SearchData
from halfnas.data.split import holdout, two_halves, two_halves_by_class

__all__ = [
    "Augmentation", "Batches", "Cifar10", "Cifar100", "Digits", "Draws", "EvaluationData", "Fake", "Handling",
    "ImageDataset", "Normalization", "Pairs", "PruningData", "SearchData", "holdout", "two_halves",
    "two_halves_by_class",
]  # fmt: skip
