"""Tensors whose channels come in parts: put together, taken apart, added up, and let go in time.

Letters as in the package docstring; m parts or blocks of channels.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def concatenated(parts: Sequence[Tensor]) -> Tensor:
    """Parts [B, ..., H, W] over channels; one part alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def sums_of_parts(x: Tensor, y: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The sum of x and y in parts of so many channels, none of which keeps the memory of another."""
    return [part + other for part, other in zip(x.split(sizes, dim=1), y.split(sizes, dim=1), strict=True)]


def relu_of_parts(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The ReLU of parts, concatenated over channels, in one pass. Without autograd."""
    first, *others = parts
    if not others:
        return first.relu().to(dtype)
    batch_size, _, *size = first.shape
    memory_format = torch.channels_last if first.stride(1) == 1 else torch.contiguous_format
    sizes = [part.shape[1] for part in parts]
    together = torch.empty(batch_size, sum(sizes), *size, dtype=dtype, device=first.device, memory_format=memory_format)
    for part, into in zip(parts, together.split(sizes, dim=1), strict=True):
        torch.clamp_min(part.to(dtype), 0, out=into)
    return together


def repeated(x: Tensor, m: int) -> Tensor:
    """What m convolutions read that read every channel: [B, c, H, W] -> [B, m * c, H, W]."""
    return torch.cat([x] * m, dim=1) if m > 1 else x


def summed(x: Tensor, c: int) -> Tensor:
    """The sum of all blocks of c channels, the other way round: [B, m * c, H, W] -> [B, c, H, W]."""
    return x.unflatten(1, (-1, c)).sum(dim=1) if x.shape[1] > c else x


def without_gaps(x: Tensor) -> Tensor:
    """The tensor without gaps in memory, with the channels last where they lie side by side now."""
    return x.contiguous(memory_format=torch.channels_last if x.stride(1) == 1 else torch.contiguous_format)


def grouped(items: Sequence[T], sizes: Sequence[int]) -> list[list[T]]:
    """Items in consecutive groups of so many."""
    return [list(items[stop - size : stop]) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


def take(parts: list[Any], i: int) -> Tensor:
    """Part i, which the list lets go: its memory is free as soon as whoever takes it has read it."""
    part, parts[i] = parts[i], None
    return part


class Accumulator:
    """A sum of gradients, each of some consecutive channels.

    Args:
        channels: how many the whole has.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.parts: dict[int, Tensor] = {}  # by their first channel

    def add(self, start: int, part: Tensor) -> None:
        """Add to the channels from `start` on. The whole, if it is among what is added, has to come first."""
        if start not in self.parts:
            self.parts[start] = part
        else:
            self.parts[start][:, : part.shape[1]].add_(part)

    def total(self) -> Tensor | None:
        """The whole [B, channels, H, W], with zeros where nothing was added; None where nothing was at all."""
        if not self.parts:
            return None
        parts = [self.parts[start] for start in sorted(self.parts)]
        missing = self.channels - sum(part.shape[1] for part in parts)
        if missing:
            like = parts[0]
            zeros = like.new_zeros(like.shape[0], missing, *like.shape[2:])
            parts = [zeros, *parts] if 0 not in self.parts else [*parts, zeros]
        return concatenated(parts)
