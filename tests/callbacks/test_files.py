"""Callbacks that write files or a bar, on a module whose every metric is known."""

import csv

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from halfnas.callbacks import HistoryFile, StageCheckpoint, StageProgress


class Counting(LightningModule):
    """Logs numbers that say in which epoch they were logged: e, 10 + e, 20 + e."""

    stage = "search"

    def __init__(self, weights=True, fails=False):
        super().__init__()
        self.layer = nn.Linear(1, 1) if weights else None
        self.automatic_optimization = weights
        self.fails = fails

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1) if self.layer is not None else []

    def training_step(self, batch, batch_idx):
        if self.fails and self.current_epoch == 1:
            raise RuntimeError("disk on fire")
        self.log(f"{self.stage}/train_acc", float(self.current_epoch), on_epoch=True, on_step=False, batch_size=2)
        self.log("other/train_acc", 7.0, on_epoch=True, on_step=False, batch_size=2)
        return self.layer(batch[0]).sum() if self.layer is not None else None

    def validation_step(self, batch, batch_idx):
        self.log(f"{self.stage}/val_acc", 10.0 + self.current_epoch, batch_size=2)

    def on_train_epoch_end(self):
        self.log(f"{self.stage}/late", 20.0 + self.current_epoch)

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=2)

    val_dataloader = train_dataloader


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_history_merges_training_and_validation(tmp_path, fit):
    fit(Counting(), callbacks=[HistoryFile(str(tmp_path / "history.csv"))], max_epochs=2)

    assert rows(tmp_path / "history.csv") == [
        {
            "stage": "search",
            "epoch": str(epoch),
            "search/train_acc": f"{epoch}.0",
            "search/val_acc": f"{10 + epoch}.0",
            "search/late": f"{20 + epoch}.0",
        }
        for epoch in (0, 1)
    ]


def test_history_has_no_stale_validation(tmp_path, fit):
    path = tmp_path / "history.csv"
    fit(Counting(), callbacks=[HistoryFile(str(path))], max_epochs=5, check_val_every_n_epoch=2)

    assert [row["search/val_acc"] for row in rows(path)] == ["", "11.0", "", "13.0", ""]
    assert [row["search/train_acc"] for row in rows(path)] == ["0.0", "1.0", "2.0", "3.0", "4.0"]


def test_history_of_stages_is_one_file(tmp_path, fit):
    path = tmp_path / "history.csv"
    for stage in ("search", "evaluate"):
        module = Counting()
        module.stage = stage
        fit(module, callbacks=[HistoryFile(str(path))], max_epochs=1)

    assert [(row["stage"], row["search/train_acc"], row["evaluate/train_acc"]) for row in rows(path)] == [
        ("search", "0.0", ""),
        ("evaluate", "", "0.0"),
    ]


@pytest.mark.filterwarnings("ignore:.*exists and is not empty:UserWarning")  # one file a stage
def test_the_last_two_checkpoints_of_a_stage(tmp_path, fit):
    folder = tmp_path / "checkpoints"
    last = {}
    for stage in ("search", "evaluate"):
        module = Counting()
        module.stage = stage
        fit(module, callbacks=[StageCheckpoint(str(folder))], max_epochs=3)
        last[stage] = module.state_dict()

    names = ["evaluate-previous.ckpt", "evaluate.ckpt", "search-previous.ckpt", "search.ckpt"]
    assert sorted(file.name for file in folder.iterdir()) == names
    for stage, weights in last.items():
        saved = torch.load(folder / f"{stage}.ckpt", weights_only=True)
        assert (saved["epoch"], saved["halfnas"]["epochs"], saved["halfnas"]["last"]) == (2, 3, True)
        before = torch.load(folder / f"{stage}-previous.ckpt", weights_only=True)
        assert (before["epoch"], before["halfnas"]["epochs"], before["halfnas"]["last"]) == (1, 2, False)
        assert all(torch.equal(saved["state_dict"][key], weights[key]) for key in weights)


def test_nothing_to_save(tmp_path, fit):
    fit(Counting(weights=False), callbacks=[StageCheckpoint(str(tmp_path / "checkpoints"))], max_epochs=2)

    assert not list((tmp_path / "checkpoints").glob("*"))


def test_bar_shows_stage_epochs_and_metrics(fit, capsys):
    bar = StageProgress()
    fit(Counting(), callbacks=[bar], max_epochs=2)

    shown = capsys.readouterr().out
    assert "search" in shown
    assert "2/2" in shown
    assert "left" in shown
    assert "train_acc 1" in shown
    assert "val_acc 11" in shown
    assert "late" not in shown
    assert bar._progress is None


class Repeats(Counting):
    """A single epoch, in which every step says how far it is, and the last one that it is enough."""

    stage = "prune"

    def training_step(self, batch, batch_idx):
        self.log("prune/agreement_of_halves", 0.25 * (1 + batch_idx), on_step=True, on_epoch=False)
        self.log("prune/nngp_frobenius", 3.0, on_step=True, on_epoch=False)
        self.trainer.should_stop = batch_idx == 2

    def on_train_epoch_end(self):
        self.log("prune/agreement", 0.875)

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.ones(10, 1)), batch_size=2)


class Look(Callback):
    """What the bar says after every step."""

    def __init__(self, bar):
        self.bar = bar
        self.seen = []

    def on_train_batch_end(self, *args, **kwargs):
        [task] = self.bar._progress.tasks
        self.seen.append((task.completed, task.total, task.fields["metrics"]))


@pytest.mark.filterwarnings("ignore:.*does not have any validation:UserWarning")
def test_bar_of_a_single_epoch_shows_metrics_after_every_step(fit, capsys):
    bar = StageProgress()
    look = Look(bar)
    settings = {"max_epochs": 1, "limit_train_batches": 1.0, "limit_val_batches": 0}
    fit(Repeats(weights=False), callbacks=[bar, look], **settings)

    assert look.seen == [
        (1, 5, "agreement_of_halves 0.25"),
        (2, 5, "agreement_of_halves 0.5"),
        (3, 5, "agreement_of_halves 0.75"),
    ]
    shown = capsys.readouterr().out
    assert "prune" in shown
    assert "agreement_of_halves 0.75  agreement 0.875" in shown
    assert "nngp" not in shown


def test_bar_of_several_epochs_shows_metrics_at_their_end(fit, capsys):
    bar = StageProgress()
    look = Look(bar)
    fit(Counting(), callbacks=[bar, look], max_epochs=2)

    assert [metrics for *_, metrics in look.seen] == ["", "", *["val_acc 10  train_acc 0"] * 2]


def test_bar_closes_on_an_error(fit, capsys):
    bar = StageProgress()
    with pytest.raises(RuntimeError, match="disk on fire"):
        fit(Counting(fails=True), callbacks=[bar], max_epochs=2)

    assert bar._progress is None
    assert "search" in capsys.readouterr().out


def test_bar_can_be_switched_off(fit, capsys):
    bar = StageProgress()
    bar.disable()
    fit(Counting(), callbacks=[bar], max_epochs=1)

    assert "search" not in capsys.readouterr().out
