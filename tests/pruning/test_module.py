from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from halfnas.data import Fake, PruningData
from halfnas.pruning import Batch, ImportancePruner, NNGPFrobenius, NoPruner, PruningModule
from halfnas.spaces import DartsSpace, Mask

OPEN_EDGES = (0, 6, 13)


class NarrowSpace(DartsSpace):
    """All 8 candidates on three edges and one on the others, which is quick to score."""

    @property
    def kinds(self):
        kinds = {}
        for name, kind in super().kinds.items():
            edges = [
                e if n in OPEN_EDGES else replace(e, candidates=e.candidates[3:4]) for n, e in enumerate(kind.edges)
            ]
            kinds[name] = replace(kind, edges=tuple(edges))
        return kinds


SPACE = NarrowSpace(init_channels=8, num_cells=8, in_channels=1)
SCORING_SPACE = NarrowSpace(init_channels=2, num_cells=3, in_channels=1)
RATIO, REPEATS, NUM_BATCHES, BATCH_SIZE = 0.75, 2, 2, 3
NUM_ROUNDS = 2  # 8 candidates, 6 kept


def make_pruner():
    return ImportancePruner(
        "nngp",
        {"nngp_frobenius": NNGPFrobenius(1.0, 1)},
        repeats=REPEATS,
        network={"init_channels": 2, "num_cells": 3},
        num_batches=NUM_BATCHES,
        batch_size=BATCH_SIZE,
        candidates_per_call=64,
    )


class Record(Callback):
    """What was fed and logged, a step at a time."""

    def __init__(self):
        self.images = []
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.images.append(batch)
        self.steps.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def fit():
    dataset = Fake(
        num_classes=10, in_channels=1, image_size=8, num_train=20, num_test=2, seed=0, crop_padding=1, flip=True,
        num_workers=0,
    )  # fmt: skip
    torch.manual_seed(0)
    module = PruningModule(make_pruner(), SPACE, SCORING_SPACE, ratio=RATIO, seed=5)
    record = Record()
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, max_epochs=module.epochs, callbacks=[record],
    )  # fmt: skip
    data = PruningData(dataset, batch_size=BATCH_SIZE * NUM_BATCHES, num_batches=REPEATS, seed=5)
    trainer.fit(module, datamodule=data)
    return module, record, trainer


@pytest.fixture(scope="module")
def fitted():
    return fit()


def test_an_epoch_is_a_round_and_a_step_a_repeat(fitted):
    module, record, trainer = fitted
    assert module.epochs == trainer.current_epoch == NUM_ROUNDS
    assert len(record.images) == NUM_ROUNDS * REPEATS
    for edges in module.mask.kept.values():
        assert [len(edge) for edge in edges] == [6 if e in OPEN_EDGES else 1 for e in range(14)]


def test_same_as_by_hand_with_the_same_batches(fitted):
    module, record, trainer = fitted
    pruner = make_pruner()
    pruner.begin(SPACE, SCORING_SPACE, ratio=RATIO, seed=5)
    ratings = []
    for images, labels in record.images:
        assert images.shape == (6, 1, 8, 8)
        batches = [Batch(images[:3], labels[:3]), Batch(images[3:], labels[3:])]
        ratings.append(pruner.step(batches)["nngp_frobenius"])
    assert module.mask == pruner.mask
    assert module.mask.importance == pruner.mask.importance
    # Logged is the mean over the repeats of the last round.
    logged = trainer.callback_metrics["prune/nngp_frobenius"].item()
    assert logged == pytest.approx(sum(ratings[-REPEATS:]) / REPEATS, rel=1e-6)


def test_images_are_drawn_anew_for_every_step(fitted):
    _, record, _ = fitted
    sums = {images.double().sum().item() for images, _ in record.images}
    assert len(sums) == NUM_ROUNDS * REPEATS


def test_logs_how_many_candidates_are_left(fitted):
    _, record, _ = fitted
    left = [step["prune/candidates_left"] for step in record.steps]
    single = 2 * 11
    assert left == [
        single + 6 * 8,
        single + 6 * 7,
        single + 6 * 7,
        single + 6 * 6,
    ]  # the last repeat of a round removes


def test_reproducible(fitted):
    module, record, _ = fitted
    again, record_again, _ = fit()
    assert all(a.equal(b) for (a, _), (b, _) in zip(record.images, record_again.images, strict=True))
    assert again.mask == module.mask
    assert again.mask.importance == module.mask.importance


def test_nothing_is_trained(fitted):
    module, _, trainer = fitted
    assert list(module.parameters()) == []
    assert trainer.optimizers == []
    assert module.stage == "prune"


def test_a_pruner_without_data_has_its_mask_at_once():
    module = PruningModule(NoPruner(), SPACE, SCORING_SPACE, ratio=0.5, seed=0)
    assert module.epochs == 0
    assert module.mask.kept == Mask.full(SPACE).kept
