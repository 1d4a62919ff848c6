"""What each stage reads: batches of (images [B, C, H, W], labels [B]).

The order of a training set depends on the seed and the epoch alone: Lightning calls `set_epoch` of each sampler. Crops,
flips and squares come from torch's global generator, which `lightning.seed_everything` seeds.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler, Subset

from halfnas.data.dataset import ImageDataset
from halfnas.data.split import holdout, two_halves

Batch = tuple[Tensor, Tensor]


class _ImageData(LightningDataModule):
    """Loaders over an ImageDataset.

    Args:
        batch_size: images a batch, in each process.
    """

    def __init__(self, dataset: ImageDataset, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed

    def prepare_data(self) -> None:
        """Download or check the images, in one process."""
        self.dataset.prepare()

    def _shuffled(self, images: Dataset, *, stream: int = 0) -> DataLoader:
        """Batches in an order drawn anew each epoch; sets with different streams are shuffled independently.

        The last batch may be smaller, as in DARTS, but never of one image, on which batch norm cannot train.
        """
        sampler: DistributedSampler = DistributedSampler(
            images,
            num_replicas=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
            shuffle=True,
            # The sampler adds the epoch to its seed: scattered first, or epoch 1 of seed 0 would be epoch 0 of seed 1.
            seed=random.Random(f"{self.seed} {stream}").getrandbits(32),
        )
        drop_last = len(sampler) % self.batch_size == 1
        loader = self._loader(images, sampler=sampler, drop_last=drop_last)
        if len(loader) == 0:
            raise ValueError(
                f"{len(sampler)} training images do not make a batch of {self.batch_size}; "
                "raise `dataset.max_train_images` or lower `batch_size`"
            )
        return loader

    def _loader(self, images: Dataset, **settings: Any) -> DataLoader:
        num_workers = self.dataset.num_workers
        return DataLoader(
            images,
            batch_size=self.batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **settings,
        )


class PruningData(_ImageData):
    """Batches to score candidates on: augmented training images, none smaller than `batch_size`.

    Args:
        num_batches: an epoch has that many, as many passes over the images as it takes.
    """

    def __init__(self, dataset: ImageDataset, *, batch_size: int, num_batches: int, seed: int) -> None:
        super().__init__(dataset, batch_size=batch_size, seed=seed)
        self.num_batches = num_batches

    def train_dataloader(self) -> DataLoader:
        """Every epoch goes on where the random numbers of the one before ended."""
        images = self.dataset.train(augment=True)
        if len(images) < self.batch_size:  # a score that compares an image with itself says nothing
            raise ValueError(
                f"{len(images)} training images are fewer than the {self.batch_size} of a score; raise "
                "`dataset.max_train_images` or lower `pruner.batch_size`"
            )
        generator = torch.Generator().manual_seed(self.seed)
        sampler = RandomSampler(images, num_samples=self.num_batches * self.batch_size, generator=generator)
        return self._loader(images, sampler=sampler)


class SearchData(_ImageData):
    """The training set in two parts, for weights and for architecture; the test set is never touched.

    Args:
        train_fraction: the part of the images that trains the weights; 0.5 as in DARTS.
    """

    def __init__(self, dataset: ImageDataset, *, batch_size: int, seed: int, train_fraction: float = 0.5) -> None:
        super().__init__(dataset, batch_size=batch_size, seed=seed)
        self.train_fraction = train_fraction

    def train_dataloader(self) -> DataLoader:
        """The first part, augmented, for the weights."""
        return self._shuffled(self._part(0, augment=True))

    def architecture_dataloader(self) -> DataLoader:
        """The second part, augmented as in quark0/darts; go through it with `endless`."""
        return self._shuffled(self._part(1, augment=True), stream=1)

    def architecture_batches(self) -> Iterator[Batch]:
        """Batches of the second part for ever; nothing is read before the first one is asked for."""
        return endless(self.architecture_dataloader())

    def val_dataloader(self) -> DataLoader:
        """The second part as it is, in order."""
        return self._loader(self._part(1, augment=False))

    def _part(self, part: int, *, augment: bool) -> Dataset:
        images = self.dataset.train(augment=augment)
        return Subset(images, two_halves(len(images), self.train_fraction)[part])


class EvaluationData(_ImageData):
    """The whole training set for one architecture, and the test set.

    Args:
        cutout_length: side in pixels of the square erased from training images; 0 for none.
        holdout_fraction: the part of the training set that validates instead of training; 0, the published protocol,
            validates on the test set.
    """

    def __init__(
        self, dataset: ImageDataset, *, batch_size: int, seed: int, cutout_length: int, holdout_fraction: float = 0.0
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, seed=seed)
        self.cutout_length = cutout_length
        self.holdout_fraction = holdout_fraction

    def train_dataloader(self) -> DataLoader:
        """Augmented training images with cutout, without those held out."""
        images = self.dataset.train(augment=True, cutout_length=self.cutout_length)
        if self.holdout_fraction == 0:
            return self._shuffled(images)
        return self._shuffled(Subset(images, holdout(len(images), self.holdout_fraction, self.seed)[0]))

    def val_dataloader(self) -> DataLoader:
        """The images held out, as they are; the test set if there are none."""
        if self.holdout_fraction == 0:
            return self.test_dataloader()
        images = self.dataset.train(augment=False)
        return self._loader(Subset(images, holdout(len(images), self.holdout_fraction, self.seed)[1]))

    def test_dataloader(self) -> DataLoader:
        """The test set, in order."""
        return self._loader(self.dataset.test())


def endless(loader: DataLoader) -> Iterator[Batch]:
    """Batches for ever, in a new order at each pass; nothing is loaded before the first `next`."""
    assert len(loader) > 0, "an empty loader never yields"
    for number in itertools.count():
        if isinstance(loader.sampler, DistributedSampler):
            loader.sampler.set_epoch(number)
        yield from loader
