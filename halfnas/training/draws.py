"""Random numbers of a run: each batch has its own, whoever drew before it and whatever the device."""

import hashlib

import torch


def generator(seed: int, stream: str, epoch: int, number: int = 0) -> torch.Generator:
    """A generator on the CPU that depends on nothing but its arguments.

    CUDA's generators give other numbers than the CPU's, so that what decides a batch (its images, crops, flips,
    squares, drop path, noise of a relaxation) is drawn on the CPU and copied. A run that is resumed needs no state of
    a generator.

    Args:
        seed: the seed of the run.
        stream: what the numbers are for; streams are independent of each other.
        epoch: from 0.
        number: the number of the batch in its epoch, from 0.
    """
    return torch.Generator().manual_seed(_seed_of(seed, stream, epoch, number))


def seed_default_generators(seed: int, stream: str, epoch: int, number: int = 0) -> None:
    """Let torch's default generators, of all devices, depend on nothing but the arguments: see `generator`.

    For modules that draw from them, as the candidate `noise` does.
    """
    torch.manual_seed(_seed_of(seed, stream, epoch, number))


def _seed_of(seed: int, stream: str, epoch: int, number: int) -> int:
    digest = hashlib.sha256(f"{seed} {stream} {epoch} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "little")
