"""Noise of any shape, where only sizes matter: memory, speed, tests."""

import math
import random

import torch
from torch import Tensor
from torch.utils.data import Dataset

from halfnas.data.dataset import ImageDataset


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
        crop_padding: int,
        flip: bool,
        num_workers: int,
        max_train_images: int | None = None,
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
        super().__init__(
            mean=[0.5] * in_channels,
            std=[math.sqrt(1 / 12)] * in_channels,
            crop_padding=crop_padding,
            flip=flip,
            num_workers=num_workers,
            max_train_images=max_train_images,
        )
        self.num_train = num_train
        self.num_test = num_test
        self.seed = seed

    def _raw(self, *, train: bool) -> Dataset:
        # Test images follow the training images in one sequence: none is in both.
        numbers = range(self.num_train) if train else range(self.num_train, self.num_train + self.num_test)
        return _Noise(numbers, (self.in_channels, self.image_size, self.image_size), self.num_classes, self.seed)


class _Noise(Dataset[tuple[Tensor, int]]):
    def __init__(self, numbers: range, shape: tuple[int, int, int], num_classes: int, seed: int) -> None:
        self.numbers = numbers
        self.shape = shape
        self.num_classes = num_classes
        # Scattered, or the images of seed 1 would be those of seed 0, shifted by one.
        self.first_seed = random.Random(seed).getrandbits(32)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        number = self.numbers[index]
        generator = torch.Generator().manual_seed(self.first_seed + number)
        image = torch.randint(256, self.shape, dtype=torch.uint8, generator=generator)
        return image, number % self.num_classes
