import pytest
import torch
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def published():
    digits = load_digits()
    return {tuple(pixels): label for pixels, label in zip(digits.data.astype(int).tolist(), digits.target, strict=True)}


def raw(dataset, *, train):
    images, labels = dataset._raw(train=train).tensors
    return images, labels


def as_published(images):
    return [tuple(pixels) for pixels in (images * 16).round().int().flatten(1).tolist()]


def test_shapes_and_range(make_dataset):
    dataset = make_dataset("digits")
    dataset.prepare()
    assert (len(dataset.train()), len(dataset.test())) == (1437, 360)
    images, _ = raw(dataset, train=True)
    assert images.shape == (1437, 1, 8, 8)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0, 1)
    assert (dataset.name, dataset.num_classes, dataset.in_channels, dataset.image_size) == ("digits", 10, 1, 8)


def test_train_and_test_are_the_published_images_without_overlap(make_dataset, published):
    dataset = make_dataset("digits")
    assert len(published) == 1797  # no image is there twice
    parts = []
    for train in (True, False):
        images, labels = raw(dataset, train=train)
        keys = as_published(images)
        assert [published[key] for key in keys] == labels.tolist()
        parts.append(set(keys))
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == set(published)


def test_split_is_stratified(make_dataset, published):
    _, labels = raw(make_dataset("digits"), train=False)
    of_class = torch.tensor(list(published.values())).bincount()
    assert (labels.bincount() - 0.2 * of_class).abs().max() < 1


def test_split_is_fixed(make_dataset):
    torch.manual_seed(0)
    first = raw(make_dataset("digits"), train=False)[0]
    torch.manual_seed(1)
    assert torch.equal(raw(make_dataset("digits"), train=False)[0], first)
    assert not torch.equal(raw(make_dataset("digits", split_seed=1), train=False)[0], first)
    # Recorded with scikit-learn 1.9: accuracies of different versions are on the same test images.
    labels = raw(make_dataset("digits"), train=False)[1]
    assert labels[:20].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3, 2, 6, 6, 4, 5, 8, 1, 3, 5, 6]
    assert int((first.flatten(1) * 16).sum(dim=1).long() @ torch.arange(360)) == 20174005


def test_mean_and_std_of_the_yaml(make_dataset):
    dataset = make_dataset("digits")
    images, _ = raw(dataset, train=True)
    assert dataset.mean == (pytest.approx(images.mean().item(), abs=1e-5),)
    assert dataset.std == (pytest.approx(images.std(correction=0).item(), abs=1e-5),)


def test_augmentation_shifts_by_one_pixel_and_never_mirrors(make_dataset):
    augmentation = make_dataset("digits").augmentation()
    assert (augmentation.crop_padding, augmentation.flip, augmentation.cutout_length) == (1, False, 0)


@pytest.mark.parametrize("test_fraction", [0, 1, 1.5])
def test_bad_test_fraction(make_dataset, test_fraction):
    with pytest.raises(Exception, match=r"`dataset.test_fraction` must be in \(0, 1\), got"):
        make_dataset("digits", test_fraction=test_fraction)
