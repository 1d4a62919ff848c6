"""Trainers of several devices and machines, as the settings make them."""

from hydra.utils import instantiate

from halfnas.networks import JoinedNorms
from halfnas.training import Ranks


def make(settings, *overrides):
    return instantiate(settings(*overrides).trainer, logger=False, _convert_="all")


def test_two_processes_of_a_cpu(settings):
    trainer = make(settings, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
    assert isinstance(trainer.strategy, Ranks)
    assert isinstance(trainer.strategy._norms, JoinedNorms)
    assert trainer.world_size == 2


def test_several_machines(settings):
    trainer = make(settings, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.num_nodes=3")
    assert (trainer.num_nodes, trainer.world_size) == (3, 6)


def test_one_device_needs_no_others(settings):
    trainer = make(settings, "trainer=cpu")
    assert (trainer.world_size, trainer.num_nodes) == (1, 1)
    assert not isinstance(trainer.strategy, Ranks)
