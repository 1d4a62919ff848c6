import pytest
import torch
from lightning import LightningDataModule
from torch.nn import functional as F
from torch.utils.data import DataLoader

from halfnas.evaluation import Evaluation, TrainingLoss, TrainingStep, drop_path_factors
from halfnas.networks import DiscreteNetwork
from halfnas.spaces import DartsSpace, find_genotype
from halfnas.training import generator, sgd
from quiet import quiet_trainer
from recorded import fingerprint, give_weights

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
GENOTYPE = find_genotype("darts_v2")
SETTINGS = {
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "gradient_clip": 0.5,
    "auxiliary": False,
    "auxiliary_weight": 0.4,
    "drop_path": 0.0,
    "label_smoothing": 0.1,
    "holdout_fraction": 0.0,
}


class Given(LightningDataModule):
    """Three batches, the last one smaller."""

    def __init__(self):
        super().__init__()
        numbers = torch.Generator().manual_seed(7)

        def batch(size):
            images = torch.randn(size, 1, 8, 8, generator=numbers, dtype=torch.float64)
            return images, torch.randint(4, (size,), generator=numbers)

        self.batches = [batch(4), batch(4), batch(3)]

    def train_dataloader(self):
        return DataLoader(self.batches, batch_size=None)

    def val_dataloader(self):
        return DataLoader(self.batches, batch_size=None)


def fit(module, data):
    trainer = quiet_trainer(max_epochs=2, precision="64-true", limit_val_batches=0)
    trainer.fit(module, datamodule=data)
    return {key: value.item() for key, value in trainer.callback_metrics.items()}


#: With LightningModule and optimiser as they were at f729d19, torch 2.15.
RECORDED = {"architecture": 0.0, "weights": 2.652178558809054, "statistics": 9.0675528488374}


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_training_ends_where_it_did_before_steps_were_plain_torch(channels_last):
    module = Evaluation(SPACE, 8, channels_last=channels_last, **SETTINGS)
    module.begin(GENOTYPE)
    module.double()
    give_weights(module.network)
    metrics = fit(module, Given())
    for name, value in fingerprint(module.network).items():
        assert value == pytest.approx(RECORDED[name], rel=1e-12), name
    assert metrics["evaluate/train_loss"] == pytest.approx(1.2170430167523045, rel=1e-7)  # logged as float32
    assert metrics["evaluate/train_acc"] == pytest.approx(6 / 11)
    maps = []
    module.network.head.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    with torch.no_grad():
        module.eval()(torch.randn(2, 1, 8, 8, dtype=torch.float64))
    assert maps[0].is_contiguous(memory_format=torch.channels_last) == channels_last


def make_network(**options):
    network = DiscreteNetwork(SPACE, GENOTYPE, **options).double().train()
    give_weights(network)
    return network


def test_against_the_published_loop():
    """quark0/darts, cnn/train.py: what it does with a batch, drop path included."""
    ours, theirs = make_network(), make_network()
    parameters = list(theirs.parameters())
    step = TrainingStep(
        TrainingLoss(ours, label_smoothing=0.0, auxiliary_weight=0.4),
        sgd(ours.parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4),
        gradient_clip=0.5,
    )
    optimizer = torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=3e-4)
    for number, (images, labels) in enumerate(Given().batches):
        factors = drop_path_factors(ours.num_paths, len(images), 0.3, generator(0, "drop path", 0, number)).double()
        step(images, labels, factors)
        optimizer.zero_grad()
        F.cross_entropy(theirs.forward_with_auxiliary(images, factors)[0], labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-12, atol=1e-12, msg=name)


def test_factors_of_drop_path():
    factors = drop_path_factors(400, 50, 0.2, torch.Generator().manual_seed(0))
    assert set(factors.unique().tolist()) == {0.0, torch.tensor(1 / 0.8).item()}
    assert factors.eq(0).float().mean().item() == pytest.approx(0.2, abs=0.01)  # 20,000 draws: 0.003
    assert factors.mean().item() == pytest.approx(1.0, abs=0.02)
    assert drop_path_factors(3, 4, 0.0).eq(1).all()


def test_what_is_dropped_depends_on_seed_epoch_and_batch_alone():
    def train(seed, first=None):
        torch.manual_seed(torch.seed() if first is None else first)
        module = Evaluation(SPACE, 8, seed=seed, **(SETTINGS | {"drop_path": 0.9}))
        module.begin(GENOTYPE)
        module.double()
        give_weights(module.network)
        fit(module, Given())
        return fingerprint(module.network)

    assert train(0, first=1) == train(0, first=2)
    assert train(0) != train(1)


def test_a_step_reads_nothing_back(monkeypatch):
    """On a GPU every value that Python looks at makes it wait for the device, and breaks a capture."""
    network, data = make_network(), Given()
    step = TrainingStep(
        TrainingLoss(network, label_smoothing=0.1, auxiliary_weight=0.4),
        sgd(network.parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4),
        gradient_clip=0.5,
    )
    factors = torch.ones(network.num_paths, 4, dtype=torch.float64)
    step(*data.batches[0], factors)

    def read(*_):
        raise AssertionError("a value was read")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, read)
    step(*data.batches[1], factors)


def test_the_auxiliary_head_counts_with_its_weight():
    network = DiscreteNetwork(DartsSpace(4, 3, num_classes=4, in_channels=1), GENOTYPE, auxiliary=True).double().train()
    images, labels = torch.randn(3, 1, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 3])
    loss, logits = TrainingLoss(network, label_smoothing=0.0, auxiliary_weight=0.4)(images, labels)
    again, auxiliary = network.forward_with_auxiliary(images)
    torch.testing.assert_close(logits, again)
    expected = F.cross_entropy(again, labels) + 0.4 * F.cross_entropy(auxiliary, labels)
    torch.testing.assert_close(loss, expected)
