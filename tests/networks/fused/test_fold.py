"""The batch norms that the fused engine folds away, where channels cancel: in float32, against float64."""

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from halfnas import build_supernet
from halfnas.networks.fused.batch_norms import EPS
from halfnas.networks.fused.cell import FusedCell
from halfnas.networks.fused.convolutions import pointwise
from halfnas.networks.fused.fan import Fan
from halfnas.networks.fused.fold import fold_, fold_backward
from halfnas.networks.fused.precision import full_precision
from halfnas.spaces import DartsSpace

U = torch.finfo(torch.float32).eps
SWITCHES = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)

each_format = pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)


def collinear(spread, *, c=8, batch_size=8, size=12, memory_format=torch.contiguous_format):
    """Channels that are multiples of one but for `spread`, and weights with which these multiples sum to zero.

    Returns:
        [B, 2 * c, size, size] and [2, c, c], float32.
    """
    shared = torch.randn(batch_size, 2, 1, size, size, dtype=torch.float64)
    own = torch.randn(batch_size, 2, c, size, size, dtype=torch.float64)
    gains = torch.rand(2, c, dtype=torch.float64) + 0.5
    features = (gains[..., None, None] * (shared + spread * own) + 0.5).flatten(1, 2)
    linear = torch.randn(2, c, c, dtype=torch.float64)
    linear = linear - (linear @ gains[..., None]) * gains[:, None] / gains.square().sum(1)[:, None, None]
    return features.float().contiguous(memory_format=memory_format), linear.float()


def exact(features, linear):
    """The variances of z = A x in float64, and k, how far channels cancel: [m, c'] both."""
    blocks = features.double().contiguous().unflatten(1, (len(linear), -1)).flatten(3).transpose(0, 1).transpose(1, 2)
    blocks = blocks.flatten(2)  # [m, c, P]
    z = linear.double() @ blocks
    spread = (linear.double().abs() @ blocks.std(dim=2, correction=0)[..., None])[..., 0]
    return z.var(dim=2, correction=0), spread / z.std(dim=2, correction=0)


def folded(features, linear):
    return fold_(features.clone(memory_format=torch.preserve_format), linear, torch.eye(linear.shape[1]))


@each_format
@given(exponent=st.floats(0, 4), c=st.sampled_from([1, 2, 4, 16]), seed=st.integers(0, 2**32))
@settings(deadline=None, derandomize=True, max_examples=25)
def test_error_of_the_variance_is_bounded(memory_format, exponent, c, seed):
    """The bound in the docstring of fold.py; from the covariance of x the error is about u k^2."""
    torch.manual_seed(seed)
    features, linear = collinear(10**-exponent, c=c, memory_format=memory_format)
    if c == 1:
        linear = torch.ones_like(linear)  # nothing to cancel
    variance, k = exact(features, linear)
    found = folded(features, linear)[1].variance.double() - EPS
    error = (found - variance).abs() - U * EPS  # eps is added in float32
    positions = features.numel() // features.shape[1]
    assert (error <= U * positions**0.5 * k * variance).all(), (error / (U * k * variance)).max()


@each_format
def test_channels_that_cancel_are_normalised_as_batch_norm_does(memory_format):
    torch.manual_seed(0)
    features, linear = collinear(1e-3, c=16, batch_size=32, size=16, memory_format=memory_format)
    cotangent = torch.randn_like(features)

    def textbook(dtype):
        x, a = features.to(dtype).requires_grad_(), linear.to(dtype).requires_grad_()
        y = F.batch_norm(pointwise(x, a), None, None, training=True, eps=EPS)
        return [y.detach(), *torch.autograd.grad(y, [x, a], cotangent.to(dtype))]

    centred = features.clone(memory_format=torch.preserve_format)
    fold, moments = fold_(centred, linear, torch.eye(16))
    grad_folded = torch.autograd.grad(
        (pointwise(centred, weight := fold.folded.clone().requires_grad_()) * cotangent).sum(), weight
    )[0]
    grad_linear, quadratic = fold_backward(grad_folded, fold, moments.positions, needs_linear=True)
    grad_x = pointwise(cotangent, fold.folded.mT) + pointwise(centred, quadratic)
    grad_x = grad_x - grad_x.mean(dim=(0, 2, 3), keepdim=True)
    found = [pointwise(centred, fold.folded), grad_x, grad_linear]

    wanted, usual = textbook(torch.float64), textbook(torch.float32)
    for name, ours, theirs, value in zip(("output", "grad_x", "grad_a"), found, usual, wanted, strict=True):
        errors = [((other.double() - value).abs().max() / value.abs().max()).item() for other in (ours, theirs)]
        assert errors[0] < 4 * errors[1] + 1e-5, (name, errors)


def test_what_cancels_altogether_has_no_variance():
    """Beyond 1 / u all of z is rounding, whose square may be found below zero: it was NaN."""
    torch.manual_seed(0)
    shared = 1e6 * torch.randn(8, 1, 12, 12)
    features = torch.cat([shared * gain for gain in torch.rand(32) + 0.5], dim=1)
    for seed in range(20):
        torch.manual_seed(seed)
        linear = 1e3 * torch.randn(1, 32, 32)
        gains = features.double().flatten(2).norm(dim=(0, 2))
        linear -= ((linear.double() @ gains)[..., None] * gains / gains.square().sum()).float()
        fold, moments = folded(features, linear)
        assert (moments.variance >= EPS).all()
        assert fold.folded.isfinite().all()
        assert fold.scale.isfinite().all()


# --- switches of the process


class Products(TorchDispatchMode):
    """Products of float32 matrices: their names, and the precision that they were allowed."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in {"mv", "mm", "bmm", "baddbmm", "addmm"} and args[-1].dtype == torch.float32:
            self.seen.append((name, *(switch.fp32_precision for switch in SWITCHES)))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def restored():
    yield
    torch.set_float32_matmul_precision("highest")
    for switch in (torch.backends, *SWITCHES):
        switch.fp32_precision = "none"


def loosen_all():
    torch.backends.fp32_precision = "tf32"


def loosen_cuda():
    torch.backends.cuda.matmul.allow_tf32 = True


LOOSENED = {
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "allow_tf32": loosen_cuda,
    "fp32_precision": loosen_all,
}


@pytest.mark.parametrize("loosen", LOOSENED.values(), ids=LOOSENED)
def test_no_switch_loosens_statistics(restored, loosen):
    torch.manual_seed(0)
    features, linear = collinear(1e-2)
    loosen()
    before = [switch.fp32_precision for switch in SWITCHES]
    with Products() as products:
        fold, moments = folded(features, linear)
        fold_backward(torch.randn_like(linear), fold, moments.positions, needs_linear=True)
    assert len(products.seen) >= 4
    assert {precision for _, *seen in products.seen for precision in seen} <= {"ieee", "none"}
    assert [switch.fp32_precision for switch in SWITCHES] == before


def fail_inside():
    with full_precision():
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        raise KeyError


def test_switches_are_back_after_an_error_and_still_inherit(restored):
    torch.backends.fp32_precision = "tf32"
    with pytest.raises(KeyError):
        fail_inside()
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    torch.backends.fp32_precision = "ieee"
    assert torch.backends.cuda.matmul.fp32_precision == "ieee"


def test_no_switch_loosens_the_backward_pass(restored):
    torch.manual_seed(0)
    supernet = build_supernet(DartsSpace(init_channels=4, num_cells=3), engine="fused")
    loss = supernet(torch.randn(4, 3, 8, 8)).square().sum()
    torch.set_float32_matmul_precision("high")
    with Products() as products:
        loss.backward()
    # Products of two matrices alone are those of the classifier, and of weights with zeros and ones.
    found = {precision for name, *seen in products.seen if name != "mm" for precision in seen}
    assert {name for name, *_ in products.seen} == {"mv", "mm", "baddbmm"}
    assert found <= {"ieee", "none"}


def test_compiled_fans_are_called_at_full_precision(restored):
    supernet = build_supernet(DartsSpace(init_channels=4, num_cells=3), engine="fused")
    seen = []
    for module in supernet.modules():
        if isinstance(module, FusedCell):
            module.compiled = True  # as if
        if isinstance(module, Fan):
            module.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cuda.matmul.fp32_precision))
    torch.set_float32_matmul_precision("high")
    supernet(torch.randn(2, 3, 8, 8))
    assert set(seen) == {"ieee"}
    assert torch.get_float32_matmul_precision() == "high"


def test_threads_wait_for_each_other(restored):
    torch.set_float32_matmul_precision("high")
    inside, seen = threading.Event(), []

    def other():
        inside.wait()
        with full_precision():
            seen.append(torch.backends.cuda.matmul.fp32_precision)

    thread = threading.Thread(target=other)
    thread.start()
    with full_precision():
        inside.set()
        thread.join(0.1)
        assert not seen
    thread.join()
    assert seen == ["ieee"]
    assert torch.get_float32_matmul_precision() == "high"


def test_statistics_are_float32_under_autocast():
    torch.manual_seed(0)
    features, linear = collinear(1)
    with torch.autocast("cpu", torch.bfloat16):
        supernet = build_supernet(DartsSpace(init_channels=4, num_cells=3), engine="fused")
        with Products() as products:
            supernet(torch.randn(2, 3, 8, 8))
    assert products.seen  # those of statistics are products of float32; others are convolutions
    fold, moments = folded(features.bfloat16(), linear)
    assert {part.dtype for part in (*fold, moments.mean, moments.variance)} == {torch.float32}
