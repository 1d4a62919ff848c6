import pytest
import torch
from lightning import LightningDataModule
from torch.nn import functional as F
from torch.utils.data import DataLoader

from halfnas.networks import build_supernet
from halfnas.search import BetaDecay, BilevelSearch, BilevelStep, Softmax, mean_logsumexp
from halfnas.spaces import DartsSpace, Mask
from halfnas.training import adam, sgd
from quiet import quiet_trainer
from recorded import fingerprint, give_weights

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
SETTINGS = {
    "edge_normalization": None,
    "epochs": 3,
    "warmup_epochs": 1,
    "batch_size": 4,
    "learning_rate": 0.1,
    "learning_rate_min": 0.01,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "gradient_clip": 0.5,
    "architecture_learning_rate": 6e-3,
    "architecture_betas": (0.5, 0.999),
    "architecture_weight_decay": 1e-3,
}


class Given(LightningDataModule):
    """Three batches an epoch for the weights, the last one smaller, and from epoch 1 on others for the architecture."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(7)

        def batch(size):
            images = torch.randn(size, 1, 8, 8, generator=generator, dtype=torch.float64)
            return images, torch.randint(4, (size,), generator=generator)

        self.first = [batch(4), batch(4), batch(3)]
        self.second = [batch(4) for _ in range(6)]

    def train_dataloader(self):
        epoch = self.trainer.current_epoch
        second = [None] * 3 if epoch == 0 else self.second[3 * epoch - 3 : 3 * epoch]
        return DataLoader(list(zip(self.first, second, strict=True)), batch_size=None, collate_fn=lambda pair: pair)

    def val_dataloader(self):
        return DataLoader(self.first, batch_size=None)


def make_step(supernet, **settings):
    weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
    architecture = adam(supernet.architecture_parameters(), learning_rate=6e-3, betas=(0.5, 0.999), weight_decay=1e-3)
    return BilevelStep(supernet, weights, architecture, gradient_clip=0.5, relaxation=Softmax(), **settings)


def make_supernet(partial_channels, **options):
    supernet = build_supernet(SPACE, Mask.random(SPACE, 0.5, 0), partial_channels=partial_channels, **options)
    give_weights(supernet.double().train())
    return supernet


#: (K, what of the search): recorded with LightningModule and optimisers as they were at f729d19, torch 2.15, plain.
RECORDED = {
    (1, "architecture"): 0.37219924969996193,
    (1, "weights"): 48.43734929077543,
    (1, "statistics"): 6.62754142327219,
    (1, "train_loss"): 1.1310203564373709,
    (1, "architecture_loss"): 1.4976998039027745,
    (1, "regularizer"): 45.58375974182416,
    (2, "architecture"): 0.5531700118406888,
    (2, "weights"): -44.71098930693471,
    (2, "statistics"): 6.527346262372127,
    (2, "train_loss"): 0.8218083218075136,
    (2, "architecture_loss"): 1.6081165989975494,
    (2, "regularizer"): 45.37894879837177,
}


@pytest.mark.parametrize(("engine", "tolerance"), [("plain", 1e-12), ("fused", 1e-9)])
@pytest.mark.parametrize("partial_channels", [1, 2])
def test_a_search_ends_where_it_did_before_steps_were_plain_torch(partial_channels, engine, tolerance):
    module = BilevelSearch(
        SPACE, {"engine": engine}, partial_channels=partial_channels, regularizer=BetaDecay(25.0), **SETTINGS
    )
    module.begin(Mask.random(SPACE, 0.5, 0))
    module.double()
    give_weights(module.supernet)
    trainer = quiet_trainer(max_epochs=3, precision="64-true", limit_val_batches=0, reload_dataloaders_every_n_epochs=1)
    trainer.fit(module, datamodule=Given())
    for name, value in fingerprint(module.supernet).items():
        assert value == pytest.approx(RECORDED[partial_channels, name], rel=tolerance), name
    for name in ("train_loss", "architecture_loss", "regularizer"):
        value = trainer.callback_metrics[f"search/{name}"].item()
        assert value == pytest.approx(RECORDED[partial_channels, name], rel=max(tolerance, 1e-7)), name  # float32
    assert trainer.callback_metrics["search/train_acc"].item() == pytest.approx(
        6 / 11 if partial_channels == 1 else 9 / 11
    )


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [({}, 1e-12), ({"engine": "fused"}, 1e-9), ({"engine": "fused", "recompute": "cells"}, 1e-9)],
    ids=["plain", "fused", "cells"],
)
def test_against_the_published_loop(options, tolerance):
    """yuhuixu1993/PC-DARTS, train_search.py and architect.py, first order: what it does with one pair of batches."""
    data = Given()
    ours, theirs = make_supernet(2, **options), make_supernet(2)
    step = make_step(ours, regularizer=BetaDecay(25.0))

    weights, alphas = theirs.weight_parameters(), theirs.architecture_parameters()
    optimizer = torch.optim.SGD(weights, 0.1, momentum=0.9, weight_decay=3e-4)
    architect = torch.optim.Adam(alphas, lr=6e-3, betas=(0.5, 0.999), weight_decay=1e-3)
    for number in range(5):
        images, labels = data.first[number % 3]
        second = data.second[number]
        rate, factor, warm = 0.1 - 0.01 * number, 2.0 * number, number >= 2
        step.weights.param_groups[0]["lr"].fill_(rate)
        step.regularizer_weight.fill_(factor)
        step(images, labels, *(second if warm else ()))

        optimizer.param_groups[0]["lr"] = rate
        if warm:
            architect.zero_grad()
            (F.cross_entropy(theirs(second[0]), second[1]) + factor * mean_logsumexp(theirs)).backward()
            architect.step()
        optimizer.zero_grad()
        F.cross_entropy(theirs(images), labels).backward()
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        optimizer.step()

    expected = theirs.state_dict()
    assert (expected["alpha.normal"] - make_supernet(2).alpha["normal"]).abs().max() > 0.01, "it was trained"
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(
            value, expected[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_means_are_of_the_steps_since_they_were_taken():
    supernet, data = make_supernet(2), Given()
    step = make_step(supernet)
    logits = [build(supernet, images) for build, (images, _) in [(probe, data.first[0])]]
    step(*data.first[0])
    means = step.means.take()
    assert set(means) == {"train_loss", "train_acc"}
    assert means["train_loss"] == pytest.approx(F.cross_entropy(logits[0], data.first[0][1]).item(), rel=1e-12)
    assert means["train_acc"] == logits[0].argmax(dim=1).eq(data.first[0][1]).double().mean().item()
    assert step.means.take() == {}


@torch.no_grad()
def probe(supernet, images):
    """Logits in training mode, with the running statistics left as they were."""
    buffers = {name: buffer.clone() for name, buffer in supernet.named_buffers()}
    logits = supernet(images)
    for name, buffer in supernet.named_buffers():
        buffer.copy_(buffers[name])
    return logits


def test_a_step_reads_nothing_back(monkeypatch):
    """On a GPU every value that Python looks at makes it wait for the device, and breaks a capture."""
    supernet, data = make_supernet(2, engine="fused"), Given()
    step = make_step(supernet, regularizer=BetaDecay(25.0))
    step(*data.first[0], *data.second[0])  # optimisers make their state

    def read(*_):
        raise AssertionError("a value was read")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, read)
    step(*data.first[1], *data.second[1])


def test_the_regularizer_is_left_out_of_the_weight_step():
    class OnWeights:
        def __call__(self, supernet):
            return sum(p.square().sum() for p in supernet.weight_parameters())

    data = Given()
    supernets = [make_supernet(1), make_supernet(1)]
    for supernet, regularizer in zip(supernets, (OnWeights(), None), strict=True):
        step = make_step(supernet, regularizer=regularizer)
        step.regularizer_weight.fill_(100.0)
        step(*data.first[0], *data.second[0])
    for name, value in supernets[0].state_dict().items():
        assert value.equal(supernets[1].state_dict()[name]), name
