"""The images that networks are rated on."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Batch(NamedTuple):
    """Images [B, C, H, W] and labels [B]."""

    images: Tensor
    labels: Tensor | None


def split(images: Tensor, labels: Tensor | None, size: int) -> list[Batch]:
    """Joined images [N, C, H, W] as batches of `size`."""
    parts = images.split(size)
    return [
        Batch(*pair)
        for pair in zip(parts, labels.split(size) if labels is not None else [None] * len(parts), strict=True)
    ]


def scaled(batch: Batch, size: int | None) -> Batch:
    """Images scaled down to a side of `size` pixels, by the mean of areas; smaller ones, or all with None, stay."""
    if size is None or batch.images.shape[-1] <= size:
        return batch
    return batch._replace(images=F.interpolate(batch.images, size=size, mode="area"))


class Sample:
    """The same batches, and the same random numbers, for all networks that are compared.

    Args:
        batches: at least one.
        seed: the seed of the numbers that ranking functions draw for themselves.
    """

    def __init__(self, batches: Sequence[Batch], seed: int = 0) -> None:
        self.batches = tuple(batches)
        self.seed = seed

    @cached_property
    def images(self) -> Tensor:
        """The images of all batches, [N, C, H, W]."""
        return torch.cat([batch.images for batch in self.batches])

    @cached_property
    def labels(self) -> Tensor:
        """The labels of all batches, [N]. Raises ValueError where images have none."""
        labels = [batch.labels for batch in self.batches if batch.labels is not None]
        if len(labels) < len(self.batches):
            raise ValueError("this ranking function needs labels, and the images have none")
        return torch.cat(labels)

    def generator(self, stream: int) -> torch.Generator:
        """A generator on the CPU, in the same state at every call; other streams are independent."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + stream) % 2**63)

    @contextlib.contextmanager
    def own_chance(self) -> Iterator[None]:
        """Inside, torch's default generators give what the seed says, whoever drew before; afterwards, what they did.

        For candidates that draw from them, as `noise` does.
        """
        device = self.batches[0].images.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            yield

    def normal(self, *shape: int, stream: int) -> Tensor:
        """Standard normal numbers, with dtype and device of the images; other ones for every `stream`."""
        images = self.batches[0].images
        return torch.randn(shape, generator=self.generator(stream)).to(images.device, images.dtype)
