"""Running a step of training before it begins, to measure or to compile it, without a trace."""

import contextlib
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn


class _Images(Protocol):
    """What of a dataset decides the shape of a batch."""

    in_channels: int
    image_size: int
    num_classes: int


def random_batch(images: _Images, batch_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Noise [B, C, H, W] and labels [B], always the same ones."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, images.in_channels, images.image_size, images.image_size)
    noise = torch.randn(shape, generator=generator)
    labels = torch.randint(images.num_classes, (batch_size,), generator=generator)
    return noise.to(device), labels.to(device)


@contextlib.contextmanager
def rehearsal(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside, `module` is in training mode; afterwards parameters, buffers, mode and random numbers are what they were.

    Gradients are cleared. Optimisers and means are not looked at: take steps with others than those of the training.
    """
    training = module.training
    kept = [(tensor, tensor.detach().clone()) for tensor in (*module.parameters(), *module.buffers())]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        module.train()
        try:
            yield
        finally:
            module.train(training)
            module.zero_grad(set_to_none=True)
            with torch.no_grad():
                for tensor, before in kept:
                    tensor.copy_(before)
