"""Batches as functions of (seed, stream, epoch, number), whoever drew random numbers before and whatever the device."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from halfnas.data.augmentation import Augmentation, Draws, Normalization
from halfnas.data.images import RawImages
from halfnas.training import generator, to_device

Batch = tuple[Tensor, Tensor]


class Epoch:
    """The epoch that a loader is in: Lightning calls `set_epoch` of a loader's `sampler` before each one."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch, from 0."""
        self.epoch = epoch


class Selection(NamedTuple):
    """What makes a batch: indices int64 [B] of its images, and what is random about them, None if nothing is."""

    indices: Tensor
    draws: Draws | None


class Batches(ABC):
    """A loader: going through it gives the batches of the epoch that `sampler` was set to.

    A batch is (normalised images float32 [B, C, H, W], labels int64 [B]) on the device of `images`. It needs no state
    to be resumed.

    Attributes:
        sampler: the epoch, 0 to begin with.
    """

    #: Lightning asks a loader that has a `sampler` for this one too.
    batch_sampler = None

    def __init__(
        self, images: RawImages, normalization: Normalization, augmentation: Augmentation | None = None
    ) -> None:
        self.sampler = Epoch()
        self.images = images
        self.normalization = normalization
        self.augmentation = augmentation

    @abstractmethod
    def __len__(self) -> int:
        """Batches an epoch."""

    def __iter__(self) -> Iterator[Batch]:
        # A generator, that looks for the epoch when the first batch is asked for: Lightning's loop of a resumed run
        # makes the iterator before it sets the epoch.
        epoch = self.sampler.epoch
        yield from self.at((epoch, number) for number in range(len(self)))

    def batch(self, epoch: int, number: int) -> Batch:
        """One batch, both counted from 0.

        Raises:
            IndexError: an epoch has no batch of that number.
        """
        return next(self.at([(epoch, number)]))

    def at(self, places: Iterable[tuple[int, int]]) -> Iterator[Batch]:
        """The batches of any (epoch, number), one after the other; images that are decoded are so some batches ahead.

        Raises:
            IndexError: an epoch has no batch of that number.
        """
        asked, read = itertools.tee(self._checked(places))
        requests = (selection.indices for selection in asked)
        for (images, labels), selection in zip(self.images.read(requests), read, strict=False):
            yield self._prepare(images, selection.draws), labels

    @abstractmethod
    def select(self, epoch: int, number: int) -> Selection:
        """What makes a batch, on the CPU."""

    def _checked(self, places: Iterable[tuple[int, int]]) -> Iterator[Selection]:
        for epoch, number in places:
            if not 0 <= number < len(self):
                raise IndexError(f"batch {number} of an epoch of {len(self)} batches")
            yield self.select(epoch, number)

    def _prepare(self, images: Tensor, draws: Draws | None) -> Tensor:
        if self.augmentation is None or draws is None:
            return self.normalization(images)
        draws = Draws(*to_device(torch.stack(draws), self.images.device))  # one copy for all of them
        images = self.augmentation.crop_and_flip(images, draws)
        return self.augmentation.cut_out(self.normalization(images), draws)


class InOrder(Batches):
    """Images as they are, in the order of `indices`: each once, by one process or another.

    Args:
        indices: int64 [N].
        batch_size: images of each process a batch.
        num_replicas, rank: number of processes and which of them this is. They share the last batch as evenly as it
            goes; one without a share has a batch less.
    """

    def __init__(
        self,
        images: RawImages,
        normalization: Normalization,
        indices: Tensor,
        *,
        batch_size: int,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(images, normalization)
        self._batches = indices.split(batch_size * num_replicas)
        self._num_replicas = num_replicas
        self._rank = rank

    def __len__(self) -> int:
        return len(self._batches) - (len(self._batches[-1]) <= self._rank)

    def select(self, epoch: int, number: int) -> Selection:
        """This process' part of a batch, the same in every epoch."""
        return Selection(self._batches[number].tensor_split(self._num_replicas)[self._rank], None)


class Shuffled(Batches):
    """Augmented images in an order drawn anew each epoch.

    Several processes see what one process with their joined batch would see, each its slice. The last batch may be
    smaller, as in DARTS, but never of one image, on which batch norm cannot train: that one is dropped. Processes have
    as many images each: what cannot be shared evenly is dropped too.

    Args:
        indices: int64 [N], of the images that take part.
        image_size: height and width in pixels.
        batch_size: images of each process a batch.
        seed, stream: origin of the random numbers, see `halfnas.training.generator`; loaders with different streams are
            shuffled independently.
        num_replicas, rank: number of processes and which of them this is.

    Raises:
        ValueError: there are too few images for one batch.
    """

    def __init__(
        self,
        images: RawImages,
        normalization: Normalization,
        augmentation: Augmentation,
        indices: Tensor,
        *,
        image_size: int,
        batch_size: int,
        seed: int,
        stream: str,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(images, normalization, augmentation)
        self._indices = indices
        self._image_size = image_size
        self._batch_size = batch_size
        self._seed = seed
        self._stream = stream
        self._num_replicas = num_replicas
        self._rank = rank
        self._order: tuple[int, Tensor] = (-1, indices)  # of one epoch, as an order serves all of its batches
        if len(self) == 0:
            raise ValueError(
                f"{len(indices)} training images do not make a batch of {batch_size}; "
                "raise `dataset.max_train_images` or lower `batch_size`"
            )

    def __len__(self) -> int:
        whole, rest = divmod(len(self._indices), self._batch_size * self._num_replicas)
        return whole + (rest // self._num_replicas > 1)

    def select(self, epoch: int, number: int) -> Selection:
        """This process' slice of the joined batch of all processes."""
        size = self._batch_size * self._num_replicas
        joined = self._order_of(epoch)[number * size : (number + 1) * size]
        assert self.augmentation is not None
        numbers = generator(self._seed, self._stream, epoch, number)
        draws = self.augmentation.draw(len(joined), self._image_size, numbers)
        share = len(joined) // self._num_replicas
        mine = slice(self._rank * share, (self._rank + 1) * share)
        return Selection(joined[mine], Draws(*(drawn[mine] for drawn in draws)))

    def _order_of(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            # A stream of its own, or batch 0 would be augmented by the numbers that ordered the epoch.
            numbers = generator(self._seed, f"{self._stream} order", epoch)
            self._order = (epoch, self._indices[torch.randperm(len(self._indices), generator=numbers)])
        return self._order[1]


class Sampled(Batches):
    """Augmented batches of distinct images, each drawn from all that take part, whatever the other batches have.

    Several processes take turns: the first one sees sample 0, the second one sample 1. Each has as many, so that some
    may see samples beyond the last one.

    Args:
        indices: int64 [N], of the images that take part.
        image_size: height and width in pixels.
        batch_size: images a batch, at most N.
        num_samples: an epoch has that many, in all processes together.
        first: how many of them are left out.
        seed, stream: origin of the random numbers, see `halfnas.training.generator`; the number of a sample is that of
            a batch, whatever is left out.
        num_replicas, rank: number of processes and which of them this is.
    """

    def __init__(
        self,
        images: RawImages,
        normalization: Normalization,
        augmentation: Augmentation,
        indices: Tensor,
        *,
        image_size: int,
        batch_size: int,
        num_samples: int,
        first: int = 0,
        seed: int,
        stream: str,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(images, normalization, augmentation)
        assert batch_size <= len(indices), "images of a sample are distinct"
        self._indices = indices
        self._image_size = image_size
        self._batch_size = batch_size
        self._num_samples = num_samples
        self._first = first
        self._seed = seed
        self._stream = stream
        self._num_replicas = num_replicas
        self._rank = rank

    def __len__(self) -> int:
        return math.ceil((self._num_samples - self._first) / self._num_replicas)

    def select(self, epoch: int, number: int) -> Selection:
        """The sample that this process sees then."""
        assert self.augmentation is not None
        sample = self._first + number * self._num_replicas + self._rank
        numbers = generator(self._seed, self._stream, epoch, sample)
        drawn = torch.randperm(len(self._indices), generator=numbers)[: self._batch_size]
        return Selection(self._indices[drawn], self.augmentation.draw(self._batch_size, self._image_size, numbers))


class Pairs:
    """A loader for bi-level search: each step has a batch for the weights and one for the architecture.

    An epoch is one pass over the images of the weights. Those of the architecture go round on their own, from the first
    epoch after the warm-up on: step b of epoch e takes batch k = (e - warmup_epochs) * len(weights) + b of an endless
    cycle. So it depends on (e, b) alone, whatever the sizes of the two halves.

    Args:
        weights, architecture: the two loaders; their own `sampler` is not looked at.
        warmup_epochs: epochs without an architecture batch, in which no image of the second half is read.

    Attributes:
        sampler: the epoch, 0 to begin with.
    """

    batch_sampler = None

    def __init__(self, weights: Batches, architecture: Batches, *, warmup_epochs: int = 0) -> None:
        self.sampler = Epoch()
        self.weights = weights
        self.architecture = architecture
        self.warmup_epochs = warmup_epochs

    def __len__(self) -> int:
        return len(self.weights)

    def __iter__(self) -> Iterator[tuple[Batch, Batch | None]]:
        epoch = self.sampler.epoch  # asked for as late as in `Batches`
        weights = self.weights.at((epoch, number) for number in range(len(self)))
        if epoch < self.warmup_epochs:
            yield from zip(weights, itertools.repeat(None), strict=False)
        else:
            architecture = self.architecture.at(self._place(epoch, number) for number in range(len(self)))
            yield from zip(weights, architecture, strict=True)

    def batch(self, epoch: int, number: int) -> tuple[Batch, Batch | None]:
        """The pair of one step, both counted from 0.

        Raises:
            IndexError: an epoch has no step of that number.
        """
        weights = self.weights.batch(epoch, number)
        warm = epoch >= self.warmup_epochs
        return weights, self.architecture.batch(*self._place(epoch, number)) if warm else None

    def _place(self, epoch: int, number: int) -> tuple[int, int]:
        """Which pass of the architecture's images, and which batch of it."""
        return divmod((epoch - self.warmup_epochs) * len(self) + number, len(self.architecture))
