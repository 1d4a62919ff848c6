import copy
import math
from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate
from lightning import LightningDataModule
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch.nn import functional as F
from torch.utils.data import DataLoader

from halfnas.data import Digits, SearchData
from halfnas.search import BetaDecay, BilevelSearch
from halfnas.spaces import DartsSpace, Mask, load_space
from halfnas.spaces.load import CONF
from history_logger import History
from quiet import quiet_trainer

SPACE = DartsSpace(init_channels=2, num_cells=3, in_channels=1)
SETTINGS = {
    "partial_channels": 2,
    "edge_normalization": None,
    "epochs": 3,
    "warmup_epochs": 0,
    "batch_size": 4,
    "learning_rate": 0.1,
    "learning_rate_min": 0.01,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "gradient_clip": 5.0,
    "architecture_learning_rate": 6e-4,
    "architecture_betas": (0.5, 0.999),
    "architecture_weight_decay": 1e-3,
}


def two_each():
    """A mask with a free choice on every edge that is quick to compute."""
    edges = [("skip_connect", "sep_conv_3x3") if e % 4 == 0 else ("none", "avg_pool_3x3") for e in range(14)]
    return Mask("darts", {"normal": edges, "reduce": edges})


def make_module(mask=None, **settings):
    torch.manual_seed(0)
    module = BilevelSearch(SPACE, {"engine": "plain"}, **(SETTINGS | settings))
    module.begin(two_each() if mask is None else mask)
    return module


class Pairs:
    """Batches of both halves, the second from the first epoch after the warm-up on; Lightning tells the epoch."""

    def __init__(self, first, second, warmup_epochs):
        self.first, self.second, self.warmup_epochs = first, second, warmup_epochs
        self.sampler = self
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.first)

    def __iter__(self):
        start = (self.epoch - self.warmup_epochs) * len(self.first)
        for number, batch in enumerate(self.first):
            yield batch, self.second[start + number] if start >= 0 else None


class Noise(LightningDataModule):
    """Batches for the weights, the same in every epoch, and others for the architecture."""

    def __init__(self, num_batches=2, warmup_epochs=0, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(7)

        def batch():
            images = torch.randn(4, 1, 8, 8, generator=generator, dtype=torch.float64).to(dtype)
            return images, torch.randint(10, (4,), generator=generator)

        self.first = [batch() for _ in range(num_batches)]
        self.second = [batch() for _ in range(50)]
        self.warmup_epochs = warmup_epochs

    def train_dataloader(self):
        return Pairs(self.first, self.second, self.warmup_epochs)

    def val_dataloader(self):
        return DataLoader(self.first, batch_size=None)


class Watch(Callback):
    """The architecture and the learning rate after every epoch's last batch."""

    def __init__(self):
        self.epochs = []

    def on_train_epoch_end(self, trainer, pl_module):
        architecture = [p.detach().clone() for p in pl_module.supernet.architecture_parameters()]
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"].item()
        self.epochs.append(SimpleNamespace(architecture=architecture, learning_rate=learning_rate))


def fit(module, data, **settings):
    watch, history = Watch(), History()
    trainer = quiet_trainer(
        logger=history, max_epochs=module.epochs, callbacks=[watch], log_every_n_steps=1, **settings
    )
    trainer.fit(module, datamodule=data)
    return SimpleNamespace(trainer=trainer, watch=watch, metrics=history.metrics)


def same(first, second):
    return all(a.equal(b) for a, b in zip(first, second, strict=True))


def merged(name):
    """What conf/searcher/NAME.yaml says on top of what it builds on."""
    content = OmegaConf.load(CONF / "searcher" / f"{name}.yaml")
    bases = [merged(base) for base in content.pop("defaults", []) if base != "_self_"]
    return OmegaConf.merge(*bases, content)


def load(name, **overrides):
    """The searcher of conf/searcher/NAME.yaml, on a mask without a choice, which is quick."""
    settings = merged(name)
    mask = Mask("darts", {kind: [("skip_connect",)] * 14 for kind in ("normal", "reduce")})
    space = DartsSpace(init_channels=4, num_cells=3, in_channels=1)
    del settings["train_fraction"]  # of the data
    module = instantiate(settings, space, {"engine": "plain"}, _convert_="all", **overrides)
    module.begin(mask)
    return module


@pytest.mark.parametrize(("name", "first", "last"), [("darts", 0.025, 0.001), ("pcdarts", 0.1, 0.0)])
def test_learning_rate_of_the_published_methods(name, first, last):
    module = load(name)
    assert module.epochs == 50
    rates = fit(module, Noise(1), limit_val_batches=0).metrics["search/learning_rate"]
    assert len(rates) == 50
    assert rates[0] == pytest.approx(first, rel=1e-6)
    # eta_min + (eta_max - eta_min) (1 + cos(pi e / E)) / 2 in epoch e of E = 50, stepped after each epoch.
    assert rates[25] == pytest.approx((first + last) / 2, rel=1e-6)
    assert rates[49] == pytest.approx(last + (first - last) * (1 + math.cos(math.pi * 49 / 50)) / 2, rel=1e-5)


def test_beta_pcdarts_is_pcdarts_with_the_regularizer():
    module, plain = load("beta_pcdarts"), load("pcdarts")
    assert isinstance(module.regularizer, BetaDecay)
    assert module.regularizer.weight == 1.0
    assert load("beta_pcdarts_published").regularizer.weight == 25.0
    assert plain.regularizer is None
    assert module.frozen_epochs == plain.frozen_epochs == 15
    assert module.supernet.layers[0].edges[0].partial_channels == 4
    assert set(module.supernet.beta) == {"normal", "reduce"}


def test_learning_rate_within_a_run():
    result = fit(make_module(epochs=3), Noise(), limit_val_batches=0)
    expected = [0.01 + 0.09 * (1 + math.cos(math.pi * e / 3)) / 2 for e in range(3)]
    assert [epoch.learning_rate for epoch in result.watch.epochs] == pytest.approx(expected, rel=1e-6)
    assert result.metrics["search/learning_rate"] == pytest.approx(expected, rel=1e-6)
    assert result.trainer.optimizers[1].param_groups[0]["lr"].item() == pytest.approx(
        6e-4, rel=1e-6
    )  # that of the architecture is constant


@pytest.mark.parametrize("partial_channels", [1, 2])
def test_optimizers_share_the_parameters_out(partial_channels):
    module = make_module(partial_channels=partial_channels)
    weights, architecture = module.configure_optimizers()
    assert type(weights) is torch.optim.SGD
    assert type(architecture) is torch.optim.Adam
    of_weights, of_architecture = (
        {id(p) for group in optimizer.param_groups for p in group["params"]} for optimizer in (weights, architecture)
    )
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert of_weights | of_architecture == set(names)
    assert not of_weights & of_architecture
    kinds = {"alpha"} if partial_channels == 1 else {"alpha", "beta"}
    expected = {f"supernet.{which}.{kind}" for which in kinds for kind in ("normal", "reduce")}
    assert {names[i] for i in of_architecture} == expected
    group = weights.param_groups[0]
    assert group["lr"].item() == pytest.approx(0.1)
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 3e-4, False)
    group = architecture.param_groups[0]
    assert group["lr"].item() == pytest.approx(6e-4)
    assert (group["betas"], group["weight_decay"]) == ((0.5, 0.999), 1e-3)


def test_architecture_is_frozen_while_warming_up():
    module, data = make_module(epochs=4, warmup_epochs=2), Noise(warmup_epochs=2)
    before = [p.detach().clone() for p in module.supernet.architecture_parameters()]
    assert len(before) == 4  # alpha and beta of two kinds
    epochs = fit(module, data, limit_val_batches=0).watch.epochs
    assert same(epochs[0].architecture, before)
    assert same(epochs[1].architecture, before)
    for now, at_first in zip(epochs[2].architecture, before, strict=True):
        assert not now.equal(at_first)


def test_all_warm_up_measures_nothing_of_the_architecture():
    result = fit(make_module(epochs=2, warmup_epochs=2), Noise(warmup_epochs=2), limit_val_batches=0)
    assert "search/architecture_loss" not in result.metrics
    assert "search/train_loss" in result.metrics


class OnWeightsToo:
    """A regulariser of everything, so that it would show in the weights if it took part in their step."""

    def __init__(self):
        self.calls = []

    def weight_at(self, epoch, epochs):
        self.calls.append((epoch, epochs))
        return 0.3

    def __call__(self, supernet):
        self.calls.append("step")
        return sum(p.square().sum() for p in supernet.parameters())


@pytest.mark.parametrize("gradient_clip", [0.05, 1e6])
def test_steps_equal_steps_by_hand(gradient_clip):
    module, data = make_module(epochs=1, gradient_clip=gradient_clip, regularizer=OnWeightsToo()), Noise(3)
    supernet = copy.deepcopy(module.supernet).train()
    fit(module, data, limit_val_batches=0)

    weights, alphas = supernet.weight_parameters(), supernet.architecture_parameters()
    sgd = torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alphas, lr=6e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    norms = []
    for number, (images, labels) in enumerate(data.first):
        second_images, second_labels = data.second[number]
        supernet.zero_grad()
        loss = F.cross_entropy(supernet(second_images), second_labels)
        (loss + 0.3 * sum(p.square().sum() for p in supernet.parameters())).backward()
        adam.step()
        supernet.zero_grad()
        F.cross_entropy(supernet(images), labels).backward()
        norm = torch.stack([p.grad.norm() for p in weights if p.grad is not None]).norm()
        for p in weights:
            if p.grad is not None:
                p.grad *= min(1.0, gradient_clip / (norm.item() + 1e-6))
        sgd.step()
        norms.append(norm.item())
    assert min(norms) > 10 * 0.05  # the clipping does clip
    by_hand = dict(supernet.named_parameters())
    for name, parameter in module.supernet.named_parameters():
        torch.testing.assert_close(parameter, by_hand[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    for name, buffer in module.supernet.named_buffers():
        torch.testing.assert_close(buffer, dict(supernet.named_buffers())[name], rtol=1e-4, atol=1e-6)


def test_clipping_acts_on_weights_only():
    """The gradients that the last weight step leaves: those of the weights are clipped, alpha's are as they were."""
    clipped, free = make_module(epochs=1, gradient_clip=1e-3), make_module(epochs=1, gradient_clip=1e6)
    for module in (clipped, free):
        fit(module, Noise(1), limit_val_batches=0)

    def norm(parameters):
        return torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm().item()

    assert norm(clipped.supernet.weight_parameters()) == pytest.approx(1e-3, rel=1e-3)
    assert norm(free.supernet.weight_parameters()) > 0.1
    alphas = [module.supernet.architecture_parameters() for module in (clipped, free)]
    assert norm(alphas[0]) == pytest.approx(norm(alphas[1]), rel=1e-6)
    assert norm(alphas[0]) > 1e-3


def test_regularizer_is_a_term_of_the_architecture_step():
    regularizer = OnWeightsToo()
    data = Noise(warmup_epochs=1)
    result = fit(make_module(epochs=3, warmup_epochs=1, regularizer=regularizer), data, limit_val_batches=0)
    assert regularizer.calls == [(0, 3), (1, 3), "step", "step", (2, 3), "step", "step"]
    assert len(result.metrics["search/regularizer"]) == 2
    # Shown next to the losses, which stay those of the images.
    assert result.metrics["search/regularizer"][0] > 5 > result.metrics["search/architecture_loss"][0]
    assert "search/regularizer" not in fit(make_module(epochs=1), Noise(), limit_val_batches=0).metrics


def test_beta_decay_pulls_alpha_together():
    """A step of Adam alone has the size of the learning rate; what counts is the direction."""
    modules = [make_module(epochs=2, warmup_epochs=1, regularizer=r) for r in (None, BetaDecay(weight=1e4))]
    means = []
    for module in modules:
        before = torch.cat([p.detach().clone() for p in module.supernet.alpha.values()])
        fit(module, Noise(warmup_epochs=1), limit_val_batches=0)
        means.append((torch.cat([p.detach() for p in module.supernet.alpha.values()]) - before).mean().item())
    assert means[1] == pytest.approx(-2 * 6e-4, rel=0.05)  # two steps, all of them down
    assert abs(means[0]) < 0.5 * 2 * 6e-4


def test_logs_where_the_architecture_stands():
    module = make_module(Mask.random(SPACE, ratio=0.5, seed=0), epochs=1, warmup_epochs=1)
    for parameter in module.supernet.architecture_parameters():
        parameter.data.zero_()
    result = fit(module, Noise(1, warmup_epochs=1), limit_val_batches=0)
    for kind in ("normal", "reduce"):
        assert result.metrics[f"search/entropy_{kind}_nats"] == [pytest.approx(math.log(4), rel=1e-6)]
        count = sum(name == "skip_connect" for name, _ in module.genotype.cells[kind])
        assert result.metrics[f"search/skip_connects_{kind}"] == [count]


def test_entropy_is_the_mean_over_edges():
    module = make_module(epochs=1, warmup_epochs=1)
    alpha = module.supernet.alpha["normal"].data.zero_()
    alpha[0] = 100.0  # one edge of 14 has decided
    with torch.no_grad():
        module.supernet.alpha["reduce"].zero_()
    metrics = fit(module, Noise(1, warmup_epochs=1), limit_val_batches=0).metrics
    assert metrics["search/entropy_normal_nats"] == [pytest.approx(13 / 14 * math.log(2), rel=1e-6)]
    assert metrics["search/entropy_reduce_nats"] == [pytest.approx(math.log(2), rel=1e-6)]


def test_skip_connects_are_counted_in_the_genotype():
    """Every edge has skip_connect alone: 8 of the cell's 14 edges are chosen."""
    mask = Mask("darts", {"normal": [("skip_connect",)] * 14, "reduce": [("avg_pool_3x3",)] * 14})
    metrics = fit(make_module(mask, epochs=1), Noise(1), limit_val_batches=0).metrics
    assert metrics["search/skip_connects_normal"] == [8]
    assert metrics["search/skip_connects_reduce"] == [0]


def make_digits(max_train_images=None):
    return Digits(
        mean=[0.30538], std=[0.37612], crop_padding=0, flip=False, num_workers=0, test_fraction=0.2, split_seed=0,
        max_train_images=max_train_images,
    )  # fmt: skip


def test_learns_digits():
    module = make_module(epochs=4, warmup_epochs=1, batch_size=64, learning_rate=0.2, regularizer=BetaDecay(25.0))
    data = SearchData(make_digits(max_train_images=900), batch_size=64, seed=0, warmup_epochs=1)
    result = fit(module, data)
    for name in ("train_loss", "val_loss", "train_acc", "val_acc", "learning_rate"):
        assert len(result.metrics[f"search/{name}"]) == 4, name
    assert len(result.metrics["search/architecture_loss"]) == 3
    losses = result.metrics["search/train_loss"]
    assert losses[3] < 0.85 * losses[0]
    assert result.metrics["search/train_acc"][3] > result.metrics["search/train_acc"][0] + 0.1

    # The last epoch's validation is that of the trained network on the images of the second half, each once.
    module.eval()
    with torch.no_grad():
        batches = [(module(images), labels) for images, labels in data.val_dataloader()]
    logits, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert len(labels) == 450
    accuracy = logits.argmax(dim=1).eq(labels).float().mean().item()
    assert result.metrics["search/val_acc"][3] == pytest.approx(accuracy, abs=1e-6)
    assert result.trainer.callback_metrics["search/val_acc"].item() == pytest.approx(accuracy, abs=1e-6)
    assert result.metrics["search/val_loss"][3] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)


def test_loss_is_that_of_a_weight_step():
    module, data = make_module(epochs=1, warmup_epochs=1, regularizer=OnWeightsToo()), Noise(1, warmup_epochs=1)
    [(images, labels)] = data.first
    supernet = copy.deepcopy(module.supernet)
    loss = module.loss(images, labels).item()
    assert loss == pytest.approx(F.cross_entropy(supernet(images), labels).item(), rel=1e-6)
    assert fit(module, data, limit_val_batches=0).metrics["search/train_loss"] == [pytest.approx(loss, rel=1e-5)]


@pytest.mark.parametrize(("mask", "settings", "warns"), [
    ("skip_connect", {"partial_channels": 1}, True),
    ("skip_connect", {"partial_channels": 1, "edge_normalization": True}, False),
    ("skip_connect", {"partial_channels": 2}, False),
    (None, {"partial_channels": 1}, False),
])  # fmt: skip
def test_a_search_without_a_choice_is_said(mask, settings, warns, caplog):
    make_module(mask and Mask("darts", {kind: [(mask,)] * 14 for kind in ("normal", "reduce")}), **settings)
    assert ("the seed alone chooses the edges of every node" in caplog.text) == warns


def test_the_seed_of_the_run_orders_equals():
    """A mask of one candidate an edge leaves edges that are equally strong."""
    mask = Mask("darts", {kind: [("skip_connect",)] * 14 for kind in ("normal", "reduce")})
    found = [make_module(mask, partial_channels=1, seed=seed).genotype for seed in (0, 0, 1, 2)]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_chain_has_one_entropy_for_all_layers():
    torch.manual_seed(0)
    space = load_space("nasbench_macro", width_multiplier=0.25, in_channels=1)
    module = BilevelSearch(space, {"engine": "plain"}, **(SETTINGS | {"partial_channels": 1, "epochs": 1}))
    module.begin(Mask.full(space))
    metrics = fit(module, Noise(1)).metrics
    assert metrics["search/entropy_nats"] == [pytest.approx(math.log(3), rel=1e-5)]
    chosen = [gene[0] for (gene,) in module.genotype.cells.values()]
    assert metrics["search/skip_connects"] == [chosen.count("skip_connect")]
    assert not any("layer" in name for name in metrics)
