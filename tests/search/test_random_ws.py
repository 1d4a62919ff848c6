import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from halfnas.data import SearchData
from halfnas.search import RandomWS, path
from halfnas.spaces import DartsSpace, Mask
from history_logger import History
from quiet import quiet_trainer
from toys import ToySorted

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
MASK = Mask.random(SPACE, 0.5, 0)
SETTINGS = {
    "partial_channels": 1, "edge_normalization": False, "epochs": 2, "batch_size": 16, "learning_rate": 0.02,
    "learning_rate_min": 0.01, "momentum": 0.9, "weight_decay": 3e-4, "gradient_clip": 5.0, "samples": 12,
    "sample_batches": 2, "finalists": 3,
}  # fmt: skip


class Noise(LightningDataModule):
    """Five batches of the first half and six of the second, of which training never sees one."""

    def __init__(self):
        super().__init__()
        source = torch.Generator().manual_seed(0)
        images = torch.randn(11, 16, 1, 8, 8, generator=source)
        labels = torch.randint(4, (11, 16), generator=source)
        self.first = [((x, y), None) for x, y in zip(images[:5], labels[:5], strict=True)]
        self.second = list(zip(images[5:], labels[5:], strict=True))

    def train_dataloader(self):
        return DataLoader(self.first, batch_size=None)

    def val_dataloader(self):
        return DataLoader(self.second, batch_size=None)


def fit(data=None, **settings):
    torch.manual_seed(0)
    module = RandomWS(SPACE, {"engine": "plain"}, **(SETTINGS | settings))
    module.begin(MASK)
    history = History()
    trainer = quiet_trainer(logger=history, max_epochs=module.epochs, log_every_n_steps=1)
    trainer.fit(module, datamodule=Noise() if data is None else data)
    return module, history.metrics


@torch.no_grad()
def accuracy(module, genotype, batches):
    module.supernet.eval()
    mixing = path(module.supernet, genotype)
    right = [module.supernet(images, mixing).argmax(dim=1).eq(labels) for images, labels in batches]
    return torch.cat(right).double().mean().item()


def test_the_best_of_the_finalists_is_taken(monkeypatch):
    drawn = []
    draw = RandomWS._draw

    def noted(self, numbers):
        drawn.append(draw(self, numbers))
        return drawn[-1]

    monkeypatch.setattr(RandomWS, "_draw", noted)
    module, metrics = fit()
    assert len(set(drawn)) == 12
    half = Noise().second
    first = {genotype: accuracy(module, genotype, [half[0], half[3]]) for genotype in drawn}  # 2 of 6 batches
    finalists = sorted(drawn, key=lambda genotype: -first[genotype])[:3]
    whole = {genotype: accuracy(module, genotype, half) for genotype in finalists}
    assert module.genotype == max(finalists, key=whole.__getitem__)
    assert module.metrics() == {
        "search/partial_channels": 1, "search/best_val_acc": pytest.approx(max(whole.values())),
    }  # fmt: skip
    assert len(set(first.values())) > 2
    assert len(metrics["search/val_acc"]) == 2
    assert len(metrics["search/train_loss"]) == 2
    assert not any("architecture" in name for name in metrics)


def test_it_is_drawn_by_the_seed():
    assert fit(seed=1)[0].genotype == fit(seed=1)[0].genotype
    assert fit(seed=1)[0].genotype != fit(seed=2)[0].genotype


def test_more_batches_and_finalists_than_there_are():
    module, _ = fit(sample_batches=100, finalists=100, samples=3)
    assert module.metrics()["search/best_val_acc"] == pytest.approx(accuracy(module, module.genotype, Noise().second))


def test_architecture_parameters_stay_and_weights_move():
    module, _ = fit()
    torch.manual_seed(0)
    start = RandomWS(SPACE, {"engine": "plain"}, **SETTINGS)
    start.begin(MASK)
    for after, before in zip(
        module.supernet.architecture_parameters(), start.supernet.architecture_parameters(), strict=True
    ):
        assert after.equal(before)
    assert not module.supernet.head.linear.weight.equal(start.supernet.head.linear.weight)


def test_batches_of_the_first_rating_are_spread_over_a_sorted_half(monkeypatch):
    seen = []
    rate = RandomWS._accuracy

    def noted(self, genotype, batches):
        seen.append(torch.cat([labels for _, labels in batches]).unique().tolist())
        return rate(self, genotype, batches)

    monkeypatch.setattr(RandomWS, "_accuracy", noted)
    data = SearchData(ToySorted(), batch_size=4, seed=0, warmup_epochs=2)
    fit(data, sample_batches=4, samples=2, finalists=1)
    assert seen[0] == [0, 1, 2, 3]


@pytest.mark.parametrize(("settings", "reason"), [
    ({"supernet": {"engine": "fused", "compile": True}}, "`supernet.compile=true` has nothing to compile: RandomPath"),
    ({"supernet": {}, "cuda_graphs": True}, "`cuda_graphs=true` cannot be: RandomPath picks the candidates"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(settings, reason):
    with pytest.raises(ValueError, match=reason):
        RandomWS(SPACE, **(SETTINGS | settings))
