import itertools

import lightning
import pytest
import torch
from torch import nn

from halfnas.data import EvaluationData, Fake, PruningData, SearchData, endless


def fake(num_train=40, **settings):
    """No augmentation, and as many classes as images: a label tells which image it is."""
    shape = {"num_classes": num_train, "in_channels": 1, "image_size": 4, "num_train": num_train, "num_test": 10}
    return Fake(**{**shape, "crop_padding": 0, "flip": False, "num_workers": 0, "seed": 0, **settings})


def labels(loader):
    return [batch.tolist() for _, batch in loader]


def flat(loader):
    return [label for batch in labels(loader) for label in batch]


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return labels(loader)


def test_batches_are_images_and_labels():
    images, numbers = next(iter(PruningData(fake(), batch_size=8, num_batches=2, seed=0).train_dataloader()))
    assert images.shape == (8, 1, 4, 4)
    assert images.dtype == torch.float32
    assert numbers.shape == (8,)
    assert numbers.dtype == torch.int64


@pytest.mark.parametrize("num_batches", [1, 4, 12])
def test_pruning_batches_are_all_whole(num_batches):
    batches = labels(PruningData(fake(39), batch_size=8, num_batches=num_batches, seed=0).train_dataloader())
    assert [len(batch) for batch in batches] == [8] * num_batches
    drawn = list(itertools.chain(*batches))
    # No image comes again before all have come.
    assert len(set(drawn[:39])) == min(8 * num_batches, 39)


def test_pruning_batches_are_drawn_anew_and_repeat_with_the_seed():
    def epochs(seed):
        loader = PruningData(fake(), batch_size=8, num_batches=3, seed=seed).train_dataloader()
        return [str(labels(loader)) for _ in range(3)]

    torch.manual_seed(0)
    first = epochs(seed=0)
    torch.manual_seed(1)
    assert epochs(seed=0) == first
    assert len({*first, *epochs(seed=1)}) == 6


def test_search_halves_are_disjoint_and_cover_everything():
    data = SearchData(fake(41), batch_size=8, seed=0)
    first, second = flat(data.train_dataloader()), flat(data.architecture_dataloader())
    assert sorted(first) == list(range(20))
    assert sorted(second) == list(range(20, 41))
    assert flat(data.val_dataloader()) == list(range(20, 41))


def test_search_train_fraction():
    data = SearchData(fake(40), batch_size=8, seed=0, train_fraction=0.75)
    assert sorted(flat(data.train_dataloader())) == list(range(30))
    assert sorted(flat(data.architecture_dataloader())) == list(range(30, 40))


def test_search_halves_are_shuffled_independently():
    data = SearchData(fake(40), batch_size=8, seed=0)
    assert [label + 20 for label in flat(data.train_dataloader())] != flat(data.architecture_dataloader())


LOADERS = {
    "search, weights": lambda **settings: SearchData(fake(), **settings).train_dataloader(),
    "search, architecture": lambda **settings: SearchData(fake(), **settings).architecture_dataloader(),
    "evaluation": lambda **settings: EvaluationData(fake(), **settings, cutout_length=0).train_dataloader(),
}


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS.keys())
def test_order_depends_on_seed_and_epoch_alone(make):
    torch.manual_seed(0)
    orders = [epoch(make(seed=0, batch_size=8), number) for number in range(3)]
    torch.manual_seed(1)
    again = make(seed=0, batch_size=8)
    assert [epoch(again, number) for number in (2, 1, 0)] == orders[::-1]
    others = [epoch(make(seed=1, batch_size=8), number) for number in range(3)]
    assert len({str(order) for order in orders + others}) == 6


def test_seeds_far_apart_differ_too():
    # torch's CPU generator takes the lowest 32 bits of a seed: multiplying seeds to keep them apart makes some equal.
    seeds = [0, 1, 2, *(2**power for power in range(10, 32)), 2**32 - 1]
    orders = {str(epoch(SearchData(fake(), batch_size=8, seed=seed).train_dataloader(), 0)) for seed in seeds}
    assert len(orders) == len(seeds)


def test_augmented_pixels_repeat_with_the_global_seed():
    def pixels():
        torch.manual_seed(3)
        data = EvaluationData(fake(crop_padding=1, flip=True), batch_size=8, seed=0, cutout_length=2)
        return torch.cat([images for images, _ in data.train_dataloader()])

    assert torch.equal(pixels(), pixels())


def test_what_is_augmented():
    dataset = fake(crop_padding=2, flip=True)
    plain = {label: image for image, label in dataset.train(augment=False)}

    def changed(loader):
        pairs = [pair for images, numbers in loader for pair in zip(images, numbers.tolist(), strict=True)]
        return sum(not torch.equal(image, plain[number]) for image, number in pairs)

    search = SearchData(dataset, batch_size=8, seed=0)
    assert changed(search.train_dataloader()) > 10
    assert changed(search.architecture_dataloader()) > 10
    assert changed(search.val_dataloader()) == 0
    assert changed(PruningData(dataset, batch_size=8, num_batches=4, seed=0).train_dataloader()) > 20
    evaluation = EvaluationData(dataset, batch_size=8, seed=0, cutout_length=2, holdout_fraction=0.5)
    assert changed(evaluation.train_dataloader()) > 10
    assert changed(evaluation.val_dataloader()) == 0


def test_cutout_is_for_training_images_of_evaluation_only():
    def erased(loader):
        return sum(int((image == 0).sum()) for images, _ in loader for image in images)

    # Noise of odd distance from its mean, 127.5 of 255, is never 0 once normalised.
    data = EvaluationData(fake(), batch_size=8, seed=0, cutout_length=2, holdout_fraction=0.25)
    assert erased(data.train_dataloader()) >= 30
    assert erased(data.val_dataloader()) == erased(data.test_dataloader()) == 0
    without = EvaluationData(fake(), batch_size=8, seed=0, cutout_length=0)
    assert erased(without.train_dataloader()) == 0


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


@pytest.mark.parametrize(
    ("num_images", "sizes"),
    [(16, [8, 8]), (17, [8, 8]), (18, [8, 8, 2]), (15, [8, 7]), (5, [5])],
)
def test_a_last_batch_of_one_is_dropped_and_no_other(num_images, sizes):
    data = EvaluationData(fake(num_images), batch_size=8, seed=0, cutout_length=0)
    assert [len(batch) for batch in labels(data.train_dataloader())] == sizes
    search = SearchData(fake(2 * num_images), batch_size=8, seed=0)
    assert [len(batch) for batch in labels(search.train_dataloader())] == sizes
    assert [len(batch) for batch in labels(search.architecture_dataloader())] == sizes
    assert len(flat(search.val_dataloader())) == num_images


def test_batches_of_one_are_what_batch_size_1_asks_for():
    data = EvaluationData(fake(5), batch_size=1, seed=0, cutout_length=0)
    assert len(labels(data.train_dataloader())) == 5


def test_too_few_images_for_a_batch():
    with pytest.raises(ValueError, match="1 training images do not make a batch of 8; raise"):
        SearchData(fake(3), batch_size=8, seed=0).train_dataloader()


def test_max_train_images_reaches_every_stage():
    dataset = fake(max_train_images=20)
    assert set(flat(PruningData(dataset, batch_size=4, num_batches=5, seed=0).train_dataloader())) == set(range(20))
    search = SearchData(dataset, batch_size=4, seed=0)
    assert sorted(flat(search.train_dataloader())) == list(range(10))
    assert sorted(flat(search.architecture_dataloader())) == list(range(10, 20))
    assert len(flat(EvaluationData(dataset, batch_size=4, seed=0, cutout_length=0).train_dataloader())) == 20


def test_workers():
    loaders = [SearchData(fake(num_workers=n), batch_size=8, seed=0).train_dataloader() for n in (0, 2)]
    assert [loader.num_workers for loader in loaders] == [0, 2]
    assert [loader.persistent_workers for loader in loaders] == [False, True]
    assert all(loader.pin_memory == torch.cuda.is_available() for loader in loaders)


def test_endless_goes_round_and_reshuffles():
    loader = SearchData(fake(40), batch_size=8, seed=0).architecture_dataloader()
    batches = [numbers.tolist() for _, numbers in itertools.islice(endless(loader), 9)]
    passes = [batches[i : i + 3] for i in (0, 3, 6)]
    assert all(sorted(itertools.chain(*one)) == list(range(20, 40)) for one in passes)
    assert len({str(one) for one in passes}) == 3
    assert passes == [epoch(loader, number) for number in range(3)]


def test_architecture_batches_go_on_for_ever():
    data = SearchData(fake(40), batch_size=8, seed=0)
    for batches in (data.architecture_batches(), endless(data.architecture_dataloader())):
        drawn = [numbers.tolist() for _, numbers in itertools.islice(batches, 7)]
        assert sorted(itertools.chain(*drawn[3:6])) == list(range(20, 40))


def test_endless_loads_nothing_before_it_is_asked():
    dataset = fake(40)
    loader = SearchData(dataset, batch_size=8, seed=0).architecture_dataloader()
    loader.sampler.set_epoch(5)
    state = torch.get_rng_state()
    batches = endless(loader)
    assert loader.sampler.epoch == 5
    assert torch.equal(torch.get_rng_state(), state)
    next(batches)
    assert loader.sampler.epoch == 0


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


class Recorder(lightning.LightningModule):
    """Notes the labels of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 1)
        self.seen: list[list[int]] = []

    def on_train_epoch_start(self) -> None:
        self.seen.append([])

    def training_step(self, batch, _):
        images, numbers = batch
        self.seen[-1].extend(numbers.tolist())
        return self.layer(images.flatten(1)).mean()

    def validation_step(self, batch, _):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_lightning_draws_a_new_order_each_epoch(tmp_path):
    def run():
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        module = Recorder()
        trainer.fit(module, datamodule=SearchData(fake(40), batch_size=8, seed=0))
        return module.seen

    seen = run()
    assert [sorted(one) for one in seen] == [list(range(20))] * 2
    assert seen[0] != seen[1]
    assert run() == seen


def test_processes_share_an_epoch():
    class Rank:
        def __init__(self, rank):
            self.world_size, self.global_rank = 2, rank

    shares = []
    for rank in (0, 1):
        data = EvaluationData(fake(40), batch_size=4, seed=0, cutout_length=0)
        data.trainer = Rank(rank)
        shares.append(flat(data.train_dataloader()))
    assert sorted(shares[0] + shares[1]) == list(range(40))
