"""What all ranking functions have in common, and how conf/pruner configures them."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from halfnas.pruning import RankingFunction, rankers
from halfnas.spaces.load import CONF

#: Those of `rankers`: (has derivatives, is a logarithm)
ATTRIBUTES = {
    "NNGPFrobenius": (True, False),
    "NNGPMean": (True, False),
    "NTKConditionNumber": (True, False),
    "LinearRegions": (False, False),
    "NASWOT": (False, True),
    "SynFlow": (True, True),
    "SNIP": (True, False),
    "GraSP": (True, False),
    "GradNorm": (True, False),
    "Fisher": (True, False),
    "JacobianCovariance": (True, False),
    "Zen": (True, True),
    "ZiCo": (True, True),
    "ParameterCount": (True, False),
    "FLOPs": (True, False),
}
SETTINGS = {"LinearRegions": {"weight": 1.0, "sign": 1, "num_patches": 20, "patch_size": 3, "spread": 0.1}}


def make(name, **settings):
    return getattr(rankers, name)(**{**SETTINGS.get(name, {}), **settings})


def configured():
    """(file, key, settings) of all ranking functions in conf/pruner."""
    for path in sorted((CONF / "pruner").glob("*.yaml")):
        for key, settings in OmegaConf.load(path).get("rankers", {}).items():
            if settings is not None:
                yield pytest.param(settings, id=f"{path.stem}-{key}")


def test_all_are_listed():
    assert set(rankers.__all__) == set(ATTRIBUTES)
    assert all(issubclass(getattr(rankers, name), RankingFunction) for name in ATTRIBUTES)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name):
    ranker = make(name)
    assert (ranker.differentiable, ranker.log_scale) == ATTRIBUTES[name]
    assert (ranker.weight, ranker.sign) == (1.0, 1)


def test_all_are_configured():
    used = {case.values[0]["_target_"] for case in configured()}
    assert used == {f"halfnas.pruning.rankers.{name}" for name in ATTRIBUTES}


@pytest.mark.parametrize("settings", list(configured()))
def test_signs_in_the_configuration(settings):
    ranker = instantiate(settings)
    smaller_is_better = isinstance(ranker, rankers.NTKConditionNumber)
    assert ranker.sign == (-1 if smaller_is_better else 1)
    assert ranker.weight == 1


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("sign", [0, 2, -0.5])
def test_other_signs_are_refused(name, sign):
    with pytest.raises(ValueError, match=rf"`sign` must be 1 \(larger is better\) or -1 .*, got {sign}"):
        make(name, sign=sign)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_rating(name, network, sample):
    """A finite scalar, the same at every call, without weight and sign; the network is left as it was."""
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    value = make(name)(network, sample)
    assert value.shape == ()
    assert value.isfinite()
    assert make(name, weight=3.0, sign=-1)(network, sample).item() == value.item()
    assert all(value.equal(before[key]) for key, value in network.module.state_dict().items())
    for part in network.module.modules():
        assert "forward" not in vars(part)
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert all(parameter.grad is None for parameter in part.parameters())


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("network", ["supernet"], indirect=True)
def test_in_float32(name, network, sample):
    """Close to float64, so that no step drops to an integer or loses the sum of what it adds."""
    expected = make(name)(network, sample).item()
    network.module.float()
    network.alpha = {kind: [alpha.float() for alpha in edges] for kind, edges in network.alpha.items()}
    batches = [batch._replace(images=batch.images.float()) for batch in sample.batches]
    found = make(name)(network, type(sample)(batches, sample.seed)).item()
    assert found == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize("name", ["FLOPs", "LinearRegions", "NASWOT", "ParameterCount", "SynFlow", "Zen"])
def test_some_need_no_labels(name, network, unlabelled):
    assert make(name)(network, unlabelled).isfinite()


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_works_where_nothing_is_recorded(name, network, sample):
    expected = make(name)(network, sample).item()
    with torch.no_grad():
        assert make(name)(network, sample).item() == expected
    with torch.inference_mode():
        assert make(name)(network, sample).item() == expected
