import pytest
import torch
from lightning.pytorch import LightningModule
from torch import distributed, nn

from halfnas.spaces.operations import Noise
from halfnas.training import Ranks, strategy
from ranks import on_ranks, ranks_trainer


class Started(LightningModule):
    """Notes what it has when its training begins, which in every process was its rank; it has no gradients at all."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        rank = float(distributed.get_rank())
        self.frozen = nn.Parameter(torch.full((2,), rank), requires_grad=False)
        self.register_buffer("running", torch.full((3,), rank))
        self.noise = Noise(stride=1)

    def on_fit_start(self):
        self.found = self.frozen.tolist(), self.running.tolist(), self.noise.share

    def training_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return []


def start():
    module = Started()
    ranks_trainer(max_epochs=1).fit(module, [torch.zeros(1)])
    return module.found


def test_all_start_from_what_the_first_process_has():
    assert on_ranks(start) == [([0.0] * 2, [0.0] * 3, (rank, 2)) for rank in range(2)]


@pytest.mark.parametrize("error", [RuntimeError("Connection closed by peer"), distributed.DistBackendError("remote")])
def test_a_lost_connection_names_the_process(error, monkeypatch):
    monkeypatch.setattr(strategy, "failure", lambda: "process 1 has ended with exit code -9")
    said = str(error)
    Ranks().on_exception(error)
    assert str(error) == f"process 1 has ended with exit code -9; here: {said}"


@pytest.mark.parametrize("error", [ValueError("of all processes"), KeyboardInterrupt()])
def test_other_errors_stay_as_they_are(error, monkeypatch):
    monkeypatch.setattr(strategy, "failure", lambda: "process 1 has ended with exit code 1")
    said = str(error)
    Ranks().on_exception(error)
    assert str(error) == said
