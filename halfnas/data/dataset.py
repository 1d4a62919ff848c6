"""One source of labelled square images; a subclass says where they come from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset
from torchvision.transforms import v2

from halfnas.data.cutout import Cutout

Sample = tuple[Tensor, int]


class ImageDataset(ABC):
    """A training and a test set of square images.

    A subclass sets the first four attributes before it calls `super().__init__`, and defines `_raw`;
    conf/dataset/<name>.yaml gives the rest. A new dataset is one file here and one yaml.

    Attributes:
        name: as in `dataset=<name>`.
        num_classes: labels are 0 ... num_classes - 1.
        in_channels: C.
        image_size: height and width in pixels.
        mean: mean of each channel over the training set, of pixels scaled to [0, 1].
        std: standard deviation of each channel, likewise.
        num_workers: processes that load a set's batches; 0 loads them in the training process.
        max_train_images: only the first that many training images, for quick runs; None for all.
    """

    name: str
    num_classes: int
    in_channels: int
    image_size: int

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int,
        flip: bool,
        num_workers: int,
        max_train_images: int | None = None,
    ) -> None:
        """Check the numbers; nothing is read yet.

        Args:
            crop_padding: augment with a random crop of the image padded by that many pixels on each side; 0 for none.
            flip: augment with a horizontal flip, of half the images on average.
        """
        for setting, values in (("mean", mean), ("std", std)):
            if len(values) != self.in_channels:
                raise ValueError(
                    f"`dataset.{setting}` must have one number a channel, {self.in_channels} for {self.name}, "
                    f"got {list(values)}"
                )
        if min(std) <= 0:
            raise ValueError(f"`dataset.std` must be positive, got {list(std)}; 1 leaves a channel's scale as it is")
        for setting, value in (("crop_padding", crop_padding), ("num_workers", num_workers)):
            if value < 0:
                raise ValueError(f"`dataset.{setting}` must be 0 or more, got {value}; 0 switches it off")
        if max_train_images is not None and max_train_images < 2:
            raise ValueError(
                f"`dataset.max_train_images` must be at least 2 (batch norm), got {max_train_images}; null is all"
            )
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.crop_padding = crop_padding
        self.flip = flip
        self.num_workers = num_workers
        self.max_train_images = max_train_images
        self._loaded: dict[bool, Dataset] = {}

    def prepare(self) -> None:
        """Make sure that the images are there, downloading them if need be; called before anything is trained.

        Raises:
            ValueError: they are not there and cannot be had.
        """
        self._images(train=True)

    @abstractmethod
    def _raw(self, *, train: bool) -> Dataset:
        """(image, label) pairs; images [C, H, W], uint8 or floating point in [0, 1]. It must have a length."""

    def train(self, *, augment: bool, cutout_length: int = 0) -> "NormalizedImages":
        """The training set: (float32 normalised image [C, H, W], label).

        Crops, flips and squares are drawn anew at each access, from torch's global generator.

        Args:
            augment: with the random crop and flip of this dataset.
            cutout_length: side in pixels of the erased square (see `Cutout`); 0 for none.
        """
        images = self._images(train=True)
        if self.max_train_images is not None:
            num_images = min(self.max_train_images, len(images))  # type: ignore[arg-type]
            images = Subset(images, range(num_images))
        return NormalizedImages(
            images,
            augmentation=self._augmentation() if augment else nn.Identity(),
            normalization=self._normalization(),
            cutout=Cutout(cutout_length) if cutout_length else nn.Identity(),
        )

    def test(self) -> "NormalizedImages":
        """The test set, not augmented."""
        return NormalizedImages(self._images(train=False), nn.Identity(), self._normalization(), nn.Identity())

    def _images(self, *, train: bool) -> Dataset:
        """The raw images, read once."""
        if train not in self._loaded:
            self._loaded[train] = self._raw(train=train)
        return self._loaded[train]

    def _augmentation(self) -> nn.Module:
        crop = [v2.RandomCrop(self.image_size, padding=self.crop_padding)] if self.crop_padding else []
        flip = [v2.RandomHorizontalFlip()] if self.flip else []
        return nn.Sequential(*crop, *flip)

    def _normalization(self) -> nn.Module:
        return nn.Sequential(v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(self.mean), list(self.std)))


class NormalizedImages(Dataset[Sample]):
    """Raw images made ready for a network: augmented, normalised, cut out, in DARTS' order."""

    def __init__(self, images: Dataset, augmentation: nn.Module, normalization: nn.Module, cutout: nn.Module) -> None:
        self.images = images
        self.augmentation = augmentation
        self.normalization = normalization
        self.cutout = cutout

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Sample]:
        """A batch at a time, as DataLoader asks where it can: normalising all its images at once saves a third."""
        images, labels = zip(*(self.images[index] for index in indices), strict=True)
        batch = self.normalization(torch.stack([self.augmentation(image) for image in images]))
        return [(self.cutout(image), int(label)) for image, label in zip(batch, labels, strict=True)]
