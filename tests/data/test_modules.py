from types import SimpleNamespace

import lightning
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from halfnas.data import EvaluationData, Fake, ImageDataset, Pairs, PruningData, SearchData


class Ordered(Fake):
    """Split at an index, as CIFAR."""

    published_order = True


def fake(num_train=40, **settings):
    """No augmentation, and as many classes as images: a label tells which image it is."""
    shape = {"num_classes": num_train, "in_channels": 1, "image_size": 4, "num_train": num_train, "num_test": 10}
    return Ordered(**{**shape, "crop_padding": 0, "flip": False, "num_workers": 0, "seed": 0, **settings})


class Sorted(ImageDataset):
    """40 images sorted by class, 10 of each; image i has the value i. Held, or decoded if it has processes for it."""

    name = "sorted"
    num_classes = 4
    in_channels = 1
    image_size = 4

    def __init__(self, num_workers=None, **settings):
        plain = {"mean": [0.0], "std": [1 / 255], "crop_padding": 0, "flip": False}
        super().__init__(num_workers=num_workers or 0, **{**plain, **settings})
        self.is_held = num_workers is None

    def _raw(self, *, train):
        images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).repeat(1, 1, 4, 4)
        held = TensorDataset(images, torch.arange(4).repeat_interleave(10))
        return held if self.is_held else Decoded(held)


class Decoded(Dataset):
    def __init__(self, held):
        self.held = held

    def __len__(self):
        return len(self.held)

    def __getitem__(self, index):
        image, label = self.held[index]
        return image.clone(), int(label)


def labels(loader):
    return [batch.tolist() for _, batch in loader]


def flat(loader):
    return [label for batch in labels(loader) for label in batch]


def halves(data, epoch=0):
    """Labels of a search's batches for weights and for architecture; None where there is none."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    steps = list(loader)
    return [w[1].tolist() for w, _ in steps], [None if a is None else a[1].tolist() for _, a in steps]


def joined(batches):
    return [label for batch in batches for label in batch]


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
    )


# --- pruning ----------------------------------------------------------------------------------------------------------


def test_batches_are_images_and_labels():
    images, numbers = next(iter(PruningData(fake(), batch_size=8, num_batches=2, seed=0).train_dataloader()))
    assert images.shape == (8, 1, 4, 4)
    assert images.dtype == torch.float32
    assert numbers.shape == (8,)
    assert numbers.dtype == torch.int64


@pytest.mark.parametrize("num_batches", [1, 4, 12])
def test_pruning_batches_are_all_whole_and_of_distinct_images(num_batches):
    batches = labels(PruningData(fake(39), batch_size=8, num_batches=num_batches, seed=0).train_dataloader())
    assert [len(set(batch)) for batch in batches] == [8] * num_batches


def test_the_sample_of_a_repeat_depends_on_seed_and_repeat_alone():
    def batches(seed, num_batches=3):
        return list(PruningData(fake(), batch_size=8, num_batches=num_batches, seed=seed).train_dataloader())

    torch.manual_seed(0)
    first = batches(seed=0)
    torch.manual_seed(1)
    assert equal(batches(seed=0, num_batches=5)[:3], first)
    assert len({str(numbers) for _, numbers in first + batches(seed=1)}) == 6


def test_too_few_images_for_a_score():
    data = PruningData(fake(), batch_size=41, num_batches=1, seed=0)
    with pytest.raises(ValueError, match="40 training images are fewer than the 41 of a score; raise"):
        data.train_dataloader()


# --- search -----------------------------------------------------------------------------------------------------------


def test_search_halves_are_disjoint_and_cover_everything():
    data = SearchData(fake(40), batch_size=8, seed=0)
    weights, architecture = halves(data)
    assert sorted(joined(weights)) == list(range(20))
    assert sorted(joined(architecture)) == list(range(20, 40))
    assert flat(data.val_dataloader()) == list(range(20, 40))


def test_search_train_fraction():
    data = SearchData(fake(40), batch_size=5, seed=0, train_fraction=0.75)
    weights, architecture = halves(data)
    assert sorted(joined(weights)) == list(range(30))
    # 6 steps an epoch go three times through the 2 batches of the second part.
    assert [sorted(joined(architecture[i : i + 2])) for i in (0, 2, 4)] == [list(range(30, 40))] * 3
    assert len({str(architecture[i : i + 2]) for i in (0, 2, 4)}) == 3


def test_no_architecture_batch_during_the_warmup():
    data = SearchData(fake(40), batch_size=8, seed=0, warmup_epochs=2)
    assert [halves(data, epoch)[1] for epoch in range(2)] == [[None] * 3] * 2
    assert halves(data, 2)[1] == halves(SearchData(fake(40), batch_size=8, seed=0), 0)[1]


@pytest.mark.parametrize("num_workers", [None, 0, 2])
def test_a_set_sorted_by_class_is_split_by_class(num_workers):
    data = SearchData(Sorted(num_workers), batch_size=20, seed=0)
    (weights, architecture), *_ = data.train_dataloader()
    for _, numbers in (weights, architecture):
        assert numbers.bincount().tolist() == [5] * 4
    seen = torch.cat([images[:, 0, 0, 0] for images, _ in (weights, architecture)]).sort().values
    torch.testing.assert_close(seen, torch.arange(40.0))
    images, numbers = next(iter(data.val_dataloader()))
    assert torch.equal(numbers, numbers.sort().values)
    torch.testing.assert_close(images[:, 0, 0, 0], architecture[0][:, 0, 0, 0].sort().values)


def test_the_halves_do_not_depend_on_the_seed_of_the_run():
    data = [SearchData(Sorted(), batch_size=20, seed=seed).val_dataloader() for seed in (0, 1)]
    assert equal(*(list(loader) for loader in data))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_decoded_images_make_the_same_batches(num_workers):
    augmented = {"crop_padding": 1, "flip": True}
    for epoch in (0, 1):
        loaders = [
            SearchData(Sorted(n, **augmented), batch_size=8, seed=0).train_dataloader() for n in (None, num_workers)
        ]
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        for (weights, architecture), (*expected,) in zip(*loaders, strict=True):
            assert equal([weights, architecture], expected)


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_by_the_published_protocol():
    data = EvaluationData(fake(num_train=40), batch_size=8, seed=0, cutout_length=0)
    assert sorted(flat(data.train_dataloader())) == list(range(40))
    # Fake labels go on counting, modulo the 40 classes.
    assert flat(data.val_dataloader()) == flat(data.test_dataloader()) == list(range(10))


def test_evaluation_with_a_holdout():
    data = EvaluationData(fake(40), batch_size=8, seed=0, cutout_length=0, holdout_fraction=0.25)
    train, val = flat(data.train_dataloader()), flat(data.val_dataloader())
    assert (len(train), len(val)) == (30, 10)
    assert sorted(train + val) == list(range(40))
    assert flat(data.val_dataloader()) == val
    assert len(flat(data.test_dataloader())) == 10
    other = EvaluationData(fake(40), batch_size=8, seed=1, cutout_length=0, holdout_fraction=0.25)
    assert set(flat(other.val_dataloader())) != set(val)


@pytest.mark.parametrize("published_order", [True, False])
def test_what_is_held_out_is_seen_by_no_stage(monkeypatch, published_order):
    """Else the accuracy on it would be that of an architecture chosen by it."""
    dataset = fake(40)
    monkeypatch.setattr(dataset, "published_order", published_order, raising=False)
    held = {"batch_size": 4, "seed": 3, "holdout_fraction": 0.25}
    left_out = set(flat(EvaluationData(dataset, cutout_length=0, **held).val_dataloader()))
    assert len(left_out) == 10

    search = SearchData(dataset, **held)
    first, second = ([number for batch in half for number in batch] for half in halves(search))
    assert sorted(first + second) == sorted(set(range(40)) - left_out)
    assert len(first) == len(second) == 15
    assert set(flat(search.val_dataloader())) == set(second)
    pruning = PruningData(dataset, num_batches=50, **held)
    assert set(flat(pruning.train_dataloader())) == set(range(40)) - left_out


def test_cutout_is_for_training_images_of_evaluation_only():
    def erased(batches):
        return sum(int((images == 0).sum()) for images, _ in batches)

    # Noise of odd distance from its mean, 127.5 of 255, is never 0 once normalised.
    data = EvaluationData(fake(), batch_size=8, seed=0, cutout_length=2, holdout_fraction=0.25)
    assert erased(data.train_dataloader()) >= 30
    assert erased(data.val_dataloader()) == erased(data.test_dataloader()) == 0
    assert erased(EvaluationData(fake(), batch_size=8, seed=0, cutout_length=0).train_dataloader()) == 0
    assert erased(PruningData(fake(), batch_size=8, num_batches=4, seed=0).train_dataloader()) == 0
    search = SearchData(fake(), batch_size=8, seed=0).train_dataloader()
    assert erased(batch for pair in search for batch in pair) == 0


# --- all of them ------------------------------------------------------------------------------------------------------


def test_what_is_augmented():
    dataset = fake(crop_padding=2, flip=True)
    plain = dataset.normalization(torch.device("cpu"))(dataset.train().tensors[0])

    def changed(batches):
        pairs = [pair for images, numbers in batches for pair in zip(images, numbers.tolist(), strict=True)]
        return sum(not torch.equal(image, plain[number]) for image, number in pairs)

    search = SearchData(dataset, batch_size=8, seed=0)
    for half in zip(*search.train_dataloader(), strict=True):
        assert changed(half) > 10
    assert changed(search.val_dataloader()) == 0
    assert changed(PruningData(dataset, batch_size=8, num_batches=4, seed=0).train_dataloader()) > 20
    evaluation = EvaluationData(dataset, batch_size=8, seed=0, cutout_length=2, holdout_fraction=0.5)
    assert changed(evaluation.train_dataloader()) > 10
    assert changed(evaluation.val_dataloader()) == 0


def test_seeds_far_apart_differ_too():
    seeds = [0, 1, 2, *(2**power for power in range(10, 32)), 2**32 - 1]
    orders = {str(halves(SearchData(fake(), batch_size=8, seed=seed))) for seed in seeds}
    assert len(orders) == len(seeds)


def test_too_few_images_for_a_batch():
    with pytest.raises(ValueError, match="1 training images do not make a batch of 8; raise"):
        SearchData(fake(3), batch_size=8, seed=0).train_dataloader()


def test_max_train_images_reaches_every_stage():
    dataset = fake(max_train_images=20)
    assert set(flat(PruningData(dataset, batch_size=20, num_batches=1, seed=0).train_dataloader())) == set(range(20))
    weights, architecture = halves(SearchData(dataset, batch_size=5, seed=0))
    assert sorted(joined(weights)) == list(range(10))
    assert sorted(joined(architecture)) == list(range(10, 20))
    assert len(flat(EvaluationData(dataset, batch_size=4, seed=0, cutout_length=0).train_dataloader())) == 20


@pytest.mark.parametrize("on_device", ["auto", True, False])
def test_tensors_are_held_once_for_all_loaders(on_device):
    data = SearchData(fake(on_device=on_device), batch_size=8, seed=0)
    pairs, val = data.train_dataloader(), data.val_dataloader()
    assert pairs.weights.images is pairs.architecture.images is val.images


def test_where_images_lie_changes_no_batch():
    def batches(on_device):
        dataset = fake(on_device=on_device, crop_padding=1, flip=True)
        return list(EvaluationData(dataset, batch_size=8, seed=0, cutout_length=2).train_dataloader())

    assert equal(batches(True), batches(False))


def test_prepare_data_prepares_the_dataset(monkeypatch):
    def absent():
        raise ValueError("not there")

    dataset = fake()
    monkeypatch.setattr(dataset, "prepare", absent)
    for data in (
        PruningData(dataset, batch_size=2, num_batches=1, seed=0),
        SearchData(dataset, batch_size=2, seed=0),
        EvaluationData(dataset, batch_size=2, seed=0, cutout_length=0),
    ):
        with pytest.raises(ValueError, match="not there"):
            data.prepare_data()


def rank(number):
    return SimpleNamespace(world_size=2, global_rank=number, strategy=SimpleNamespace(root_device=torch.device("cpu")))


@pytest.mark.parametrize("number", [0, 1])
def test_processes_share_an_epoch(number):
    def make(batch_size, trainer=None):
        evaluation = EvaluationData(fake(), batch_size=batch_size, seed=0, cutout_length=2)
        search = SearchData(fake(), batch_size=batch_size, seed=0)
        pruning = PruningData(fake(), batch_size=4, num_batches=3, seed=0)
        for data in (evaluation, search, pruning):
            data.trainer = trainer
        return SimpleNamespace(evaluation=evaluation, search=search, pruning=pruning)

    alone, process = make(8), make(4, rank(number))
    mine = slice(4 * number, 4 * number + 4)
    share = [(images[mine], numbers[mine]) for images, numbers in alone.evaluation.train_dataloader()]
    assert equal(list(process.evaluation.train_dataloader()), share)
    for pair, expected in zip(process.search.train_dataloader(), alone.search.train_dataloader(), strict=True):
        size = len(expected[0][1]) // 2
        mine = slice(size * number, size * (number + 1))
        assert equal(pair, [(images[mine], numbers[mine]) for images, numbers in expected])
    turns = list(process.pruning.train_dataloader())
    assert len(turns) == 2  # of 3 in both together: the second process has one that the first one alone has not
    assert equal(turns[: 2 - number], list(alone.pruning.train_dataloader())[number::2])


@pytest.mark.parametrize("number", [0, 1])
def test_a_pruning_that_goes_on_leaves_out_what_it_has_read(number):
    whole = list(PruningData(fake(), batch_size=4, num_batches=7, seed=0).train_dataloader())
    data = PruningData(fake(), batch_size=4, num_batches=7, seed=0)
    data.first_batch = 3
    assert equal(list(data.train_dataloader()), whole[3:])
    data.trainer = rank(number)
    assert equal(list(data.train_dataloader()), whole[3 + number :: 2])


def test_every_test_image_is_seen_by_one_process():
    seen = []
    for number in range(2):
        data = EvaluationData(fake(), batch_size=3, seed=0, cutout_length=0)
        data.trainer = rank(number)
        seen += flat(data.test_dataloader())
    assert sorted(seen) == list(range(10))


# --- with Lightning ---------------------------------------------------------------------------------------------------


class Recorder(lightning.LightningModule):
    """Notes the labels of every step of each epoch, and checks what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 1)
        self.seen: dict[int, list] = {}
        self.validated: list[int] = []

    def training_step(self, batch, _):
        (images, numbers), architecture = batch
        second = None if architecture is None else architecture[1].tolist()
        self.seen.setdefault(self.current_epoch, []).append((numbers.tolist(), second))
        return self.layer(images.flatten(1)).mean()

    def validation_step(self, batch, _):
        self.validated += batch[1].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def fit(tmp_path):
    def run(module=None, ckpt_path=None, data=None, **settings):
        module = Recorder() if module is None else module
        defaults = {"max_epochs": 3, "accelerator": "cpu", "enable_checkpointing": False, "num_sanity_val_steps": 0}
        trainer = lightning.Trainer(
            logger=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
            **(defaults | settings),
        )  # fmt: skip
        if data is None:
            data = SearchData(fake(), batch_size=8, seed=0, train_fraction=0.6, warmup_epochs=1)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
        return module, trainer

    return run


def expected(epoch, steps=None):
    data = SearchData(fake(), batch_size=8, seed=0, train_fraction=0.6, warmup_epochs=1)
    return list(zip(*halves(data, epoch), strict=True))[:steps]


def test_lightning_goes_through_the_epochs(fit):
    module, trainer = fit()
    assert isinstance(trainer.train_dataloader, Pairs)
    assert trainer.num_training_batches == 3
    assert module.seen == {epoch: expected(epoch) for epoch in range(3)}
    assert len({str(steps) for steps in module.seen.values()}) == 3
    assert module.validated == list(range(24, 40)) * 3


def test_a_limit_takes_the_first_batches(fit):
    module, _ = fit(limit_train_batches=2, limit_val_batches=1, num_sanity_val_steps=1)
    assert module.seen == {epoch: expected(epoch, 2) for epoch in range(3)}
    assert module.validated == list(range(24, 32)) * 4


def test_a_resumed_run_sees_what_it_would_have_seen(fit, tmp_path):
    _, trainer = fit(max_epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    module, _ = fit(ckpt_path=tmp_path / "last.ckpt", max_epochs=4)
    assert module.seen == {epoch: expected(epoch) for epoch in (2, 3)}


def test_lightning_with_decoded_images(fit):
    def seen(num_workers):
        data = SearchData(Sorted(num_workers), batch_size=8, seed=0)
        return fit(data=data, max_epochs=2, limit_train_batches=2)[0].seen

    assert seen(1) == seen(None)


def test_the_precision_of_the_trainer_reaches_both_batches(fit):
    class Precise(Recorder):
        def training_step(self, batch, _):
            (images, _), (others, _) = batch
            assert images.dtype == others.dtype == torch.float64
            return self.layer(images.flatten(1)).mean()

    fit(Precise(), data=SearchData(fake(), batch_size=8, seed=0), precision="64-true", max_epochs=1)


@pytest.mark.gpu
@pytest.mark.parametrize("on_device", ["auto", False])
def test_lightning_on_cuda(fit, on_device):
    data = SearchData(fake(on_device=on_device), batch_size=8, seed=0, train_fraction=0.6, warmup_epochs=1)
    module, _ = fit(data=data, accelerator="gpu", devices=1)
    assert module.seen == {epoch: expected(epoch) for epoch in range(3)}
    assert data.train_dataloader().weights.images.images.device.type == ("cuda" if on_device else "cpu")
