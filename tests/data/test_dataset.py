import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from halfnas.data import Augmentation, Cifar10, Cifar100, Digits, Fake, ImageDataset

SETTINGS = {"mean": [0.0], "std": [1.0], "crop_padding": 0, "flip": False, "num_workers": 0}


class Numbered(ImageDataset):
    """Image i is filled with i + 1, of 255."""

    name = "numbered"
    num_classes = 3
    in_channels = 1
    image_size = 6

    def __init__(self, **settings) -> None:
        super().__init__(**{**SETTINGS, **settings})
        self.times_read = 0

    def _raw(self, *, train: bool) -> Dataset:
        self.times_read += 1
        images = torch.arange(1, 10, dtype=torch.uint8).view(9, 1, 1, 1).repeat(1, 1, 6, 6)
        return TensorDataset(images, torch.arange(9) % 3)


class Decoded(Numbered):
    """The same, as images that are decoded one by one."""

    name = "decoded"

    def _raw(self, *, train: bool) -> Dataset:
        return Subset(super()._raw(train=train), range(9))


@pytest.mark.parametrize(
    ("name", "kind"), [("cifar10", Cifar10), ("cifar100", Cifar100), ("digits", Digits), ("fake", Fake)]
)
def test_every_yaml_makes_its_dataset(make_dataset, name, kind):
    dataset = make_dataset(name)
    assert type(dataset) is kind
    assert dataset.name == name
    assert isinstance(dataset.mean, tuple)
    assert isinstance(dataset.std, tuple)
    assert len(dataset.mean) == len(dataset.std) == dataset.in_channels
    assert dataset.max_train_images is None
    assert dataset.on_device == "auto"


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_constants(make_dataset, name):
    dataset = make_dataset(name, data_dir="somewhere")
    # quark0/darts, cnn/utils.py, which PC-DARTS uses for CIFAR-100 too.
    assert dataset.mean == (0.49139968, 0.48215827, 0.44653124)
    assert dataset.std == (0.24703233, 0.24348505, 0.26158768)
    assert (dataset.crop_padding, dataset.flip, dataset.num_workers) == (4, True, 0)
    assert str(dataset.root) == "somewhere"
    assert dataset.published_order


def test_what_happens_to_images():
    dataset = Numbered(crop_padding=2, flip=True, mean=[0.25], std=[0.5])
    assert dataset.augmentation() == Augmentation(crop_padding=2, flip=True)
    assert dataset.augmentation(3) == Augmentation(crop_padding=2, flip=True, cutout_length=3)
    found = dataset.normalization(torch.device("cpu"))(dataset.train().tensors[0])
    torch.testing.assert_close(found[4], torch.full((1, 6, 6), (5 / 255 - 0.25) / 0.5))


@pytest.mark.parametrize(("limit", "expected"), [(None, 9), (4, 4), (9, 9), (100, 9)])
@pytest.mark.parametrize("kind", [Numbered, Decoded])
def test_max_train_images_are_the_first_ones(kind, limit, expected):
    dataset = kind(max_train_images=limit)
    images = dataset.train()
    assert len(images) == expected
    assert [(int(image.max()), int(label)) for image, label in (images[i] for i in range(len(images)))] == [
        (i + 1, i % 3) for i in range(expected)
    ]
    assert len(dataset.test()) == 9
    assert isinstance(images, TensorDataset) == (kind is Numbered)


def test_nothing_is_read_before_it_is_needed_and_then_once():
    dataset = Numbered()
    assert dataset.times_read == 0
    dataset.prepare()
    dataset.train()
    dataset.train()
    assert dataset.times_read == 1
    dataset.test()
    assert dataset.times_read == 2


@pytest.mark.parametrize("on_device", ["auto", True, False])
def test_where_tensors_may_lie(on_device):
    dataset = Numbered(on_device=on_device)
    dataset.prepare()
    assert dataset.on_device == on_device


@pytest.mark.parametrize("on_device", ["auto", False])
def test_decoded_images_do_not_lie_on_the_device(on_device):
    Decoded(on_device=on_device).prepare()
    with pytest.raises(
        ValueError, match=r"`dataset.on_device` must be auto or false for decoded, whose images are .*, got True"
    ):
        Decoded(on_device=True).prepare()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": [0.1, 0.2]}, r"`dataset.mean` must have one number a channel, 1 for numbered, got \[0.1, 0.2\]"),
        ({"std": []}, r"`dataset.std` must have one number a channel, 1 for numbered, got \[\]"),
        ({"std": [0.0]}, r"`dataset.std` must be positive, got \[0.0\]"),
        ({"crop_padding": -1}, "`dataset.crop_padding` must be 0 or more, got -1"),
        ({"num_workers": -1}, "`dataset.num_workers` must be 0 or more, got -1"),
        ({"on_device": "cuda"}, "`dataset.on_device` must be auto, true or false, got 'cuda'"),
        ({"on_device": 1}, "`dataset.on_device` must be auto, true or false, got 1"),
        ({"on_device": None}, "`dataset.on_device` must be auto, true or false, got None"),
        ({"max_train_images": 1}, r"`dataset.max_train_images` must be at least 2 \(batch norm\), got 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Numbered(**settings)
