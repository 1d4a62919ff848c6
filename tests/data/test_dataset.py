import pickle

import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from halfnas.data import Cifar10, Cifar100, Digits, Fake, ImageDataset

SETTINGS = {"mean": [0.0], "std": [1.0], "crop_padding": 0, "flip": False, "num_workers": 0}


class Numbered(ImageDataset):
    """Image i is filled with i + 1, of 255, but for its first column, which is 0."""

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
        images[..., 0] = 0
        return TensorDataset(images, torch.arange(9) % 3)


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


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_constants(make_dataset, name):
    dataset = make_dataset(name, data_dir="somewhere")
    # quark0/darts, cnn/utils.py, which PC-DARTS uses for CIFAR-100 too.
    assert dataset.mean == (0.49139968, 0.48215827, 0.44653124)
    assert dataset.std == (0.24703233, 0.24348505, 0.26158768)
    assert (dataset.crop_padding, dataset.flip, dataset.num_workers) == (4, True, 2)
    assert str(dataset.root) == "somewhere"


def test_scaled_and_normalised():
    image, label = Numbered(mean=[0.25], std=[0.5]).train(augment=False)[4]
    expected = torch.full((1, 6, 6), 5 / 255)
    expected[..., 0] = 0
    torch.testing.assert_close(image, (expected - 0.25) / 0.5)
    assert label == 1
    assert isinstance(label, int)


def test_batched_access_equals_single_access():
    images = Numbered(mean=[0.25], std=[0.5]).train(augment=False)
    batch = images.__getitems__([7, 0, 3])
    for (image, label), index in zip(batch, [7, 0, 3], strict=True):
        assert torch.equal(image, images[index][0])
        assert label == images[index][1]


def test_flip_is_on_half_of_the_images_and_per_image():
    torch.manual_seed(0)
    images = Numbered(flip=True).train(augment=True)
    batches = [images.__getitems__(list(range(9))) for _ in range(100)]
    flipped = torch.tensor([[image[0, 0, 0] != 0 for image, _ in batch] for batch in batches])
    assert 0.43 < flipped.float().mean() < 0.57  # 900 draws: 0.5 +- 4 standard deviations
    assert flipped.any(dim=1).sum() > flipped.all(dim=1).sum()


def test_crop_comes_before_normalisation_and_cutout_after_it():
    torch.manual_seed(0)
    dataset = Numbered(mean=[-1.0], crop_padding=2)
    # Padding is black before normalisation, so 1 after it; erased pixels are 0 after it.
    values = torch.cat([dataset.train(augment=True)[8][0] for _ in range(50)]).unique()
    torch.testing.assert_close(values, torch.tensor([1, 1 + 9 / 255]))
    values = dataset.train(augment=True, cutout_length=2)[8][0].unique().tolist()
    assert 0.0 in values


def test_without_augmentation_every_access_is_the_same_and_the_test_set_never_changes():
    dataset = Numbered(crop_padding=2, flip=True)
    for images in (dataset.train(augment=False), dataset.test()):
        first = images[3][0]
        assert all(torch.equal(images[3][0], first) for _ in range(20))


@pytest.mark.parametrize(("limit", "expected"), [(None, 9), (4, 4), (9, 9), (100, 9)])
def test_max_train_images_are_the_first_ones(limit, expected):
    dataset = Numbered(max_train_images=limit)
    images = dataset.train(augment=False)
    assert len(images) == expected
    assert [round(images[i][0].max().item() * 255) for i in range(len(images))] == list(range(1, expected + 1))
    assert len(dataset.test()) == 9


def test_nothing_is_read_before_it_is_needed_and_then_once():
    dataset = Numbered()
    assert dataset.times_read == 0
    dataset.prepare()
    dataset.train(augment=True)
    dataset.train(augment=False)
    assert dataset.times_read == 1
    dataset.test()
    assert dataset.times_read == 2


def test_goes_to_a_loading_process(make_dataset):
    images = make_dataset("digits").train(augment=True, cutout_length=2)
    assert len(pickle.loads(pickle.dumps(images))) == 1437


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": [0.1, 0.2]}, r"`dataset.mean` must have one number a channel, 1 for numbered, got \[0.1, 0.2\]"),
        ({"std": []}, r"`dataset.std` must have one number a channel, 1 for numbered, got \[\]"),
        ({"std": [0.0]}, r"`dataset.std` must be positive, got \[0.0\]"),
        ({"crop_padding": -1}, "`dataset.crop_padding` must be 0 or more, got -1"),
        ({"num_workers": -1}, "`dataset.num_workers` must be 0 or more, got -1"),
        ({"max_train_images": 1}, r"`dataset.max_train_images` must be at least 2 \(batch norm\), got 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Numbered(**settings)
