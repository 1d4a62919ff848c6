"""Batches as functions of (seed, stream, epoch, number)."""

import pytest
import torch
from torch.utils.data import Dataset

from halfnas.data import Augmentation, Normalization
from halfnas.data.batches import InOrder, Pairs, Sampled, Shuffled
from halfnas.data.images import DecodedImages, HeldImages

CPU = torch.device("cpu")
PIXELS = torch.randint(256, (40, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
MEAN, STD = [0.5, 0.4, 0.6], [0.2, 0.3, 0.1]
EVERYTHING = Augmentation(crop_padding=1, flip=True, cutout_length=2)
SIZES = {"image_size": 6, "batch_size": 8}


class Files(Dataset):
    """Image i has label i."""

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, index):
        return PIXELS[index].clone(), index


def held(device=CPU, on_device="auto"):
    return HeldImages(PIXELS, torch.arange(len(PIXELS)), device=device, on_device=on_device)


def shuffled(num_images=40, *, images=None, first=0, **settings):
    images = held() if images is None else images
    settings = {**SIZES, "seed": 0, "stream": "weights", **settings}
    indices = torch.arange(first, first + num_images)
    return Shuffled(images, Normalization(MEAN, STD, images.device), EVERYTHING, indices, **settings)


def in_order(num_images=40, **settings):
    return InOrder(held(), Normalization(MEAN, STD, CPU), torch.arange(num_images), **{"batch_size": 8, **settings})


def sampled(**settings):
    settings = {**SIZES, "num_samples": 5, "seed": 0, "stream": "pruning", **settings}
    return Sampled(held(), Normalization(MEAN, STD, CPU), EVERYTHING, torch.arange(len(PIXELS)), **settings)


def pairs(num_weights=20, num_architecture=20, **settings):
    weights = shuffled(num_weights)
    architecture = shuffled(num_architecture, first=40 - num_architecture, stream="architecture")
    return Pairs(weights, architecture, **settings)


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return list(loader)


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("make", [shuffled, in_order, sampled])
def test_going_through_gives_the_batches_by_number(make):
    loader = make()
    for number in (3, 0):
        batches = epoch(loader, number)
        assert len(batches) == len(loader) == 5
        for index in (4, 0, 2):
            assert equal(loader.batch(number, index), batches[index])
            assert equal(make().batch(number, index), batches[index])
    images, labels = batches[0]
    assert images.shape == (8, 3, 6, 6)
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    for number in (-1, 5):
        with pytest.raises(IndexError, match=f"batch {number} of an epoch of 5 batches"):
            loader.batch(0, number)


@pytest.mark.parametrize("make", [shuffled, sampled])
def test_seed_stream_epoch_and_number_each_make_another_batch(make):
    plain = make().batch(0, 0)
    torch.manual_seed(5)
    assert equal(make().batch(0, 0), plain)
    others = [
        make(seed=1).batch(0, 0),
        make(stream="other").batch(0, 0),
        make().batch(1, 0),
        make().batch(0, 1),
    ]
    for images, labels in others:
        assert not torch.equal(labels, plain[1])
        assert not torch.equal(images, plain[0])


def test_an_epoch_has_every_image_once():
    orders = [torch.cat([labels for _, labels in epoch(shuffled(), number)]) for number in range(3)]
    assert all(torch.equal(order.sort().values, torch.arange(40)) for order in orders)


def test_an_image_is_augmented_anew_in_each_epoch():
    loader = shuffled()

    def image(label, number):
        return next(images[labels == label] for images, labels in epoch(loader, number) if (labels == label).any())

    assert len(torch.cat([image(7, number) for number in range(20)]).flatten(1).unique(dim=0)) > 10


def test_raw_pixels_are_never_written_to():
    before = PIXELS.clone()
    for make in (shuffled, in_order, sampled):
        list(make())
    assert torch.equal(PIXELS, before)


@pytest.mark.parametrize("number", [0, 4])
def test_a_batch_is_made_in_the_order_of_darts(number):
    loader = shuffled()
    images, labels = loader.batch(2, number)
    indices, draws = loader.select(2, number)
    assert torch.equal(labels, indices)
    raw = EVERYTHING.crop_and_flip(PIXELS[indices], draws)
    expected = EVERYTHING.cut_out(Normalization(MEAN, STD, CPU)(raw), draws)
    assert torch.equal(images, expected)
    assert ((images == 0).flatten(1).sum(dim=1) > 0).all(), "erased to the mean colour"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_decoded_images_make_the_same_batches(num_workers):
    images = DecodedImages(Files(), device=CPU, num_workers=num_workers)
    loader, expected = shuffled(images=images), shuffled()
    for number in (0, 2):
        for found, batch in zip(epoch(loader, number), epoch(expected, number), strict=True):
            assert equal(found, batch)
    next(iter(loader))  # an epoch that is cut short leaves nothing behind
    for found, batch in zip(epoch(loader, 1), epoch(expected, 1), strict=True):
        assert equal(found, batch)
    assert equal(loader.batch(0, 3), expected.batch(0, 3))


def test_where_the_images_lie_changes_no_number():
    batches = [list(shuffled(images=held(on_device=on_device))) for on_device in (True, False)]
    assert all(equal(a, b) for a, b in zip(*batches, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("on_device", [True, False])
def test_cuda_makes_the_same_batches(on_device):
    device = torch.device("cuda", 0)
    loader, expected = shuffled(images=held(device, on_device)), shuffled()
    for (images, labels), (cpu_images, cpu_labels) in zip(epoch(loader, 1), epoch(expected, 1), strict=True):
        assert images.device == labels.device == device
        assert torch.equal(labels.cpu(), cpu_labels)
        torch.testing.assert_close(images.cpu(), cpu_images, rtol=1e-6, atol=1e-6)
    indices, draws = expected.select(1, 0)
    raw = EVERYTHING.crop_and_flip(PIXELS[indices].to(device), type(draws)(*(drawn.to(device) for drawn in draws)))
    assert torch.equal(raw.cpu(), EVERYTHING.crop_and_flip(PIXELS[indices], draws))


@pytest.mark.gpu
@pytest.mark.parametrize("on_device", [True, False])
def test_cuda_never_waits(on_device):
    loader = shuffled(images=held(torch.device("cuda", 0), on_device))
    list(loader)
    torch.cuda.set_sync_debug_mode("error")
    try:
        list(loader)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# --- several processes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_images", [32, 36, 40])
def test_two_processes_see_what_one_with_the_joined_batch_sees(num_images):
    one = shuffled(num_images, batch_size=16)
    two = [shuffled(num_images, batch_size=8, num_replicas=2, rank=rank) for rank in range(2)]
    for number in range(2):
        for joined, *parts in zip(epoch(one, number), *(epoch(loader, number) for loader in two), strict=True):
            assert equal(joined, [torch.cat(both) for both in zip(*parts, strict=True)])


@pytest.mark.parametrize(
    ("num_images", "sizes"),
    [(32, [8, 8]), (33, [8, 8]), (35, [8, 8]), (36, [8, 8, 2]), (37, [8, 8, 2]), (15, [7])],
)
def test_the_last_batch_is_shared_evenly(num_images, sizes):
    for rank in range(2):
        loader = shuffled(num_images, num_replicas=2, rank=rank)
        assert [len(labels) for _, labels in loader] == sizes
        assert len(loader) == len(sizes)


@pytest.mark.parametrize(
    ("num_images", "sizes"), [(16, [8, 8]), (17, [8, 8]), (18, [8, 8, 2]), (15, [8, 7]), (5, [5]), (2, [2])]
)
def test_a_last_batch_of_one_is_dropped_and_no_other(num_images, sizes):
    assert [len(labels) for _, labels in shuffled(num_images)] == sizes


def test_batches_of_one_are_what_batch_size_1_asks_for():
    assert len(list(shuffled(5, batch_size=1))) == 5
    assert len(list(shuffled(5, batch_size=1, num_replicas=2))) == 2


def test_too_few_images():
    with pytest.raises(ValueError, match="1 training images do not make a batch of 8; raise"):
        shuffled(1)


@pytest.mark.parametrize("num_images", [1, 2, 3, 24, 25, 26, 40])
def test_images_in_order_are_each_seen_once(num_images):
    loaders = [in_order(num_images, num_replicas=3, rank=rank) for rank in range(3)]
    found = [torch.cat([labels for _, labels in loader]) if len(loader) else torch.arange(0) for loader in loaders]
    assert [len(list(loader)) for loader in loaders] == [len(loader) for loader in loaders]
    assert torch.equal(torch.cat(found).sort().values, torch.arange(num_images))


def test_images_in_order_are_as_they_are():
    images, labels = (torch.cat(parts) for parts in zip(*in_order(), strict=True))
    assert torch.equal(labels, torch.arange(40))
    assert torch.equal(images, Normalization(MEAN, STD, CPU)(PIXELS))


# --- samples ----------------------------------------------------------------------------------------------------------


def test_samples_are_of_distinct_images():
    for _, labels in sampled(batch_size=40):
        assert torch.equal(labels.sort().values, torch.arange(40))


# --- pairs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_weights", "num_architecture"), [(20, 20), (24, 12), (9, 31)])
@pytest.mark.parametrize("warmup_epochs", [0, 2])
def test_architecture_batches_go_round_on_their_own(num_weights, num_architecture, warmup_epochs):
    loader = pairs(num_weights, num_architecture, warmup_epochs=warmup_epochs)
    weights, architecture = loader.weights, loader.architecture
    passes = [batch for number in range(8) for batch in epoch(architecture, number)]
    found = []
    for number in range(warmup_epochs + 3):
        steps = epoch(loader, number)
        assert len(steps) == len(loader) == len(weights)
        assert all(equal(step[0], batch) for step, batch in zip(steps, epoch(weights, number), strict=True))
        assert all((step[1] is None) == (number < warmup_epochs) for step in steps)
        for index, step in enumerate(steps):
            again = loader.batch(number, index)
            assert equal(again[0], step[0])
            assert again[1] is None if step[1] is None else equal(again[1], step[1])
        found += [step[1] for step in steps if step[1] is not None]
    assert len(found) == 3 * len(weights)
    assert all(equal(a, b) for a, b in zip(found, passes, strict=False))


def test_the_second_half_is_not_read_during_the_warmup(monkeypatch):
    loader = pairs(warmup_epochs=1)
    loader.architecture.images = None  # reading it would fail
    assert len(epoch(loader, 0)) == 3
    with pytest.raises(AttributeError):
        epoch(loader, 1)


def test_the_halves_are_shuffled_independently():
    steps = list(pairs())
    assert not any(torch.equal(weights[1] + 20, architecture[1]) for weights, architecture in steps)


@pytest.mark.parametrize("make", [shuffled, pairs])
def test_the_epoch_may_be_set_until_the_first_batch(make):
    loader = make()
    late = iter(loader)
    loader.sampler.set_epoch(2)
    first = next(late)
    batch = loader.batch(2, 0)
    assert equal(first, batch) if make is shuffled else all(map(equal, first, batch))


def test_decoded_pairs_are_the_same():
    def make(images):
        weights = shuffled(20, images=images())
        return Pairs(weights, shuffled(20, images=images(), first=20, stream="architecture"))

    decoded = make(lambda: DecodedImages(Files(), device=CPU, num_workers=1))
    for found, expected in zip(epoch(decoded, 1), epoch(make(held), 1), strict=True):
        assert equal(found[0], expected[0])
        assert equal(found[1], expected[1])
