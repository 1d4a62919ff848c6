"""Pruners with invented scores, and small spaces that they work on quickly."""

import itertools
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from halfnas.pruning import (
    Batch,
    ImportancePruner,
    RankingFunction,
)
from halfnas.pruning.rankers import NNGPFrobenius
from halfnas.spaces import DartsSpace, NASBench201Space
from other_space import NarrowSpace

SPACE = DartsSpace(init_channels=16, num_cells=8, in_channels=1)
SCORING_SPACE = DartsSpace(init_channels=2, num_cells=3, in_channels=1)
KINDS = ("normal", "reduce")
CANDIDATES = SPACE.candidates("normal")[0]
PLACES = {place: j for j, place in enumerate(itertools.product(KINDS, range(14), CANDIDATES))}


class HollowSpace(DartsSpace):
    """Candidates without weights, which are quick to build: networks that never run."""

    def operation(self, name, edge, *, search):
        return nn.Identity()


HOLLOW_SPACE = HollowSpace(init_channels=2, num_cells=3, in_channels=1)
NARROW_SPACE = NarrowSpace(init_channels=2, num_cells=3, in_channels=1)
NB201 = NASBench201Space(init_channels=2, num_cells=3, in_channels=1)


class Invented(RankingFunction):
    """Scores that are known beforehand: I_j dr/dI_j is `score` of (kind, edge, name, round, seed of the repeat).

    Attributes:
        masks: of what was scored, repeat after repeat.
    """

    def __init__(self, score, **settings):
        super().__init__(**settings)
        self.score = score
        self.masks = {}

    def __call__(self, network, sample):
        mask = network.module.mask
        repeat = self.masks.setdefault(sample.seed, [])
        if not repeat or repeat[-1] is not mask:
            repeat.append(mask)
        total = 1.0
        for kind, edges in mask.kept.items():
            for e, (edge, alpha) in enumerate(zip(edges, network.alpha[kind], strict=True)):
                scores = [self.score(kind, e, name, len(repeat) - 1, sample.seed) for name in edge]
                total += ((alpha.double().exp() - 1) * torch.tensor(scores).double()).sum()
        return total

    @property
    def rounds(self):
        [masks] = self.masks.values()
        return masks


def position(kind, edge, name, *_):
    """An order of importance of its own for every edge; `none` is the most important one of some."""
    return (CANDIDATES.index(name) * 3 + 5 * edge + 2 * (kind == "reduce")) % 8


def distinct(kind, edge, name, *_):
    """A different score for every candidate."""
    return PLACES[kind, edge, name] * 37 % 225 - 100


def noise(kind, edge, name, round, seed):
    """Other scores in every repeat and round."""
    return noise_of_a_round(round, seed)[PLACES[kind, edge, name]]


@lru_cache
def noise_of_a_round(round, seed):
    return np.random.default_rng([seed, round]).normal(size=len(PLACES)).tolist()


def make_pruner(ratio=0.5, *, seed=0, rankers=None, space=SPACE, scoring_space=SCORING_SPACE, begin=True, **settings):
    plain = {
        "importance": "taylor", "combine": "sum", "rounds": None, "scope": "edge", "aggregate": "mean", "repeats": 1,
        "max_repeats": 12, "stability": 0.9, "network": {"init_channels": 2, "num_cells": 3}, "image_size": None,
        "num_batches": 1, "batch_size": 3, "candidates_per_call": 64,
    }  # fmt: skip
    rankers = {"nngp_frobenius": NNGPFrobenius(1.0, 1)} if rankers is None else rankers
    pruner = ImportancePruner("nngp", rankers, **(plain | settings))
    if begin:
        pruner.begin(space, scoring_space, ratio=ratio, seed=seed)
    return pruner


def make_narrow_pruner(ratio=0.5, **settings):
    return make_pruner(ratio, space=NARROW_SPACE, scoring_space=NARROW_SPACE, **settings)


def invented_pruner(score, ratio=0.5, **settings):
    settings = {"scoring_space": HOLLOW_SPACE} | settings
    return make_pruner(ratio, rankers={"invented": Invented(score)}, **settings)


def make_batches(step, size=8):
    """Other images for every step."""
    generator = torch.Generator().manual_seed(1000 + step)
    return [Batch(torch.randn(3, 1, size, size, generator=generator), torch.arange(3))]


def run(pruner, size=8):
    steps = itertools.count()
    while not pruner.done:
        step = next(steps)
        assert step < pruner.max_steps
        pruner.step(make_batches(step, size))
    return pruner.mask


def sizes(mask):
    return {len(edge) for edges in mask.kept.values() for edge in edges}


def scores_of(mask):
    """Those of mask.json in a row."""
    return [score for edges in mask.importance.values() for edge in edges for score in edge.values()]


def num_left(mask, kind=None):
    return sum(len(edge) for k, edges in mask.kept.items() if kind in (None, k) for edge in edges)


def num_steps(pruner):
    """Steps until it is done, and the agreement that each gives."""
    found = []
    while not pruner.done:
        found.append(pruner.step(make_batches(len(found))).get("agreement_of_halves"))
    return found
