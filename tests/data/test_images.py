"""Where raw images lie and how they are read."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from halfnas.data.images import DecodedImages, HeldImages, lies_on_device, open_images

CPU = torch.device("cpu")
IMAGES = torch.randint(256, (12, 2, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 5
REQUESTS = [torch.tensor([7, 0, 3]), torch.tensor([11]), torch.tensor([7, 8])]


class Files(Dataset):
    """The same images as if they were decoded one by one."""

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return IMAGES[index].clone(), int(LABELS[index])


def check(images, device=CPU):
    assert len(images) == 12
    for _ in range(2):  # a second pass, by the same processes
        batches = list(images.read(iter(REQUESTS)))
        assert len(batches) == len(REQUESTS)
        for (found, labels), request in zip(batches, REQUESTS, strict=True):
            assert torch.equal(found.to("cpu"), IMAGES[request])
            assert torch.equal(labels.to("cpu"), LABELS[request])
            assert labels.dtype == torch.int64
            assert found.device.type == labels.device.type == device.type


@pytest.mark.parametrize("on_device", ["auto", True, False])
def test_held(on_device):
    check(HeldImages(IMAGES, LABELS, device=CPU, on_device=on_device))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_decoded(num_workers):
    check(DecodedImages(Files(), device=CPU, num_workers=num_workers))


@pytest.mark.gpu
@pytest.mark.parametrize("on_device", ["auto", True, False])
def test_held_for_cuda(on_device):
    device = torch.device("cuda", 0)
    images = HeldImages(IMAGES, LABELS, device=device, on_device=on_device)
    assert images.images.device == (device if on_device else CPU)
    check(images, device)


@pytest.mark.gpu
def test_decoded_for_cuda():
    check(DecodedImages(Files(), device=torch.device("cuda", 0), num_workers=2), torch.device("cuda", 0))


def test_on_the_cpu_nothing_is_copied():
    images = HeldImages(IMAGES, LABELS, device=CPU, on_device="auto")
    assert images.images.data_ptr() == IMAGES.data_ptr()


def test_held_images_that_validation_opened_serve_training():
    channels_last, labels = IMAGES.to(memory_format=torch.channels_last), LABELS.int()  # both are copied
    with torch.inference_mode():
        images = HeldImages(channels_last, labels, device=CPU, on_device="auto")
    assert not images.images.is_inference()
    assert not images.labels.is_inference()


def test_loading_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    list(DecodedImages(Files(), device=CPU, num_workers=0).read(REQUESTS))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("megabytes", "expected"), [(16, True), (17, False)])
def test_auto_takes_a_sixteenth_of_a_gpu(monkeypatch, megabytes, expected):
    properties = SimpleNamespace(total_memory=256 * 10**6)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    images = torch.empty(megabytes, 10**6, dtype=torch.uint8, device="meta")
    cuda = torch.device("cuda", 0)
    assert lies_on_device(images, cuda, "auto") is expected
    assert lies_on_device(images, cuda, True) is True
    assert lies_on_device(images, cuda, False) is False
    assert lies_on_device(images, CPU, "auto") is True


def test_tensors_are_held_and_the_rest_is_decoded():
    settings = {"device": CPU, "on_device": "auto", "num_workers": 0}
    assert isinstance(open_images(TensorDataset(IMAGES, LABELS), **settings), HeldImages)
    assert isinstance(open_images(Files(), **settings), DecodedImages)
