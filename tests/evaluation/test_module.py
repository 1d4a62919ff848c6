import copy
import math
from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

from halfnas.data import Digits, EvaluationData, Fake
from halfnas.evaluation import Evaluation, drop_path_factors
from halfnas.spaces import DartsSpace, find_genotype
from halfnas.spaces.load import CONF
from history_logger import History
from quiet import quiet_trainer

GENOTYPE = find_genotype("darts_v2")
SPACE = DartsSpace(init_channels=2, num_cells=3, in_channels=1)
SETTINGS = {
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "gradient_clip": 5.0,
    "auxiliary": False,
    "auxiliary_weight": 0.4,
    "drop_path": 0.2,
    "label_smoothing": 0.0,
    "holdout_fraction": 0.0,
}


def make_module(image_size=8, **settings):
    torch.manual_seed(0)
    module = Evaluation(SPACE, image_size, **(SETTINGS | settings))
    module.begin(GENOTYPE)
    return module


def make_data(module, image_size=8, num_train=8):
    dataset = Fake(
        num_classes=10, in_channels=1, image_size=image_size, num_train=num_train, num_test=6, seed=0, crop_padding=0,
        flip=False, num_workers=0,
    )  # fmt: skip
    return EvaluationData(
        dataset, batch_size=module.batch_size, seed=0, cutout_length=0, holdout_fraction=module.holdout_fraction
    )


class Watch(Callback):
    """Learning rate and images of every training step."""

    def __init__(self):
        self.steps = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        learning_rate = trainer.optimizers[0].param_groups[0]["lr"].item()
        self.steps.append(SimpleNamespace(learning_rate=learning_rate, batch=batch))


def fit(module, data, **settings):
    watch, history = Watch(), History()
    trainer = quiet_trainer(
        logger=history, max_epochs=module.epochs, callbacks=[watch], log_every_n_steps=1, **settings
    )
    trainer.fit(module, datamodule=data)
    return SimpleNamespace(trainer=trainer, steps=watch.steps, metrics=history.metrics)


@pytest.fixture(scope="module")
def four_epochs():
    module = make_module(epochs=4)
    return module, fit(module, make_data(module), limit_val_batches=0)


def test_drop_path_grows_linearly_from_zero(monkeypatch):
    given = []

    def factors(num_paths, num_images, probability, draws):
        given.append(probability)
        return drop_path_factors(num_paths, num_images, probability, draws)

    monkeypatch.setattr("halfnas.evaluation.module.drop_path_factors", factors)
    module = make_module(epochs=4)
    metrics = fit(module, make_data(module), limit_val_batches=0).metrics
    expected = [0.0, 0.05, 0.1, 0.15]  # 0.2 e / 4: the value itself is never reached
    assert metrics["evaluate/drop_path"] == pytest.approx(expected, abs=1e-7)
    assert given == pytest.approx([0.2 * (n // 2) / 4 for n in range(8)])


def test_drop_path_is_off_outside_of_training(four_epochs):
    module, _ = four_epochs
    images = torch.randn(4, 1, 8, 8)
    module.eval()
    with torch.no_grad():
        assert module(images).equal(module(images))


def test_without_drop_path_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr("halfnas.evaluation.module.drop_path_factors", None)
    module = make_module(epochs=1, drop_path=0.0)
    fit(module, make_data(module), limit_val_batches=0)


def test_learning_rate_goes_to_zero_on_a_cosine(four_epochs):
    _, result = four_epochs
    expected = [0.1 * (1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)]
    assert [step.learning_rate for step in result.steps[::2]] == pytest.approx(expected, rel=1e-6)
    assert [step.learning_rate for step in result.steps[1::2]] == pytest.approx(expected, rel=1e-6)
    assert result.metrics["evaluate/learning_rate"] == pytest.approx(expected, rel=1e-6)


def load(**overrides):
    content = OmegaConf.load(CONF / "evaluation" / "darts.yaml")
    for name in ("init_channels", "num_cells", "cutout_length"):  # of the space and of the data
        del content[name]
    module = instantiate(content, SPACE, 8, _convert_="all", **{"auxiliary": False, **overrides})
    module.begin(GENOTYPE)
    return module


def test_published_settings():
    module = load()
    optimizer = module.configure_optimizers()
    assert module.epochs == 600
    assert module.learning_rate == 0.025
    group = optimizer.param_groups[0]
    assert group["lr"].item() == pytest.approx(0.025)
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 3e-4, False)
    assert {id(p) for p in group["params"]} == {id(p) for p in module.parameters()}
    assert (module.gradient_clip, module.batch_size) == (5.0, 96)
    assert (module.holdout_fraction, module.drop_path) == (0.0, 0.2)
    assert (module.step.loss.auxiliary_weight, module.step.loss.label_smoothing) == (0.4, 0.0)


@pytest.mark.parametrize(("smoothing", "weight"), [(0.0, 0.4), (0.1, 0.4), (0.0, 1.5)])
def test_loss_with_the_auxiliary_head(smoothing, weight):
    module = make_module(32, auxiliary=True, auxiliary_weight=weight, label_smoothing=smoothing).double()
    images, labels = torch.randn(3, 1, 32, 32, dtype=torch.float64), torch.tensor([1, 0, 9])
    logits, auxiliary_logits = copy.deepcopy(module.network).forward_with_auxiliary(images)

    def cross_entropy(z):
        """(1 - s) of it on the label, s on all 10 classes alike."""
        log_p = z - z.logsumexp(dim=1, keepdim=True)
        return -((1 - smoothing) * log_p[range(3), labels] + smoothing * log_p.mean(dim=1)).mean().item()

    expected = cross_entropy(logits) + weight * cross_entropy(auxiliary_logits)
    assert cross_entropy(auxiliary_logits) > 0.1
    assert module.loss(images, labels).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_without_an_auxiliary_head(smoothing):
    module = make_module(label_smoothing=smoothing)
    images, labels = torch.randn(3, 1, 8, 8), torch.tensor([1, 0, 9])
    log_p = copy.deepcopy(module.network)(images).log_softmax(dim=1)
    expected = -((1 - smoothing) * log_p[range(3), labels] + smoothing * log_p.mean(dim=1)).mean().item()
    assert module.loss(images, labels).item() == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_is_left_out_of_validation():
    module = make_module(epochs=1, label_smoothing=0.5)
    data = make_data(module)
    result = fit(module, data)
    with torch.no_grad():
        module.eval()
        losses = [F.cross_entropy(module(images), labels, reduction="sum") for images, labels in data.val_dataloader()]
    assert result.metrics["evaluate/test_loss"] == [pytest.approx(sum(losses).item() / 6, rel=1e-5)]


def test_the_auxiliary_head_is_trained_with_the_rest():
    """The steps of a run are those of SGD by hand on CE + 0.4 CE_aux, with its gradient clipped."""
    module = make_module(32, epochs=1, auxiliary=True, gradient_clip=0.5, learning_rate=0.05, drop_path=0.0)
    network = copy.deepcopy(module.network).train()
    result = fit(module, make_data(module, image_size=32), limit_val_batches=0)
    assert len(result.steps) == 2
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=3e-4)
    for step in result.steps:
        images, labels = step.batch
        logits, auxiliary_logits = network.forward_with_auxiliary(images)
        optimizer.zero_grad()
        (F.cross_entropy(logits, labels) + 0.4 * F.cross_entropy(auxiliary_logits, labels)).backward()
        gradients = [p.grad for p in network.parameters()]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
        assert norm > 2 * 0.5  # the clipping does clip
        for gradient in gradients:
            gradient *= 0.5 / (norm + 1e-6)
        optimizer.step()
    by_hand = dict(network.named_parameters())
    for name, parameter in module.network.named_parameters():
        torch.testing.assert_close(parameter, by_hand[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("gradient_clip", [1e-3, 1e-1])
def test_a_clipped_step_is_as_long_as_the_clip_allows(gradient_clip):
    """One step of plain SGD with a learning rate of 100 moves the weights by 100 times the clipped norm."""
    settings = {"momentum": 0.0, "weight_decay": 0.0, "learning_rate": 100.0, "gradient_clip": gradient_clip}
    module = make_module(epochs=1, **settings)
    before = nn.utils.parameters_to_vector(module.parameters()).double()
    fit(module, make_data(module), limit_val_batches=0, limit_train_batches=1)
    moved = nn.utils.parameters_to_vector(module.parameters()).double() - before
    assert moved.norm().item() == pytest.approx(100.0 * gradient_clip, rel=1e-3)


def accuracy_of(network, loader):
    network.eval()
    with torch.no_grad():
        right, total = 0, 0
        for images, labels in loader:
            right += network(images).argmax(dim=1).eq(labels).sum().item()
            total += len(labels)
    return right / total, total


@pytest.mark.parametrize("holdout_fraction", [0.0, 0.25])
def test_digits_from_scratch(holdout_fraction):
    """The accuracies are those of the network as it is after the last epoch."""
    module = make_module(epochs=3, batch_size=16, holdout_fraction=holdout_fraction)
    dataset = Digits(
        mean=[0.30538], std=[0.37612], crop_padding=1, flip=False, num_workers=0, test_fraction=0.2, split_seed=0,
        max_train_images=600,
    )  # fmt: skip
    data = EvaluationData(dataset, batch_size=16, seed=0, cutout_length=0, holdout_fraction=holdout_fraction)
    result = fit(module, data)
    names = set(result.trainer.callback_metrics)
    weights = copy.deepcopy(module.network.state_dict())
    losses = result.metrics["evaluate/train_loss"]
    assert len(losses) == 3
    assert losses[2] < 0.9 * losses[0]
    assert result.metrics["evaluate/train_acc"][2] > result.metrics["evaluate/train_acc"][0]

    on_test, num_test = accuracy_of(module.network, data.test_dataloader())
    assert num_test == 360
    if holdout_fraction:
        assert "evaluate/test_acc" not in names  # the test set is not looked at before the end
        held_out, num_held_out = accuracy_of(module.network, data.val_dataloader())
        assert num_held_out == 150
        assert result.metrics["evaluate/val_acc"][2] == pytest.approx(held_out, abs=1e-6)
        assert "evaluate/val_loss" in names
    else:
        assert not {name for name in names if name.startswith("evaluate/val")}
        assert len(result.metrics["evaluate/test_acc"]) == 3
        assert result.metrics["evaluate/test_acc"][2] == pytest.approx(on_test, abs=1e-6)

    result.trainer.test(module, datamodule=data, verbose=False)
    assert result.trainer.callback_metrics["evaluate/test_acc"].item() == pytest.approx(on_test, abs=1e-6)
    for name, value in module.network.state_dict().items():
        assert value.equal(weights[name]), name  # a test changes nothing


def macs_by_hand(network, image_size):
    """From the convolutions' outputs, seen by hooks."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        pixels = output[0, 0].numel() if output.dim() == 4 else 1
        total += pixels * module.weight.numel()

    handles = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    network.eval()(torch.zeros(1, 1, image_size, image_size))
    for handle in handles:
        handle.remove()
    return total


def test_costs_are_those_of_the_deployed_network():
    plain, with_head = make_module(32), make_module(32, auxiliary=True)
    assert plain.cost() == with_head.cost()  # without the auxiliary head
    assert plain.cost() == {
        "evaluate/params": sum(p.numel() for p in plain.network.parameters()),
        "evaluate/macs": macs_by_hand(plain.network, 32),
    }
    assert with_head.network.auxiliary_head is not None
    assert make_module(16).cost()["evaluate/params"] == plain.cost()["evaluate/params"]
    assert make_module(16).cost()["evaluate/macs"] < plain.cost()["evaluate/macs"] / 3


def test_counting_leaves_no_trace_in_the_network():
    module = make_module()
    assert module.network.training
    for name, buffer in module.network.named_buffers():
        if name.endswith("running_mean"):
            assert buffer.eq(0).all(), name
