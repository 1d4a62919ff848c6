"""One source of labelled square images; a subclass says where they come from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, NotRequired, TypedDict

import torch
from pydantic import Field
from torch.utils.data import Dataset, Subset, TensorDataset

from halfnas.data.augmentation import Augmentation, Normalization
from halfnas.data.images import OnDevice

NumWorkers = Annotated[int, Field(ge=0, description="processes that decode images; 0 decodes in the main one")]


class Handling(TypedDict):
    """How images are augmented and loaded: what a dataset takes as `**handling` and hands on to `ImageDataset`."""

    crop_padding: int
    flip: bool
    num_workers: NumWorkers
    on_device: NotRequired[OnDevice]
    max_train_images: NotRequired[int | None]


class ImageDataset(ABC):
    """A training and a test set of square images.

    A subclass sets the first four attributes before it calls `super().__init__`, and defines `_raw`;
    conf/dataset/<name>.yaml gives the rest. A new dataset is one file here and one yaml.

    Attributes:
        name: as in `dataset=<name>`.
        num_classes: labels are 0 ... num_classes - 1.
        in_channels: C.
        image_size: height and width in pixels.
        published_order: whether a search splits the training set where it was published to be split, at an index;
            others are split by class, as they may be sorted.
        mean: mean of each channel over the training set, of pixels scaled to [0, 1].
        std: standard deviation of each channel, likewise.
        num_workers: processes that decode images which are not held in memory; 0 decodes in the training process.
        on_device: whether images that are held in memory lie on the device of the training; "auto" if they take little
            of its memory. It changes speed, never a number.
        max_train_images: only the first that many training images, for quick runs; None for all.
    """

    name: str
    num_classes: int
    in_channels: int
    image_size: int
    published_order: ClassVar[bool] = False

    def __init__(
        self,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int,
        flip: bool,
        num_workers: NumWorkers,
        on_device: OnDevice = "auto",
        max_train_images: int | None = None,
    ) -> None:
        """Check the numbers; nothing is read yet.

        Args:
            crop_padding: augment with a random crop of the image padded by that many pixels on each side; 0 for none.
            flip: augment with a horizontal flip, of half the images on average.

        Raises:
            ValueError: a setting cannot be; the message names it, as dataset.<setting>.
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
        if not isinstance(on_device, bool) and on_device != "auto":
            raise ValueError(
                f"`dataset.on_device` must be auto, true or false, got {on_device!r}; auto is a good choice"
            )
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.crop_padding = crop_padding
        self.flip = flip
        self.num_workers = num_workers
        self.on_device = on_device
        self.max_train_images = max_train_images
        self._loaded: dict[bool, Dataset] = {}

    def prepare(self) -> None:
        """Make sure that the images are there, downloading them if need be; called before anything is trained.

        Raises:
            ValueError: they are not there and cannot be had, or `on_device` asks for what they are not made for.
        """
        self._images(train=True)

    @abstractmethod
    def _raw(self, *, train: bool) -> Dataset:
        """(image, label) pairs; images [C, H, W], uint8 or floating point in [0, 1]. It must have a length.

        A TensorDataset of (images [N, C, H, W], labels [N]) is held in memory, on the device of the training if it
        fits, and is augmented there. Images of any other map-style dataset are decoded by `num_workers` processes;
        its labels are taken from an attribute `targets` where it has one.
        """

    def train(self) -> Dataset:
        """The raw training set: (image, label) pairs as `_raw` gives them, the first `max_train_images` of them."""
        images = self._images(train=True)
        if self.max_train_images is None:
            return images
        if isinstance(images, TensorDataset):
            return TensorDataset(*(tensor[: self.max_train_images] for tensor in images.tensors))
        return Subset(images, range(min(self.max_train_images, len(images))))  # type: ignore[arg-type]

    def test(self) -> Dataset:
        """The raw test set."""
        return self._images(train=False)

    def augmentation(self, cutout_length: int = 0) -> Augmentation:
        """What happens to training images at random.

        Args:
            cutout_length: side in pixels of the erased square; 0 for none.
        """
        return Augmentation(crop_padding=self.crop_padding, flip=self.flip, cutout_length=cutout_length)

    def normalization(self, device: torch.device) -> Normalization:
        """What happens to every image, on that device."""
        return Normalization(self.mean, self.std, device)

    def _images(self, *, train: bool) -> Dataset:
        """The raw images, read once."""
        if train not in self._loaded:
            images = self._raw(train=train)
            if self.on_device is True and not isinstance(images, TensorDataset):
                raise ValueError(
                    f"`dataset.on_device` must be auto or false for {self.name}, whose images are decoded batch by "
                    "batch, got True; raise `dataset.num_workers` to decode them faster"
                )
            self._loaded[train] = images
        return self._loaded[train]
