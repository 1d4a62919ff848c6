"""Where the raw images of batches are read from: tensors that are held in memory, or files that are decoded."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

#: largest part of a CUDA device's memory that a set of images takes with on_device=auto; our choice: CIFAR's 150 MiB
#: lie on a GPU of 4 GB, and 15 parts of 16 are left to what is measured
LARGEST_PART = 1 / 16

OnDevice = bool | Literal["auto"]


class RawImages(ABC):
    """A set of labelled images, read batch by batch.

    Attributes:
        device: where the batches are wanted.
    """

    device: torch.device

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def read(self, requests: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Raw images [B, C, H, W] and labels int64 [B] on `device`, for each request: indices [B] on the CPU.

        Requests may be taken some batches ahead.
        """


class HeldImages(RawImages):
    """Images that are one tensor, on the device of the training or in host memory.

    Args:
        images: [N, C, H, W].
        labels: [N].
        device: where the batches are wanted.
        on_device: see `lies_on_device`.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, device: torch.device, on_device: OnDevice) -> None:
        self.device = device
        home = device if lies_on_device(images, device, on_device) else torch.device("cpu")
        # Lightning asks for the loaders of validation in inference mode; the same tensor serves training.
        with torch.inference_mode(False):
            self.images, self.labels = images.to(home).contiguous(), labels.to(home, torch.int64)

    def __len__(self) -> int:
        return len(self.images)

    def read(self, requests: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Gather where the images lie; what is gathered in host memory is copied."""
        for request in requests:
            indices = to_device(request, self.images.device)
            images, labels = (tensor.index_select(0, indices) for tensor in (self.images, self.labels))
            yield to_device(images, self.device), to_device(labels, self.device)


class DecodedImages(RawImages):
    """Images of any map-style dataset, decoded batch by batch by processes of torch's DataLoader.

    One `read` is under way at a time: the processes are kept from one to the next.

    Args:
        dataset: (image [C, H, W], label) pairs, all of one size.
        device: where the batches are wanted.
        num_workers: processes; 0 decodes in this one.
    """

    def __init__(self, dataset: Dataset, *, device: torch.device, num_workers: int) -> None:
        self.device = device
        self.dataset = dataset
        self._requests = _Requests()
        self._loader = DataLoader(
            dataset,
            batch_sampler=self._requests,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # its own: torch's global one is not advanced by loading
        )

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def read(self, requests: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode, stack, copy."""
        self._requests.current = requests
        for images, labels in self._loader:
            yield to_device(images, self.device), to_device(labels, self.device)


class _Requests:
    """The order of a DataLoader that is another one at each pass."""

    def __init__(self) -> None:
        self.current: Iterable[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (request.tolist() for request in self.current)


def open_images(dataset: Dataset, *, device: torch.device, on_device: OnDevice, num_workers: int) -> RawImages:
    """The images of a dataset: held if it is a TensorDataset of (images, labels), decoded otherwise."""
    if isinstance(dataset, TensorDataset):
        images, labels = dataset.tensors
        return HeldImages(images, labels, device=device, on_device=on_device)
    return DecodedImages(dataset, device=device, num_workers=num_workers)


def lies_on_device(images: Tensor, device: torch.device, on_device: OnDevice) -> bool:
    """Whether a set of images is kept on the device of the training; "auto": if it takes little of its memory.

    Devices other than CUDA's share the memory of the host, or do not tell how much they have.
    """
    if on_device == "auto" and device.type == "cuda":
        return images.nbytes <= LARGEST_PART * torch.cuda.get_device_properties(device).total_memory
    return bool(on_device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; from the host to CUDA by pinned memory, so that nobody waits for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
