"""What is done to a batch, against torchvision image by image; what is drawn, against its distribution."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from halfnas.data import Augmentation, Draws, Normalization

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(**values):
    """Draws of one image, 0 where not given."""
    return Draws(*(torch.tensor([values.get(name, 0)]) for name in Draws._fields))


def pixels(num_images=50, channels=3, size=32, seed=0):
    return torch.randint(256, (num_images, channels, size, size), dtype=torch.uint8, generator=generator(seed))


@pytest.mark.parametrize(("padding", "flip"), [(4, True), (4, False), (0, True), (1, True), (0, False)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_and_flip_are_torchvisions(padding, flip, dtype):
    augmentation = Augmentation(crop_padding=padding, flip=flip)
    images = pixels().to(dtype)
    drawn = augmentation.draw(50, 32, generator())
    found = augmentation.crop_and_flip(images, drawn)
    for i, image in enumerate(images):
        expected = tv.crop(tv.pad(image, [padding]), int(drawn.top[i]), int(drawn.left[i]), 32, 32)
        expected = tv.horizontal_flip(expected) if drawn.flip[i] else expected
        assert torch.equal(found[i], expected)
    assert found.dtype == dtype
    assert found.is_contiguous()
    assert torch.equal(images, pixels().to(dtype))


def test_crop_of_an_image_that_is_not_square():
    augmentation = Augmentation(crop_padding=2, flip=True)
    images = torch.arange(4 * 10).view(1, 1, 4, 10)
    found = augmentation.crop_and_flip(images, draws(top=1, left=4, flip=1))
    assert torch.equal(found[0], tv.horizontal_flip(tv.crop(tv.pad(images[0], [2]), 1, 4, 4, 10)))


def test_normalised_as_torchvision_does():
    mean, std = [0.49139968, 0.48215827, 0.44653124], [0.24703233, 0.24348505, 0.26158768]
    images = pixels()
    expected = v2.Normalize(mean, std)(v2.ToDtype(torch.float32, scale=True)(images))
    found = Normalization(mean, std, CPU)(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    for dtype in (torch.float32, torch.float64):  # in [0, 1] already
        scaled = images.to(dtype) / 255
        before = scaled.clone()
        found = Normalization(mean, std, CPU)(scaled)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        assert torch.equal(scaled, before)


@pytest.mark.parametrize("name", ["top", "left", "flip", "centre_y", "centre_x"])
def test_draws_are_uniform_and_independent(name):
    drawn = Augmentation(crop_padding=2, flip=True, cutout_length=2).draw(40_000, 8, generator(3))._asdict()
    choices = {"top": 5, "left": 5, "flip": 2, "centre_y": 8, "centre_x": 8}
    counts = drawn[name].bincount(minlength=choices[name])
    expected = 40_000 / choices[name]
    assert len(counts) == choices[name]
    assert (counts - expected).abs().max() < 4 * expected**0.5
    for other in set(choices) - {name}:
        correlation = torch.corrcoef(torch.stack([drawn[name], drawn[other]]).double())[0, 1]
        assert correlation.abs() < 0.02  # 4 / sqrt(40000)


def test_what_is_switched_off_changes_no_other_draw():
    everything = Augmentation(crop_padding=2, flip=True, cutout_length=4).draw(20, 8, generator())
    without = Augmentation(crop_padding=2, flip=False).draw(20, 8, generator())
    assert without.flip.sum() == 0
    for name in ("top", "left", "centre_y", "centre_x"):
        assert torch.equal(getattr(everything, name), getattr(without, name))


def test_the_global_generator_is_not_asked():
    state = torch.get_rng_state()
    augmentation = Augmentation(crop_padding=2, flip=True, cutout_length=4)
    augmentation.crop_and_flip(pixels(5), augmentation.draw(5, 32, generator()))
    assert torch.equal(torch.get_rng_state(), state)


# --- cutout -----------------------------------------------------------------------------------------------------------


def erased(length, y, x, shape=(32, 32)):
    augmentation = Augmentation(crop_padding=0, flip=False, cutout_length=length)
    return augmentation.cut_out(torch.ones(1, 1, *shape), draws(centre_y=y, centre_x=x))[0, 0] == 0


def test_worked_example():
    # length 4 about (2, 4): rows 0 ... 3 and columns 2 ... 5.
    expected = torch.tensor(
        [
            [1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1],
        ]
    )
    assert torch.equal(erased(4, 2, 4, (6, 6)), expected == 0)


@pytest.mark.parametrize(
    ("centre", "rows", "columns"),
    [
        ((0, 0), (0, 8), (0, 8)),
        ((31, 31), (23, 32), (23, 32)),
        ((0, 31), (0, 8), (23, 32)),
        ((16, 3), (8, 24), (0, 11)),
    ],
)
def test_clipped_at_borders(centre, rows, columns):
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[rows[0] : rows[1], columns[0] : columns[1]] = True
    assert torch.equal(erased(16, *centre), expected)


def test_mean_area_over_all_centres():
    # DARTS' 16 on 32x32: each side is clip(c + 8, 0, 32) - clip(c - 8, 0, 32), 14 on average, so 196 pixels of 256.
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    zeros = torch.zeros(1024, dtype=torch.int64)
    augmentation = Augmentation(crop_padding=0, flip=False, cutout_length=16)
    found = augmentation.cut_out(torch.ones(1024, 1, 32, 32), Draws(zeros, zeros, zeros, y.flatten(), x.flatten()))
    areas = (found == 0).flatten(1).sum(dim=1)
    assert areas.double().mean() == 196
    assert (areas.min(), areas.max()) == (64, 256)


def test_a_square_of_its_own_for_each_image_the_same_for_its_channels():
    augmentation = Augmentation(crop_padding=0, flip=False, cutout_length=16)
    images = torch.rand(20, 3, 32, 32) + 1
    before = images.clone()
    result = augmentation.cut_out(images, augmentation.draw(20, 32, generator()))
    assert torch.equal(images, before)
    gone = result == 0
    assert torch.equal(gone, gone[:, :1].expand_as(gone))
    assert len(gone[:, 0].flatten(1).unique(dim=0)) == 20
    assert torch.equal(result[~gone], before[~gone])


def test_odd_length_as_darts():
    # length // 2 on both sides: 5 erases as much as 4.
    assert all(torch.equal(erased(5, y, x), erased(4, y, x)) for y, x in [(0, 0), (7, 30), (16, 16)])


def test_cutout_of_images_that_are_not_square():
    gone = erased(4, 3, 9, (4, 10))
    assert gone.nonzero().tolist() == [[row, column] for row in (1, 2, 3) for column in (7, 8, 9)]


@pytest.mark.parametrize("setting", ["crop_padding", "cutout_length"])
def test_bad_length(setting):
    settings = {"crop_padding": 0, "flip": False, "cutout_length": 0, setting: -2}
    with pytest.raises(ValueError, match=f"`{setting}` must be 0 pixels or more, got -2; 0 leaves it out"):
        Augmentation(**settings)
