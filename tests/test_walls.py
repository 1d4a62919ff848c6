"""Whoever adds a space, a ranking function, a relaxation or a dataset writes one class and one yaml, and edits nothing.

The classes are those of toys.py; the yaml files lie in a folder of their own, as a user's would.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from halfnas.data import SearchData
from halfnas.memory import peak_live_memory, saved_for_backward
from halfnas.networks import DiscreteNetwork, build_supernet
from halfnas.networks.fused.cell import FusedCell
from halfnas.networks.plain import PlainCell
from halfnas.pruning import Batch, ImportancePruner
from halfnas.pruning.rankers import NNGPFrobenius
from halfnas.search import BilevelStep, Softmax
from halfnas.search.relaxations import draw
from halfnas.spaces import DartsSpace, Genotype, Mask
from halfnas.training import adam, generator, sgd
from recorded import give_weights
from toys import KERNELS, ToyChain, ToyPath, ToyRanker, ToySorted

TESTS = Path(__file__).parent
YAML = {
    "space/toy_chain": "_target_: toys.ToyChain\n",
    "pruner/toy": (
        "defaults:\n  - base/importance@_here_\n  - _self_\nname: toy\nrankers:\n  toy:\n    _target_: toys.ToyRanker\n"
    ),
    "searcher/toy": "defaults:\n  - darts\n  - _self_\nrelaxation:\n  _target_: toys.ToyPath\n",
    "dataset/toy": "_target_: toys.ToySorted\n",
}
SIZES = (
    "pruner.repeats=2", "pruner.batch_size=4", "searcher.epochs=2", "searcher.batch_size=8", "evaluation.epochs=1",
    "evaluation.batch_size=8", "trainer=cpu", "logger=csv",
)  # fmt: skip


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """train(...): train.py with the yaml files of the toys beside its own; the folder of the job, and the process."""
    conf = tmp_path_factory.mktemp("conf")
    for name, content in YAML.items():
        file = conf / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "HYDRA_"))}

    def run(*overrides):
        job = tmp_path_factory.mktemp("job")
        done = subprocess.run(
            [sys.executable, str(TESTS.parent / "train.py"), *SIZES, *overrides, f"hydra.run.dir={job}",
             f"hydra.searchpath=[file://{conf}]"],
            cwd=job, env=keep | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        return job, done

    return run


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_ranker_a_relaxation_and_a_dataset_from_the_command_line(train):
    job, done = train(
        "pruner=toy", "searcher=toy", "dataset=toy", "space.init_channels=4", "space.num_cells=3",
        "pruner.network.init_channels=2", "evaluation.init_channels=4", "evaluation.num_cells=3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read(job / "mask.json")["pruner"] == "toy"
    assert read(job / "status.json")["stages_done"] == ["prune", "search", "evaluate"]
    metrics = read(job / "metrics.json")
    assert metrics["prune/repeats"] == 2
    assert metrics["evaluate/test_acc"] >= 0
    # Of four candidates of an edge one is computed.
    both = [train(
        "stage=search", f"mask={job / 'mask.json'}", f"searcher={searcher}", "dataset=toy", "space.init_channels=4",
        "space.num_cells=3", "searcher.epochs=1", "supernet.engine=plain",
    )[0] for searcher in ("toy", "darts")]  # fmt: skip
    one, all_of_them = (read(path / "metrics.json")["search/step_activations_mib"] for path in both)
    assert one < 0.6 * all_of_them


def test_a_chain_from_the_command_line(train):
    job, done = train("space=toy_chain", "pruner=toy", "searcher=toy", "dataset=toy")
    assert done.returncode == 0, done.stderr
    assert read(job / "status.json")["stages_done"] == ["prune", "search", "evaluate"]
    assert [len(edge) for edges in read(job / "mask.json")["kept"].values() for edge in edges] == [2, 2, 2]
    assert set(read(job / "genotype.json")) == {"format", "space", "layer_1", "layer_2", "layer_3"} | {
        f"layer_{n}_concat" for n in (1, 2, 3)
    }


# --- a chain, whose layers change the channels

CHAIN = ToyChain(num_classes=4, in_channels=1)


def chain(engine="plain", mask=None, **options):
    supernet = build_supernet(CHAIN, mask, engine=engine, **options)
    give_weights(supernet.double().train())
    return supernet


def batch(seed):
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 1, 8, 8, generator=source, dtype=torch.float64)
    return images, torch.randint(4, (4,), generator=source)


def make_step(supernet, relaxation):
    weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
    architecture = adam(supernet.architecture_parameters(), learning_rate=6e-3, betas=(0.5, 0.999), weight_decay=1e-3)
    return BilevelStep(supernet, weights, architecture, gradient_clip=0.5, relaxation=relaxation)


def test_the_fused_engine_leaves_some_cells_to_the_plain_one(caplog):
    with caplog.at_level(logging.WARNING):
        supernet = chain("fused")
    assert [type(layer) for layer in supernet.layers] == [PlainCell, FusedCell, PlainCell]
    assert [record.message for record in caplog.records] == [
        "2 of 3 cells run on the plain engine: their edges change channels or resolution"
    ]
    caplog.clear()
    chain("plain")
    build_supernet(DartsSpace(init_channels=4, num_cells=3), engine="fused")
    assert not caplog.records


@pytest.mark.parametrize("recompute", ["none", "nodes", "cells"])
@pytest.mark.parametrize("relaxation", [Softmax, ToyPath])
def test_a_chain_is_searched_on_every_engine(relaxation, recompute):
    supernets = [chain("plain"), chain("fused", recompute=recompute)]
    for supernet in supernets:
        step = make_step(supernet, relaxation())
        for number in range(3):
            step.draw(0, number)
            step(*batch(number), *batch(10 + number))
    for name, value in supernets[0].state_dict().items():
        torch.testing.assert_close(supernets[1].state_dict()[name], value, rtol=1e-8, atol=1e-10, msg=name)
    assert not supernets[0].alpha["layer_3"].equal(chain().alpha["layer_3"])

    genotype = supernets[0].genotype()
    assert Genotype.from_json(genotype.to_json()) == genotype
    network = DiscreteNetwork(CHAIN, genotype)
    assert network(batch(0)[0].float()).shape == (4, 4)
    [(chosen, _)] = genotype.cells["layer_3"]
    assert network.layers[2].operations[0][1].weight.shape == (8, 6, KERNELS[chosen], KERNELS[chosen])


@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_a_chain_is_narrowed(engine):
    mask = Mask.random(CHAIN, 0.5, 0)
    supernet, built = chain(engine), chain("plain", mask)
    supernet.narrow(mask)
    built.load_state_dict(supernet.state_dict())
    torch.testing.assert_close(supernet(batch(0)[0]), built(batch(0)[0]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("importance", ["exact", "taylor"])
@pytest.mark.parametrize("ranker", [ToyRanker, NNGPFrobenius])
def test_a_chain_is_pruned(ranker, importance):
    pruner = ImportancePruner(
        "toy", {"toy": ranker()}, importance=importance, combine="sum", rounds=None, scope="edge", aggregate="mean",
        repeats=2, max_repeats=2, stability=0.9, network={}, image_size=None, num_batches=2, batch_size=3,
        candidates_per_call=8,
    )  # fmt: skip
    scoring = ToyChain(channels=(2, 3, 3, 4), num_classes=4, in_channels=1)
    pruner.begin(CHAIN, scoring, ratio=0.5, seed=0)
    for number in range(2):
        found = [batch(2 * number + b) for b in (0, 1)]
        pruner.step([Batch(images[:3].float(), labels[:3]) for images, labels in found])
    pruner.mask.check(CHAIN)
    assert [len(edge) for edges in pruner.mask.kept.values() for edge in edges] == [2, 2, 2]
    scores = [score for edges in pruner.mask.importance.values() for edge in edges for score in edge.values()]
    assert len(set(scores)) == 9


# --- a relaxation that picks one candidate an edge


@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("recompute", ["none", "nodes", "cells"])
def test_one_path_is_all_that_is_computed(engine, recompute):
    """Bytes and gradients, against the softmax over all candidates of the same supernet."""
    space = DartsSpace(init_channels=8, num_cells=3, num_classes=4, in_channels=1)
    supernet = build_supernet(space, engine=engine, recompute=recompute).train()
    images, labels = torch.randn(8, 1, 16, 16), torch.arange(8) % 4

    def loss(relaxation):
        noise = draw(relaxation, supernet, generator(0, "test", 0))
        return F.cross_entropy(supernet(images, relaxation(supernet, noise)), labels)

    kept, peaks = {}, {}
    for relaxation in (Softmax(), ToyPath()):
        supernet.zero_grad(set_to_none=True)
        kept[type(relaxation)] = saved_for_backward(lambda r=relaxation: loss(r), supernet)
        peaks[type(relaxation)] = peak_live_memory(lambda r=relaxation: loss(r).backward())
    if recompute == "none":
        assert kept[ToyPath] < (0.25 if engine == "plain" else 1.0) * kept[Softmax]
    assert peaks[ToyPath] < 0.7 * peaks[Softmax]

    supernet.zero_grad(set_to_none=True)
    loss(ToyPath()).backward()
    mixing = ToyPath()(supernet, draw(ToyPath(), supernet, generator(0, "test", 0)))
    touched = {name for name, p in supernet.named_parameters() if p.grad is not None}
    for path, j in supernet.candidate_modules():
        place, within = supernet.candidates.places[j], supernet.candidates.within[j]
        picked = (within,) == mixing[place.kind].picked[place.edge]
        for name, _ in supernet.get_submodule(path).named_parameters(prefix=path):
            assert (name in touched) == picked, name


# --- a dataset that is sorted by class


def test_both_halves_of_a_sorted_dataset_have_every_class():
    data = SearchData(ToySorted(), batch_size=4, seed=0)
    labels = [part[1] for pair in data.train_dataloader() for part in pair]
    for half in (labels[0::2], labels[1::2]):
        assert torch.cat(half).bincount().tolist() == [8, 8, 8, 8]
