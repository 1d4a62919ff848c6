"""A search step replayed from a CUDA graph is the step itself."""

import pytest
import torch

from halfnas.networks import build_supernet
from halfnas.search import BetaDecay, BilevelStep, Dirichlet, Softmax, UnrolledStep
from halfnas.spaces import DartsSpace, Mask
from halfnas.training import Replay, adam, capture, set_learning_rate, sgd
from recorded import drift, give_weights
from toys import ToyPath, Warm

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
MASK = Mask.random(SPACE, 0.25, 0)
#: Of each epoch: learning rate, weight of the regulariser, whether the architecture is trained.
EPOCHS = ((0.1, 0.0, False), (0.07, 0.0, False), (0.05, 2.0, True), (0.03, 4.0, True), (0.01, 8.0, True))
SIZES = (4, 3)  # of the batches of an epoch, the last one smaller


class Search:
    """A search in epochs, without Lightning."""

    def __init__(
        self, *, dtype=torch.float64, cuda_graphs="auto", bf16=False, relaxation=Softmax, step=BilevelStep, **options
    ):
        self.supernet = build_supernet(SPACE, MASK, partial_channels=2, **options)
        give_weights(self.supernet.double().train())
        self.supernet.to("cuda", dtype)
        self.dtype, self.bf16 = dtype, bf16
        weights = sgd(self.supernet.weight_parameters(), learning_rate=1.0, momentum=0.9, weight_decay=3e-4)
        architecture = adam(
            self.supernet.architecture_parameters(), learning_rate=6e-3, betas=(0.5, 0.999), weight_decay=1e-3
        )
        self.step = step(
            self.supernet, weights, architecture, gradient_clip=0.5, relaxation=relaxation(),
            regularizer=BetaDecay(25.0),
        )  # fmt: skip
        self.replay = Replay(self.step, cuda_graphs=cuda_graphs)

    def run(self, epochs=(0, 1, 2, 3, 4)):
        """Those epochs; returns what they measured."""
        measured = []
        for epoch in epochs:
            rate, weight, architecture = EPOCHS[epoch]
            set_learning_rate(self.step.weights, rate)
            set_learning_rate(self.step.architecture, 6e-3)
            self.step.regularizer_weight.fill_(weight)
            for number, size in enumerate(SIZES):
                batch = self.batch(size, 2 * (number + 10 * epoch))
                other = self.batch(size, 2 * (number + 10 * epoch) + 1) if architecture else ()
                self.step.draw(epoch, number)
                with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.bf16):
                    self.replay(*batch, *other)
            measured.append(self.step.means.take())
        return measured

    def batch(self, size, seed):
        """Noise, other for each seed."""
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(size, 1, 8, 8, generator=generator, dtype=torch.float64)
        labels = torch.randint(4, (size,), generator=generator)
        return images.to("cuda", self.dtype), labels.to("cuda")

    def state(self):
        """What a checkpoint has of it."""
        optimizers = [self.step.weights.state_dict(), self.step.architecture.state_dict()]
        return {"supernet": self.supernet.state_dict(), "optimizers": optimizers}

    def load(self, state):
        """Go on from there."""
        self.supernet.load_state_dict(state["supernet"])
        for optimizer, saved in zip((self.step.weights, self.step.architecture), state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def assert_same(search, expected, *, rtol, atol):
    for name, value in expected.supernet.state_dict().items():
        found = search.supernet.state_dict()[name]
        torch.testing.assert_close(found, value, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A second call is captured, so that few steps do."""
    monkeypatch.setattr(capture, "WARMUP", 1)


@pytest.fixture(scope="module")
def eager():
    """The plain engine, every step as it is."""
    search = Search(cuda_graphs=False)
    search.measured = search.run()
    return search


OPTIONS = [
    {"engine": engine, "recompute": parts} for engine in ("plain", "fused") for parts in ("none", "nodes", "cells")
]


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options.values()))
def test_captured_equals_eager(eager, options):
    """Through warm-up epochs and those that follow, the last batches, and the rates and weights of every epoch."""
    search = Search(cuda_graphs=True, **options)
    measured = search.run()

    assert search.replay.captured == 4, "two sizes of batches, with and without images for the architecture"
    assert_same(search, eager, rtol=1e-8, atol=1e-9)
    for epoch, (found, expected) in enumerate(zip(measured, eager.measured, strict=True)):
        assert found == pytest.approx(expected, rel=1e-7), f"epoch {epoch}"
    start = Search().supernet
    assert (search.supernet.alpha["normal"] - start.alpha["normal"]).abs().max() > 0.01, "it was trained"


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("method", [{"relaxation": Dirichlet}, {"step": UnrolledStep}], ids=["drnas", "darts2"])
def test_captured_methods_equal_eager_ones(method, engine):
    searches = [Search(cuda_graphs=graphs, engine=engine, **method) for graphs in (True, False)]
    measured = [search.run() for search in searches]

    assert searches[0].replay.captured == 4
    assert_same(*searches, rtol=1e-7, atol=1e-8)
    for epoch, (found, expected) in enumerate(zip(*measured, strict=True)):
        assert found == pytest.approx(expected, rel=1e-6), f"epoch {epoch}"
    start = Search().supernet
    assert (searches[0].supernet.alpha["normal"] - start.alpha["normal"]).abs().max() > 0.01, "it was trained"


@pytest.mark.gpu
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
def test_captured_equals_eager_in_single_precision(bf16):
    settings = {"dtype": torch.float32, "bf16": bf16, "engine": "fused"}
    captured, expected = (Search(cuda_graphs=graphs, **settings) for graphs in (True, False))
    losses = [[epoch["train_loss"] for epoch in search.run()] for search in (captured, expected)]

    assert captured.replay.captured == 4
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in captured.supernet.parameters())
    assert losses[0] == pytest.approx(losses[1], rel=0.15 if bf16 else 0.01)
    if not bf16:  # there two runs of the same end half as far apart as from their start
        assert drift(captured.supernet, expected.supernet, Search(**settings).supernet) < 0.03


@pytest.mark.gpu
def test_going_on_from_a_checkpoint(tmp_path):
    """Captured anew after loading it, the search ends where one that was not interrupted does."""
    whole = Search(cuda_graphs=True, engine="fused")
    whole.run()

    first = Search(cuda_graphs=True, engine="fused")
    first.run((0, 1, 2))
    torch.save(first.state(), tmp_path / "search.ckpt")
    second = Search(cuda_graphs=True, engine="fused")
    second.load(torch.load(tmp_path / "search.ckpt", map_location="cpu", weights_only=True))  # as Lightning does
    second.run((3, 4))

    assert second.replay.captured == 2
    assert_same(second, whole, rtol=1e-8, atol=1e-9)


@pytest.mark.gpu
def test_a_captured_step_sees_what_the_relaxation_draws():
    """Noise of every step, and a buffer that changes from epoch to epoch."""
    runs = []
    for graphs in (True, False):
        search = Search(cuda_graphs=graphs, engine="fused")
        search.step.relaxation = Warm().to("cuda")
        search.step.seed = 3
        set_learning_rate(search.step.weights, 0.05)
        for epoch in range(3):
            search.step.begin_epoch(epoch, 3)
            for number in range(3):
                search.step.draw(epoch, number)
                search.replay(*search.batch(4, number), *search.batch(4, 10 + number))
        runs.append(search)
    assert runs[0].replay.captured == 1
    assert_same(runs[0], runs[1], rtol=1e-8, atol=1e-9)


@pytest.mark.gpu
def test_one_path_runs_as_it_is():
    """It looks at values on the host; what it draws stays there."""
    search = Search(cuda_graphs=False, engine="fused")
    search.step.relaxation = ToyPath()
    set_learning_rate(search.step.weights, 0.05)
    search.step.draw(0, 0)
    search.replay(*search.batch(4, 0), *search.batch(4, 1))
    untouched = [name for name, p in search.supernet.named_parameters() if ".operations." in name and p.grad is None]
    assert len(untouched) > 10
    assert all(value.isfinite().all() for value in search.supernet.state_dict().values())
