import pytest
import torch


def all_of(images):
    pixels, labels = zip(*(images[i] for i in range(len(images))), strict=True)
    return torch.stack(pixels), torch.tensor(labels)


@pytest.mark.parametrize(("in_channels", "image_size"), [(1, 5), (2, 7), (3, 33), (5, 16)])
def test_any_shape(make_dataset, in_channels, image_size):
    dataset = make_dataset(
        "fake", in_channels=in_channels, image_size=image_size, num_classes=4, num_train=12, num_test=8
    )
    for images, number in ((dataset.train(augment=True, cutout_length=2), 12), (dataset.test(), 8)):
        pixels, labels = all_of(images)
        assert pixels.shape == (number, in_channels, image_size, image_size)
        assert pixels.dtype == torch.float32
        assert labels.bincount().tolist() == [number // 4] * 4
    assert dataset.in_channels == in_channels
    assert dataset.image_size == image_size
    assert dataset.num_classes == 4


def test_normalised(make_dataset):
    pixels, _ = all_of(make_dataset("fake", num_train=100).train(augment=False))
    # 100,000 pixels a channel: standard error 0.003.
    torch.testing.assert_close(pixels.mean(dim=(0, 2, 3)), torch.zeros(3), atol=0.015, rtol=0)
    torch.testing.assert_close(pixels.std(dim=(0, 2, 3)), torch.ones(3), atol=0.015, rtol=0)


def test_images_differ_and_depend_on_the_seed(make_dataset):
    def noise(seed):
        dataset = make_dataset("fake", image_size=4, num_train=20, num_test=10, seed=seed)
        return torch.cat([all_of(dataset.train(augment=False))[0], all_of(dataset.test())[0]])

    first, second = noise(0), noise(1)
    assert torch.equal(noise(0), first)
    assert len(torch.cat([first, second]).flatten(1).unique(dim=0)) == 60


def test_global_generator_untouched(make_dataset):
    images = make_dataset("fake").train(augment=False)
    state = torch.get_rng_state()
    images[0]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("setting", ["num_classes", "in_channels", "image_size", "num_train", "num_test"])
def test_bad_size(make_dataset, setting):
    with pytest.raises(Exception, match=f"`dataset.{setting}` must be at least 1, got 0"):
        make_dataset("fake", **{setting: 0})
