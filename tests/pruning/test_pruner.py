"""The pruners without data, and what all pruners share."""

import inspect

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from halfnas.pruning import ImportancePruner, NoPruner, Pruner, RandomPruner
from halfnas.spaces import DartsSpace, Mask, num_kept
from halfnas.spaces.load import CONF

SPACE = DartsSpace(init_channels=16, num_cells=8, in_channels=1)
SCORING_SPACE = DartsSpace(init_channels=2, num_cells=3, in_channels=1)


def load(name):
    """The pruner of conf/pruner/NAME.yaml; all of them start from base/importance.yaml."""
    base, own = (OmegaConf.load(CONF / "pruner" / f"{file}.yaml") for file in ("base/importance", name))
    content = OmegaConf.merge(base, own)
    content.pop("defaults", None)
    return instantiate(content, _convert_="all")


@pytest.mark.parametrize(("file", "kind"), [("nngp", ImportancePruner), ("random", RandomPruner), ("none", NoPruner)])
def test_configured_pruners_share_their_settings(file, kind):
    pruner = load(file)
    assert type(pruner) is kind
    assert pruner.name == file


@pytest.mark.parametrize("kind", [RandomPruner, NoPruner])
def test_pruners_without_data_ignore_all_settings(kind):
    settings = set(inspect.signature(ImportancePruner).parameters)
    pruner = kind(**dict.fromkeys(settings, "whatever"))
    pruner.begin(SPACE, SCORING_SPACE, ratio=0.5, seed=3)
    alone = kind()
    alone.begin(SPACE, SCORING_SPACE, ratio=0.5, seed=3)
    assert pruner.mask == alone.mask
    assert pruner.name == kind.name
    assert (pruner.max_steps, dict(pruner.network), pruner.image_size) == (0, {}, None)
    assert pruner.metrics() == {}


@pytest.mark.parametrize("ratio", [0.125, 0.5, 1.0])
def test_random_pruner(ratio):
    def begin(seed):
        pruner = load("random")
        pruner.begin(SPACE, SCORING_SPACE, ratio=ratio, seed=seed)
        assert pruner.max_steps == 0
        return pruner.mask

    mask = begin(0)
    assert mask == begin(0) == Mask.random(SPACE, ratio, 0)
    assert (mask.pruner, mask.ratio, mask.seed, mask.importance) == ("random", ratio, 0, None)
    assert {len(edge) for edges in mask.kept.values() for edge in edges} == {num_kept(ratio, 8)}
    assert begin(1).seed == 1
    assert ratio == 1.0 or begin(1).kept != mask.kept


def test_no_pruner_keeps_everything():
    pruner = load("none")
    pruner.begin(SPACE, SCORING_SPACE, ratio=0.5, seed=4)
    assert pruner.max_steps == 0
    assert pruner.mask.kept == Mask.full(SPACE).kept
    assert (pruner.mask.ratio, pruner.mask.pruner, pruner.mask.seed) == (1.0, "none", 4)


def test_pruners_without_data_take_no_step():
    for pruner in (RandomPruner(), NoPruner()):
        assert isinstance(pruner, Pruner)
        with pytest.raises(NotImplementedError, match="needs no data"):
            pruner.step([])
