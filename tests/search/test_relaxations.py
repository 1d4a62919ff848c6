"""A relaxation decides what is computed, and by which weights; how it does so has to do with nothing else."""

import copy

import pytest
import torch
from engines import other_engines
from torch.nn import functional as F

from halfnas.data import Fake, SearchData
from halfnas.networks import build_supernet
from halfnas.search import BilevelSearch, BilevelStep, HardGumbel, Softmax
from halfnas.search.relaxations import draw
from halfnas.spaces import DartsSpace, Mask
from halfnas.training import adam, generator, sgd
from quiet import quiet_trainer
from recorded import give_weights
from toys import ToyPath, Warm

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
MASK = Mask.random(SPACE, 0.5, 0)


def make_supernet(partial_channels=2, **options):
    supernet = build_supernet(SPACE, MASK, partial_channels=partial_channels, **options)
    give_weights(supernet.double().train())
    return supernet


def make_step(supernet, relaxation, **settings):
    weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
    architecture = adam(supernet.architecture_parameters(), learning_rate=6e-3, betas=(0.5, 0.999), weight_decay=1e-3)
    return BilevelStep(supernet, weights, architecture, gradient_clip=0.5, relaxation=relaxation, **settings)


def batch(seed, size=4):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(size, 1, 8, 8, generator=source, dtype=torch.float64), torch.randint(
        4, (size,), generator=source
    )


def test_a_draw_depends_on_seed_epoch_and_number_alone():
    steps = [make_step(make_supernet(), ToyPath(), seed=seed) for seed in (3, 3, 4)]
    torch.manual_seed(5)
    steps[0].draw(2, 7)
    found = {which: noise.clone() for which, noise in steps[0]._noise.items()}
    torch.manual_seed(6)
    torch.rand(3)
    for epoch, number in ((0, 0), (2, 6), (2, 7)):
        steps[1].draw(epoch, number)
    for which, noise in found.items():
        assert noise.equal(steps[1]._noise[which])
    assert not found["weights"].equal(found["architecture"]), "each pass has its own"
    steps[2].draw(2, 7)
    assert not found["weights"].equal(steps[2]._noise["weights"]), "each seed has its own"
    steps[0].draw(2, 8)
    assert not found["weights"].equal(steps[0]._noise["weights"]), "each step has its own"


def test_a_draw_that_may_be_captured_stays_where_it_is():
    step = make_step(make_supernet(), Warm())
    step.draw(0, 0)
    before = step._noise["weights"]
    values = before.clone()
    step.draw(0, 1)
    assert step._noise["weights"] is before
    assert not before.equal(values)


def test_softmax_draws_nothing():
    supernet = make_supernet()
    step = make_step(supernet, Softmax())
    step.draw(0, 0)
    assert set(step._noise.values()) == {None}
    assert list(Softmax().parameters()) == list(Softmax().buffers()) == []


@pytest.mark.parametrize("relaxation", [ToyPath, Warm])
@other_engines
@pytest.mark.parametrize("partial_channels", [1, 2])
def test_steps_are_the_same_on_every_engine(relaxation, options, partial_channels):
    supernets = [make_supernet(partial_channels), make_supernet(partial_channels, **options)]
    for supernet in supernets:
        step = make_step(supernet, relaxation())
        for number in range(2):
            step.begin_epoch(number, 2)
            step.draw(number, 0)
            step(*batch(number), *batch(10 + number))
    expected = supernets[0].state_dict()
    for name, value in supernets[1].state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture
def fit(tmp_path):
    """fit(relaxation, ...): a module after two epochs of two steps."""

    def run(relaxation, *, seed=0, engine="plain", **settings):
        torch.manual_seed(0)
        module = BilevelSearch(
            SPACE, {"engine": engine}, partial_channels=2, edge_normalization=None, epochs=2, warmup_epochs=0,
            batch_size=8, learning_rate=0.1, learning_rate_min=0.0, momentum=0.9,
            weight_decay=3e-4, gradient_clip=5.0, architecture_learning_rate=0.01, architecture_betas=(0.5, 0.999),
            architecture_weight_decay=1e-3, relaxation=relaxation, seed=seed, **settings,
        )  # fmt: skip
        module.begin(MASK)
        dataset = Fake(
            num_classes=4, in_channels=1, image_size=8, num_train=32, num_test=8, seed=0, crop_padding=0, flip=False,
            num_workers=0,
        )  # fmt: skip
        trainer = quiet_trainer(max_epochs=2, precision="64-true", default_root_dir=tmp_path)
        trainer.fit(module, datamodule=SearchData(dataset, batch_size=8, seed=0))
        return module

    return run


def test_a_search_repeats_itself(fit):
    first, again, other = fit(ToyPath()), fit(ToyPath()), fit(ToyPath(), seed=1)
    for name, value in first.state_dict().items():
        assert value.equal(again.state_dict()[name]), name
    assert not first.supernet.alpha["normal"].equal(other.supernet.alpha["normal"])


def test_state_of_a_relaxation_goes_with_the_module(fit):
    module = fit(HardGumbel(temperature=10.0, temperature_min=0.1, add_others=False))
    assert module.state_dict()["relaxation.temperature"].item() == pytest.approx(0.1)
    assert not any(name.startswith("relaxation") for name in fit(Softmax()).state_dict())


def test_loss_is_that_of_the_relaxation(fit):
    """So that what it keeps for the backward pass is what a step keeps."""
    module = fit(ToyPath()).train()
    images, labels = batch(0)
    module.zero_grad()
    module.loss(images, labels).backward()
    untouched = [name for name, p in module.supernet.named_parameters() if ".operations." in name and p.grad is None]
    assert len(untouched) > 20
    supernet = copy.deepcopy(module.supernet)
    noise = draw(ToyPath(), supernet, generator(0, "relaxation of a rehearsal", 0))
    expected = F.cross_entropy(supernet(images, ToyPath()(supernet, noise)), labels)
    assert module.loss(images, labels).item() == pytest.approx(expected.item(), rel=1e-9)


def test_what_looks_at_values_is_not_captured(fit, monkeypatch):
    monkeypatch.setattr("halfnas.training.capture.why_not", lambda device: None)
    with pytest.raises(ValueError, match=r"`cuda_graphs=true` cannot be: ToyPath picks the candidates of every step"):
        fit(ToyPath(), cuda_graphs=True)
    assert not fit(ToyPath(), cuda_graphs="auto")._replay.captured
