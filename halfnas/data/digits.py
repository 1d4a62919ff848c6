"""scikit-learn's handwritten digits: real images that need no download."""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch.utils.data import Dataset, TensorDataset

from halfnas.data.dataset import Handling, ImageDataset


class Digits(ImageDataset):
    """1,797 grey images of 8x8 pixels, 10 classes; scikit-learn's `load_digits` (UCI, optical recognition of digits).

    They come without a test set: a stratified part of them is set aside, the same in every run.
    """

    name = "digits"
    num_classes = 10
    in_channels = 1
    image_size = 8

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        test_fraction: float,
        split_seed: int,
        **handling: Unpack[Handling],
    ) -> None:
        """Args: test_fraction of each class is the test set, drawn with split_seed whatever the seed of the run."""
        super().__init__(mean=mean, std=std, **handling)
        if not 0 < test_fraction < 1:
            raise ValueError(f"`dataset.test_fraction` must be in (0, 1), got {test_fraction}; e.g. 0.2")
        self.test_fraction = test_fraction
        self.split_seed = split_seed

    def _raw(self, *, train: bool) -> Dataset:
        # Imported here: a second that users of other datasets need not wait.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        # Grey levels 0 ... 16 -> [N, 1, 8, 8] in [0, 1].
        images, labels = torch.from_numpy(digits.images).float().unsqueeze(1) / 16, torch.from_numpy(digits.target)
        train_images, test_images, train_labels, test_labels = train_test_split(
            images, labels, test_size=self.test_fraction, random_state=self.split_seed, stratify=digits.target
        )
        return TensorDataset(train_images, train_labels) if train else TensorDataset(test_images, test_labels)
