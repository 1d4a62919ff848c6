"""Noise of any shape, where only sizes matter: memory, speed, tests."""

import math
import random
from typing import Unpack

import torch
from torch.utils.data import Dataset, TensorDataset

from halfnas.data.dataset import Handling, ImageDataset


class Fake(ImageDataset):
    """Uniform noise, drawn image by image from `seed`; labels go round in turn, so classes are balanced.

    Not torchvision's FakeData: that passes through PIL, which refuses 2 channels in RGB and more than 4 at all.
    """

    name = "fake"

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        num_train: int,
        num_test: int,
        seed: int,
        **handling: Unpack[Handling],
    ) -> None:
        sizes = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "image_size": image_size,
            "num_train": num_train,
            "num_test": num_test,
        }
        for setting, value in sizes.items():
            if value < 1:
                raise ValueError(f"`dataset.{setting}` must be at least 1, got {value}")
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.image_size = image_size
        # Mean and standard deviation of the uniform distribution on [0, 1].
        super().__init__(mean=[0.5] * in_channels, std=[math.sqrt(1 / 12)] * in_channels, **handling)
        self.num_train = num_train
        self.num_test = num_test
        self.seed = seed

    def _raw(self, *, train: bool) -> Dataset:
        # Test images follow the training images in one sequence: none is in both.
        numbers = range(self.num_train) if train else range(self.num_train, self.num_train + self.num_test)
        # Scattered, or the images of seed 1 would be those of seed 0, shifted by one.
        first_seed = random.Random(self.seed).getrandbits(32)
        images = torch.empty((len(numbers), self.in_channels, self.image_size, self.image_size), dtype=torch.uint8)
        for image, number in zip(images, numbers, strict=True):
            image.random_(256, generator=torch.Generator().manual_seed(first_seed + number))
        return TensorDataset(images, torch.tensor(numbers) % self.num_classes)
