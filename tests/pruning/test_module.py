import pytest
import torch
from lightning.pytorch import Callback

from halfnas.data import Fake, PruningData
from halfnas.pruning import Batch, ImportancePruner, NoPruner, PruningModule
from halfnas.pruning.importance_pruner import FEWEST_REPEATS
from halfnas.pruning.rankers import NNGPFrobenius, ParameterCount
from halfnas.spaces import Mask
from lines import Lines
from other_space import OPEN_EDGES, NarrowSpace
from quiet import quiet_trainer

SPACE = NarrowSpace(init_channels=8, num_cells=8, in_channels=1)
SCORING_SPACE = NarrowSpace(init_channels=2, num_cells=3, in_channels=1)
RATIO, REPEATS, NUM_BATCHES, BATCH_SIZE = 0.75, 3, 2, 3


def make_pruner(ranker=None, **settings):
    plain = {
        "importance": "taylor", "combine": "sum", "rounds": None, "scope": "edge", "aggregate": "shrink",
        "repeats": REPEATS, "max_repeats": 5, "stability": 0.9, "network": {"init_channels": 2, "num_cells": 3},
        "image_size": None, "num_batches": NUM_BATCHES, "batch_size": BATCH_SIZE, "candidates_per_call": 64,
    }  # fmt: skip
    return ImportancePruner("nngp", {"ranker": NNGPFrobenius() if ranker is None else ranker}, **(plain | settings))


class Record(Callback):
    """What was fed and logged, a step at a time."""

    def __init__(self):
        self.images = []
        self.steps = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.images.append(batch)
        self.steps.append({name: value.item() for name, value in trainer.callback_metrics.items()})


def fit(pruner=None, *, ratio=RATIO, seed=5, loggers=()):
    dataset = Fake(
        num_classes=10, in_channels=1, image_size=8, num_train=20, num_test=2, seed=0, crop_padding=1, flip=True,
        num_workers=0,
    )  # fmt: skip
    torch.manual_seed(0)
    pruner = make_pruner() if pruner is None else pruner
    module = PruningModule(pruner, SPACE, SCORING_SPACE, ratio=ratio, seed=seed)
    record = Record()
    trainer = quiet_trainer(
        logger=list(loggers) or False, max_epochs=module.epochs, callbacks=[record], log_every_n_steps=1
    )
    data = PruningData(dataset, batch_size=BATCH_SIZE * NUM_BATCHES, num_batches=pruner.max_steps, seed=seed)
    trainer.fit(module, datamodule=data)
    return module, record, trainer


@pytest.fixture(scope="module")
def fitted():
    return fit()


def test_one_epoch_and_a_step_a_repeat(fitted):
    module, record, trainer = fitted
    assert module.epochs == trainer.current_epoch == 1
    assert len(record.images) == REPEATS
    for edges in module.mask.kept.values():
        assert [len(edge) for edge in edges] == [6 if e in OPEN_EDGES else 1 for e in range(14)]


def test_same_as_by_hand_with_the_same_batches(fitted):
    module, record, trainer = fitted
    pruner = make_pruner()
    pruner.begin(SPACE, SCORING_SPACE, ratio=RATIO, seed=5)
    for (images, labels), logged in zip(record.images, record.steps, strict=True):
        assert images.shape == (6, 1, 8, 8)
        batches = [Batch(images[:3], labels[:3]), Batch(images[3:], labels[3:])]
        figures = pruner.step(batches)
        for name, value in figures.items():
            assert logged[f"prune/{name}"] == pytest.approx(value, rel=1e-6)
    assert pruner.done
    assert module.mask == pruner.mask
    assert module.mask.importance == pruner.mask.importance
    for name, value in pruner.metrics().items():
        assert trainer.callback_metrics[f"prune/{name}"].item() == pytest.approx(value, rel=1e-6)


def test_says_in_the_end_how_far_the_mask_can_be_relied_on(fitted):
    _, _, trainer = fitted
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert metrics["prune/repeats"] == REPEATS
    assert metrics["prune/repeats_dropped"] == 0
    # 6 of 8 on 6 edges: 10/16; 22 edges with one candidate, which is always kept
    assert metrics["prune/agreement_chance"] == pytest.approx((48 * 10 / 16 + 22) / 70)
    assert 0.5 < metrics["prune/agreement"] <= 1
    assert set(metrics) == {
        "prune/ranker", "prune/agreement_of_halves", "prune/agreement", "prune/agreement_chance", "prune/repeats",
        "prune/repeats_dropped",
    }  # fmt: skip


def test_agreement_is_logged_as_it_grows(fitted):
    _, record, _ = fitted
    assert ["prune/agreement_of_halves" in step for step in record.steps] == [False, True, True]
    assert all("prune/ranker" in step for step in record.steps)


def test_loggers_get_every_step():
    lines = Lines()
    _, record, _ = fit(make_pruner(repeats=2), loggers=[lines])
    steps = [(step, metrics) for step, metrics in lines.lines if "prune/ranker" in metrics]
    assert [step for step, _ in steps] == [0, 1]
    for (_, metrics), logged in zip(steps, record.steps, strict=True):
        assert metrics["prune/ranker"] == pytest.approx(logged["prune/ranker"])
    assert "prune/agreement_of_halves" in steps[-1][1]
    assert any("prune/agreement" in metrics for _, metrics in lines.lines)


def test_auto_stops_when_the_mask_is_stable():
    """A count has no noise, but equals."""
    pruner = make_pruner(ParameterCount(), repeats="auto", max_repeats=40, rounds=1)
    module, record, trainer = fit(pruner)
    assert module.epochs == trainer.current_epoch == 1
    assert len(record.images) == FEWEST_REPEATS
    assert trainer.callback_metrics["prune/repeats"] == FEWEST_REPEATS
    # 6 of 8 stay on 2 x 3 of 28 edges, four of them convolutions; seeds agree by chance on 2 of the other four
    assert trainer.callback_metrics["prune/agreement"] == pytest.approx(1 - 24 / 2 / 70, abs=0.03)


def test_auto_stops_at_the_most_repeats():
    module, record, trainer = fit(make_pruner(repeats="auto", max_repeats=4, rounds=1, stability=1.0))
    assert len(record.images) == 4
    assert trainer.callback_metrics["prune/repeats"] == 4
    assert module.pruner.done


def test_images_are_drawn_anew_for_every_step(fitted):
    _, record, _ = fitted
    sums = {images.double().sum().item() for images, _ in record.images}
    assert len(sums) == REPEATS


def test_reproducible(fitted):
    module, record, _ = fitted
    again, record_again, _ = fit()
    assert all(a.equal(b) for (a, _), (b, _) in zip(record.images, record_again.images, strict=True))
    assert again.mask == module.mask
    assert again.mask.importance == module.mask.importance


def test_another_seed_gives_other_images_and_another_mask(fitted):
    module, record, _ = fitted
    other, record_other, _ = fit(seed=6)
    assert not any(a.equal(b) for (a, _), (b, _) in zip(record.images, record_other.images, strict=True))
    assert other.mask.importance != module.mask.importance
    assert other.mask.seed == 6


def test_nothing_is_trained(fitted):
    module, _, trainer = fitted
    assert list(module.parameters()) == []
    assert trainer.optimizers == []
    assert module.stage == "prune"


@pytest.mark.parametrize("pruner", [NoPruner(), make_pruner()], ids=["none", "ratio of one"])
def test_a_pruner_without_data_has_its_mask_at_once(pruner):
    module = PruningModule(pruner, SPACE, SCORING_SPACE, ratio=1.0, seed=0)
    assert module.epochs == 0
    assert module.mask.kept == Mask.full(SPACE).kept


def test_whether_scores_are_captured_is_told_to_the_pruner():
    for cuda_graphs in ("auto", False):
        pruner = make_pruner()
        PruningModule(pruner, SPACE, SCORING_SPACE, ratio=RATIO, seed=0, cuda_graphs=cuda_graphs)
        assert pruner.cuda_graphs is cuda_graphs


@pytest.mark.parametrize("taken", [0, 2])
def test_going_on_from_a_checkpoint(tmp_path, taken):
    """Half of the repeats, and the others by a module that was made anew: to the last bit as in one go."""
    batches = [
        [Batch(torch.randn(BATCH_SIZE, 1, 8, 8, generator=torch.Generator().manual_seed(10 * n + b)), None)]
        * NUM_BATCHES
        for n, b in enumerate(range(4))
    ]
    first, second, whole = (
        PruningModule(make_pruner(repeats=4), SPACE, SCORING_SPACE, ratio=RATIO, seed=5) for _ in range(3)
    )
    for batch in batches[:taken]:
        first.pruner.step(batch)
    checkpoint = {}
    first.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "prune.ckpt")
    second.on_load_checkpoint(torch.load(tmp_path / "prune.ckpt", weights_only=True))
    assert second.mask == first.mask
    for batch in batches[taken:]:
        found = second.pruner.step(batch)
    for batch in batches:
        expected = whole.pruner.step(batch)

    assert second.mask == whole.mask
    assert second.mask.importance == whole.mask.importance
    assert second.pruner.metrics() == whole.pruner.metrics()
    assert found == expected
    assert second.pruner.done


def test_state_of_another_pruning_is_refused():
    first, second = (PruningModule(make_pruner(), SPACE, SCORING_SPACE, ratio=RATIO, seed=seed) for seed in (5, 6))
    checkpoint = {}
    first.on_save_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="the state of the pruner has seed 5 and 70 candidates, this pruning has seed"):
        second.on_load_checkpoint(checkpoint)


def test_the_trainer_saves_the_state_of_the_pruner(fitted, tmp_path):
    module, _, trainer = fitted
    trainer.save_checkpoint(tmp_path / "prune.ckpt")
    state = torch.load(tmp_path / "prune.ckpt", weights_only=False)["pruner"]
    again = PruningModule(make_pruner(), SPACE, SCORING_SPACE, ratio=RATIO, seed=5)
    again.pruner.load_state_dict(state)
    assert again.mask == module.mask
    assert again.mask.importance == module.mask.importance
    assert again.pruner.done
