"""What each stage reads: batches of (images float32 [B, C, H, W], labels int64 [B]) on the device of the training."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

import torch
from lightning import LightningDataModule
from pydantic import Field
from torch import Tensor
from torch.utils.data import TensorDataset

from halfnas.data.batches import InOrder, Pairs, Sampled, Shuffled
from halfnas.data.dataset import ImageDataset
from halfnas.data.images import RawImages, open_images
from halfnas.data.split import class_labels, holdout, two_halves, two_halves_by_class


class _ImageData(LightningDataModule):
    """Loaders over an ImageDataset.

    Args:
        batch_size: images a batch, in each process.
        holdout_fraction: the part of the training images that no stage of a run with this seed trains on, neither
            weights nor architecture nor scores.
    """

    def __init__(self, dataset: ImageDataset, *, batch_size: int, seed: int, holdout_fraction: float = 0.0) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.holdout_fraction = holdout_fraction
        self._open: dict[bool, RawImages] = {}

    def prepare_data(self) -> None:
        """Download or check the images, in one process."""
        self.dataset.prepare()

    @property
    def _device(self) -> torch.device:
        """The device of the training; the CPU where there is no trainer."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def _processes(self) -> dict[str, int]:
        if self.trainer is None:
            return {"num_replicas": 1, "rank": 0}
        return {"num_replicas": self.trainer.world_size, "rank": self.trainer.global_rank}

    def _images(self, *, train: bool) -> RawImages:
        """The images of one loader; tensors are shared by all loaders, processes that decode are not."""
        images = self._open.get(train)
        if images is None or images.device != self._device:
            raw = self.dataset.train() if train else self.dataset.test()
            images = open_images(
                raw,
                device=self._device,
                on_device=self.dataset.on_device,
                num_workers=self.dataset.num_workers,
            )
            if isinstance(raw, TensorDataset):
                self._open[train] = images
        return images

    @property
    def num_train_images(self) -> int:
        """Training images that are not held out."""
        return len(self._parts[0])

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor]:
        """Indices of the training images to train on, in their order, and of those held out."""
        n = len(self.dataset.train())  # type: ignore[arg-type]
        if self.holdout_fraction == 0:
            return torch.arange(n), torch.arange(0)
        train, held_out = (torch.tensor(part) for part in holdout(n, self.holdout_fraction, self.seed))
        return train.sort().values, held_out

    def _shuffled(self, indices: Tensor, stream: str, *, cutout_length: int = 0) -> Shuffled:
        return Shuffled(
            self._images(train=True),
            self.dataset.normalization(self._device),
            self.dataset.augmentation(cutout_length),
            indices,
            image_size=self.dataset.image_size,
            batch_size=self.batch_size,
            seed=self.seed,
            stream=stream,
            **self._processes,
        )

    def _in_order(self, indices: Tensor | None = None, *, train: bool) -> InOrder:
        """Make a loader of the images of these indices, or of all, without augmentation."""
        images = self._images(train=train)
        return InOrder(
            images,
            self.dataset.normalization(self._device),
            torch.arange(len(images)) if indices is None else indices,
            batch_size=self.batch_size,
            **self._processes,
        )


class PruningData(_ImageData):
    """Batches to score candidates on: batch n is the sample of step n, `batch_size` distinct augmented images.

    Args:
        num_batches: an epoch has that many, in all processes together.

    Attributes:
        first_batch: the batches before it are not read; set before the training by a pruning that goes on.
    """

    def __init__(
        self, dataset: ImageDataset, *, batch_size: int, num_batches: int, seed: int, holdout_fraction: float = 0.0
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, seed=seed, holdout_fraction=holdout_fraction)
        self.num_batches = num_batches
        self.first_batch = 0

    def train_dataloader(self) -> Sampled:
        """The batches from `first_batch` on, which several processes share.

        Raises:
            ValueError: there are fewer images than a batch has.
        """
        images, indices = self._images(train=True), self._parts[0]
        if len(indices) < self.batch_size:  # a score that compares an image with itself says nothing
            raise ValueError(
                f"{len(indices)} training images are fewer than the {self.batch_size} of a score; raise "
                "`dataset.max_train_images` or lower `pruner.batch_size`"
            )
        return Sampled(
            images,
            self.dataset.normalization(self._device),
            self.dataset.augmentation(),
            indices,
            image_size=self.dataset.image_size,
            batch_size=self.batch_size,
            num_samples=self.num_batches,
            first=self.first_batch,
            seed=self.seed,
            stream="pruning",
            **self._processes,
        )


class SearchData(_ImageData):
    """The training set, but for what is held out, in two parts, for weights and for architecture.

    The test set is never touched.

    Args:
        train_fraction: the part of the images that trains the weights; 0.5 as in DARTS.
        warmup_epochs: epochs in which only weights are trained, and the second part is not read.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        batch_size: int,
        seed: int,
        train_fraction: Annotated[float, Field(gt=0, lt=1, description="both halves need images, e.g. 0.5")] = 0.5,
        warmup_epochs: int = 0,
        holdout_fraction: float = 0.0,
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, seed=seed, holdout_fraction=holdout_fraction)
        self.train_fraction = train_fraction
        self.warmup_epochs = warmup_epochs

    def train_dataloader(self) -> Pairs:
        """Pairs of a batch of the first part and a batch of the second one, both augmented as in quark0/darts.

        The second is None during the warm-up.
        """
        first, second = self._halves
        return Pairs(
            self._shuffled(first, "weights"),
            self._shuffled(second, "architecture"),
            warmup_epochs=self.warmup_epochs,
        )

    def val_dataloader(self) -> InOrder:
        """The second part as it is, in order."""
        return self._in_order(self._halves[1], train=True)

    @cached_property
    def _halves(self) -> tuple[Tensor, Tensor]:
        indices = self._parts[0]
        halves: tuple[Sequence[int], Sequence[int]]
        if self.dataset.published_order:
            halves = two_halves(len(indices), self.train_fraction)
        else:
            halves = two_halves_by_class(class_labels(self.dataset.train())[indices], self.train_fraction)
        first, second = (indices[list(half)] for half in halves)
        return first, second


class EvaluationData(_ImageData):
    """The whole training set for one architecture, and the test set.

    Args:
        cutout_length: side in pixels of the square erased from training images; 0 for none.
        holdout_fraction: the part of the training set that validates instead of training, and that a search with the
            same fraction and seed has not seen either; 0, the published protocol, validates on the test set.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        *,
        batch_size: int,
        seed: int,
        cutout_length: Annotated[int, Field(ge=0, description="pixels; 0 switches it off")],
        holdout_fraction: Annotated[
            float, Field(ge=0, lt=1, description="share of the training images held out; 0 trains on all of them")
        ] = 0.0,
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, seed=seed, holdout_fraction=holdout_fraction)
        self.cutout_length = cutout_length

    def train_dataloader(self) -> Shuffled:
        """Augmented training images with cutout, without those held out."""
        return self._shuffled(self._parts[0], "weights", cutout_length=self.cutout_length)

    def val_dataloader(self) -> InOrder:
        """The images held out, as they are; the test set if there are none."""
        if self.holdout_fraction == 0:
            return self.test_dataloader()
        return self._in_order(self._parts[1], train=True)

    def test_dataloader(self) -> InOrder:
        """The test set, in order."""
        return self._in_order(train=False)
