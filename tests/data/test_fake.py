import pytest
import torch


@pytest.mark.parametrize(("in_channels", "image_size"), [(1, 5), (2, 7), (3, 33), (5, 16)])
def test_any_shape(make_dataset, in_channels, image_size):
    dataset = make_dataset(
        "fake", in_channels=in_channels, image_size=image_size, num_classes=4, num_train=12, num_test=8
    )
    for images, number in ((dataset.train(), 12), (dataset.test(), 8)):
        pixels, labels = images.tensors
        assert pixels.shape == (number, in_channels, image_size, image_size)
        assert pixels.dtype == torch.uint8
        assert labels.bincount().tolist() == [number // 4] * 4
    assert dataset.in_channels == in_channels
    assert dataset.image_size == image_size
    assert dataset.num_classes == 4


def test_normalised(make_dataset):
    dataset = make_dataset("fake", num_train=100)
    pixels = dataset.normalization(torch.device("cpu"))(dataset.train().tensors[0])
    # 100,000 pixels a channel: standard error 0.003.
    torch.testing.assert_close(pixels.mean(dim=(0, 2, 3)), torch.zeros(3), atol=0.015, rtol=0)
    torch.testing.assert_close(pixels.std(dim=(0, 2, 3)), torch.ones(3), atol=0.015, rtol=0)


def test_every_image_has_a_seed_of_its_own(make_dataset):
    few, many = (make_dataset("fake", num_train=n, image_size=4).train().tensors[0] for n in (3, 10))
    assert torch.equal(few, many[:3])
    # Recorded: figures of different versions are on the same noise.
    assert many[0, 0].tolist() == [[49, 212, 169, 154], [13, 232, 230, 109], [96, 246, 95, 190], [186, 248, 184, 247]]


def test_images_differ_and_depend_on_the_seed(make_dataset):
    def noise(seed):
        dataset = make_dataset("fake", image_size=4, num_train=20, num_test=10, seed=seed)
        return torch.cat([dataset.train().tensors[0], dataset.test().tensors[0]])

    first, second = noise(0), noise(1)
    assert torch.equal(noise(0), first)
    assert len(torch.cat([first, second]).flatten(1).unique(dim=0)) == 60


def test_global_generator_untouched(make_dataset):
    state = torch.get_rng_state()
    make_dataset("fake").train()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("setting", ["num_classes", "in_channels", "image_size", "num_train", "num_test"])
def test_bad_size(make_dataset, setting):
    with pytest.raises(Exception, match=f"`dataset.{setting}` must be at least 1, got 0"):
        make_dataset("fake", **{setting: 0})
