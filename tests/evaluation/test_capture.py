"""A training step replayed from a CUDA graph is the step itself."""

import pytest
import torch

from halfnas.evaluation import TrainingLoss, TrainingStep, drop_path_factors
from halfnas.networks import DiscreteNetwork
from halfnas.spaces import DartsSpace, find_genotype
from halfnas.training import Replay, generator, set_learning_rate, sgd
from recorded import drift, give_weights

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
EPOCHS = ((0.1, 0.0), (0.06, 0.1), (0.02, 0.2))  # of each: learning rate, probability of drop path
SIZES = (4, 4, 3)  # of the batches of an epoch, the last one smaller


def train(dtype, *, channels_last, cuda_graphs, bf16=False, epochs=EPOCHS):
    """The network after those epochs, what they measured, and what replays the steps."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    network = DiscreteNetwork(SPACE, find_genotype("darts_v2"), auxiliary=True)
    give_weights(network.double().train())
    network.to("cuda", dtype).to(memory_format=memory_format)
    optimizer = sgd(network.parameters(), learning_rate=1.0, momentum=0.9, weight_decay=3e-4)
    step = TrainingStep(TrainingLoss(network, label_smoothing=0.1, auxiliary_weight=0.4), optimizer, gradient_clip=0.5)
    replay = Replay(step, cuda_graphs=cuda_graphs)
    measured = []
    for epoch, (rate, probability) in enumerate(epochs):
        set_learning_rate(optimizer, rate)
        for number, size in enumerate(SIZES):
            draws = generator(0, "test", epoch, number)
            images = torch.randn(size, 1, 32, 32, generator=draws, dtype=torch.float64).to("cuda", dtype)
            labels = torch.randint(4, (size,), generator=draws).to("cuda")
            factors = drop_path_factors(network.num_paths, size, probability, draws).to("cuda")
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16):
                replay(images.contiguous(memory_format=memory_format), labels, factors)
        measured.append(step.means.take())
    return network, measured, replay


@pytest.mark.gpu
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
def test_captured_equals_eager(channels_last):
    """Through all epochs' rates and probabilities of drop path, and the last batches."""
    captured, measured, replay = train(torch.float64, channels_last=channels_last, cuda_graphs=True)
    expected, by_hand, _ = train(torch.float64, channels_last=channels_last, cuda_graphs=False)

    assert replay.captured == 2
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(captured.state_dict()[name], value, rtol=1e-8, atol=1e-9, msg=name)
    for found, wanted in zip(measured, by_hand, strict=True):
        assert found == pytest.approx(wanted, rel=1e-7)


@pytest.mark.gpu
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
def test_captured_equals_eager_in_single_precision(bf16):
    settings = {"channels_last": True, "bf16": bf16}
    captured, measured, replay = train(torch.float32, cuda_graphs=True, **settings)
    expected, by_hand, _ = train(torch.float32, cuda_graphs=False, **settings)

    assert replay.captured == 2
    losses = [[epoch["train_loss"] for epoch in epochs] for epochs in (measured, by_hand)]
    assert losses[0] == pytest.approx(losses[1], rel=0.15 if bf16 else 0.01)
    if not bf16:  # there two runs of the same end half as far apart as from their start
        start, _, _ = train(torch.float32, cuda_graphs=False, epochs=(), **settings)
        assert drift(captured, expected, start) < 0.03
