"""How one training set serves two purposes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

#: of `two_halves_by_class`; our choice, fixed so that every run searches on the same halves
SPLIT_SEED = 0


def two_halves(n: int, fraction: float = 0.5) -> tuple[range, range]:
    """Indices for the weights and for the architecture: the first floor(fraction * n) images and the rest.

    In index order, as quark0/darts, cnn/train_search.py does it (train_portion): every run searches on the same halves.
    For a set whose published order is mixed; see `two_halves_by_class` for others.
    """
    first = _part("train_fraction", fraction, n)
    return range(first), range(first, n)


def two_halves_by_class(labels: Tensor, fraction: float = 0.5) -> tuple[list[int], list[int]]:
    """The same of images in any order, sorted by class for example: floor(fraction * n) of them and the rest.

    Each class is split by `fraction` (scikit-learn's StratifiedShuffleSplit), so that both halves have all classes; all
    images are split at random where that cannot be, as a class has one image or a half fewer images than there are
    classes. The split is always the same, whatever the seed of the run.

    Args:
        labels: [N].

    Returns:
        Both in ascending order.
    """
    n = len(labels)
    first = _part("train_fraction", fraction, n)
    _, counts = labels.unique(return_counts=True)
    if counts.min() < 2 or min(first, n - first) < len(counts):
        order = torch.randperm(n, generator=torch.Generator().manual_seed(SPLIT_SEED))
        return order[:first].sort().values.tolist(), order[first:].sort().values.tolist()
    # Imported here: a second that users of CIFAR need not wait.
    from sklearn.model_selection import StratifiedShuffleSplit

    split = StratifiedShuffleSplit(n_splits=1, train_size=first, test_size=n - first, random_state=SPLIT_SEED)
    weights, architecture = next(split.split(labels, labels.numpy()))
    return sorted(weights.tolist()), sorted(architecture.tolist())


def class_labels(images: Dataset) -> Tensor:
    """The labels [N] of a dataset: its second tensor, its `targets`, or else read with the images."""
    if isinstance(images, Subset):
        return class_labels(images.dataset)[list(images.indices)]
    if isinstance(images, TensorDataset):
        return images.tensors[1]
    targets: Sequence[int] | Tensor | None = getattr(images, "targets", None)
    if targets is None:
        targets = [int(images[index][1]) for index in range(len(images))]  # type: ignore[arg-type]
    return torch.as_tensor(targets)


def holdout(n: int, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to validate on: floor(fraction * n) random images are held out."""
    held_out = _part("holdout_fraction", fraction, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[held_out:], order[:held_out]


def _part(setting: str, fraction: float, n: int) -> int:
    part = math.floor(fraction * n)
    if not 0 < part < n:
        raise ValueError(
            f"`{setting}` must leave images on both sides, got {fraction} of {n} images, which makes {part} and "
            f"{n - part}; e.g. 0.5"
        )
    return part
