import random

import pytest
import torch
from torch.nn import functional as F

from halfnas.networks import Mixing, build_supernet
from halfnas.search import RandomPath, WeightStep, path
from halfnas.spaces import DartsSpace, Mask, NASBench201Space, sample_genotype
from halfnas.training import generator, sgd
from recorded import give_weights

SPACES = {
    "darts": DartsSpace(init_channels=8, num_cells=3, num_classes=4, in_channels=1),
    "nasbench201": NASBench201Space(init_channels=8, num_cells=3, num_classes=4, in_channels=1),
}


def make(space, engine="plain", **options):
    supernet = build_supernet(SPACES[space], Mask.random(SPACES[space], 0.5, 0), engine=engine, **options)
    give_weights(supernet.double().train())
    return supernet


def batch(seed=0):
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 1, 8, 8, generator=source, dtype=torch.float64)
    return images, torch.randint(4, (4,), generator=source)


def published(supernet, genotype):
    """Weights as in liamcli/randomNAS_release: 1 for operations on their edges, 0 for all others, all computed."""
    mixing = {}
    for name, kept in supernet.mask.kept.items():
        weights = [torch.zeros(len(names), dtype=torch.float64) for names in kept]
        genes = genotype.cells[name]
        for edge, (operation, _) in zip(supernet.space.kinds[name].edges_of(genes), genes, strict=True):
            weights[edge][kept[edge].index(operation)] = 1
        mixing[name] = Mixing(tuple(weights))
    return mixing


def draw(supernet, seed):
    return sample_genotype(supernet.space, supernet.mask, random.Random(seed).random)


@pytest.mark.parametrize("partial_channels", [1, 4])
@pytest.mark.parametrize("recompute", ["none", "nodes", "cells"])
@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_a_path_is_the_published_one_without_what_is_multiplied_by_zero(engine, recompute, partial_channels):
    supernet = make("darts", engine, recompute=recompute, partial_channels=partial_channels)
    oracle = make("darts", partial_channels=partial_channels)
    images, labels = batch()
    genotype = draw(supernet, 0)
    if partial_channels == 1:
        logits = [supernet(images, path(supernet, genotype)), oracle(images, published(oracle, genotype))]
    else:  # channels that pass by an edge do so with the edge only
        logits = [supernet(images, path(supernet, genotype)), oracle(images, path(oracle, genotype))]
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-9, atol=1e-12)
    for each in logits:
        F.cross_entropy(each, labels).backward()
    for (name, p), q in zip(supernet.named_parameters(), oracle.parameters(), strict=True):
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-8, atol=1e-12, msg=name)
        elif q.grad is not None:
            assert not q.grad.any(), name


def test_only_the_operations_of_the_path_run():
    supernet = make("darts")
    genotype = draw(supernet, 1)
    F.cross_entropy(supernet(batch()[0], path(supernet, genotype)), batch()[1]).backward()
    for name, j in supernet.candidate_modules():
        place = supernet.candidates.places[j]
        genes, kind = genotype.cells[place.kind], supernet.space.kinds[place.kind]
        on_path = (place.edge, place.operation) in zip(kind.edges_of(genes), (g[0] for g in genes), strict=True)
        for parameter in supernet.get_submodule(name).parameters():
            assert (parameter.grad is not None) == on_path, (name, place)


def test_a_masked_operation_is_refused():
    supernet = make("nasbench201")
    full = Mask.full(supernet.space)
    stranger = next(
        genotype
        for seed in range(100)
        if (genotype := sample_genotype(supernet.space, full, random.Random(seed).random)).cell[0][0]
        not in supernet.mask.kept["cell"][0]
    )
    with pytest.raises(ValueError, match="edge 0 of cell 'cell' does not keep"):
        path(supernet, stranger)


@pytest.mark.parametrize("space", SPACES)
def test_a_step_trains_what_was_drawn(space):
    """One step against SGD written out, on the published weights of the same architecture, in float64."""
    supernet, oracle = make(space), make(space)
    relaxation = RandomPath()
    weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
    step = WeightStep(supernet, weights, gradient_clip=0.5, relaxation=relaxation, seed=5)
    images, labels = batch()
    for number in range(2):
        step.draw(1, number)
        step(images, labels)

    momenta = {}
    for number in range(2):
        noise = relaxation.draw(oracle, generator(5, "relaxation of weights", 1, number))
        genotype = sample_genotype(oracle.space, oracle.mask, iter(noise.tolist()).__next__)
        oracle.zero_grad()
        F.cross_entropy(oracle(images, published(oracle, genotype)), labels).backward()
        chosen = path(oracle, genotype)
        run = {name for name, j in oracle.candidate_modules() if _picked(oracle, chosen, j)}
        candidates = {name for name, _ in oracle.candidate_modules()}
        trained = {
            name: p
            for name, p in oracle.named_parameters()
            if p.grad is not None and not any(name.startswith(f"{c}.") for c in candidates - run)
        }
        norm = torch.sqrt(sum((p.grad**2).sum() for p in trained.values()))
        clip = min(1.0, 0.5 / (norm.item() + 1e-6))
        with torch.no_grad():
            for name, p in trained.items():
                gradient = clip * p.grad + 3e-4 * p
                momenta[name] = 0.9 * momenta[name] + gradient if name in momenta else gradient
                p -= 0.1 * momenta[name]
    for (name, p), q in zip(supernet.named_parameters(), oracle.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11, msg=name)


def _picked(supernet, mixing, j):
    place = supernet.candidates.places[j]
    return mixing[place.kind].picked[place.edge] == (supernet.candidates.within[j],)
