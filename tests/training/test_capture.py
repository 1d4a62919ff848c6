"""All of it but the capture itself, which needs a GPU: there a stub stands for a graph."""

import logging
import warnings

import pytest
import torch

from halfnas.training import Replay, capture, check_cuda_graphs


class Recorded:
    """Stands for `capture.Graph`: a replay runs the function on buffers of its own."""

    made = 0

    def __init__(self, function, inputs, pool, stream):
        self.function, self.buffers, self.pool = function, [x.clone() for x in inputs], pool
        self.replays = 0
        type(self).made += 1

    def __call__(self, *inputs):
        for buffer, x in zip(self.buffers, inputs, strict=True):
            buffer.copy_(x)
        self.replays += 1
        return self.function(*self.buffers)


@pytest.fixture
def graphs(monkeypatch):
    """A CPU that is taken for a GPU."""
    Recorded.made = 0
    monkeypatch.setattr(capture, "Graph", Recorded)
    monkeypatch.setattr(capture, "why_not", lambda device: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: "stream")
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: "pool")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    monkeypatch.setattr(capture, "on_stream", lambda stream: warnings.catch_warnings())
    return Recorded


class Step:
    def __init__(self):
        self.total = torch.zeros(())
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        self.total.add_(x.sum())
        return x * 2


@pytest.mark.parametrize("cuda_graphs", ["auto", False])
def test_on_a_cpu_it_is_the_function(cuda_graphs):
    step = Step()
    replay = Replay(step, cuda_graphs=cuda_graphs)
    for number in range(5):
        assert replay(torch.full((2,), float(number))).tolist() == [2.0 * number] * 2
    assert step.calls == 5
    assert replay.captured == 0


def test_on_a_cpu_nothing_is_said(caplog):
    with caplog.at_level(logging.INFO):
        Replay(Step())(torch.ones(2))
    assert caplog.records == []


def test_where_it_must_be_captured_and_cannot_be():
    with pytest.raises(RuntimeError, match=r"`cuda_graphs=true`, but the step cannot be captured: .*'cpu'; use auto"):
        Replay(Step(), cuda_graphs=True)(torch.ones(2))


@pytest.mark.parametrize("value", ["yes", 1, 0, None, "true"])
def test_unknown_values(value):
    with pytest.raises(ValueError, match="`cuda_graphs` must be auto, true or false"):
        check_cuda_graphs(value)


def test_captured_after_two_calls_and_every_call_counts(graphs, caplog):
    step = Step()
    replay = Replay(step)
    with caplog.at_level(logging.INFO):
        for number in range(6):
            assert replay(torch.full((2,), float(number))).tolist() == [2.0 * number] * 2
    assert graphs.made == 1
    assert step.total.item() == 2 * sum(range(6)), "no call is lost, none counts twice"
    assert [record.message for record in caplog.records] == ["the step is captured into a CUDA graph"]


def test_a_graph_for_every_signature_in_one_pool(graphs):
    replay = Replay(Step())
    for _ in range(4):
        for size in (4, 3):
            assert replay(torch.ones(size)).shape == (size,)
        replay(torch.ones(4, dtype=torch.float64))
        replay(torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last))
        replay(torch.ones(2, 3, 4, 4))
    assert replay.captured == graphs.made == 5
    assert {graph.pool for graph in replay._graphs.values()} == {"pool"}


def test_a_function_that_waits_for_the_device_is_never_captured(graphs, caplog):
    class Waits(Step):
        def __call__(self, x):
            warnings.warn("called a synchronizing CUDA operation (Triggered internally ...)", stacklevel=1)
            return super().__call__(x)

    step = Waits()
    replay = Replay(step, name="step of the search")
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(5):
            replay(torch.full((2,), float(number)))
    assert graphs.made == 0
    assert step.total.item() == 2 * sum(range(5))
    [record] = caplog.records
    assert record.message.startswith("the step of the search runs without a CUDA graph: it waits for the device")


def test_other_warnings_are_passed_on(graphs):
    class Warns(Step):
        def __call__(self, x):
            warnings.warn("something else", stacklevel=1)
            return super().__call__(x)

    replay = Replay(Warns())
    for _ in range(2):
        with pytest.warns(UserWarning, match="something else"):
            replay(torch.ones(2))


def test_a_capture_that_fails_leaves_the_function(graphs, monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors ...")

    monkeypatch.setattr(capture, "Graph", fails)
    step = Step()
    replay = Replay(step)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            assert replay(torch.full((2,), float(number))).tolist() == [2.0 * number] * 2
    assert step.total.item() == 2 * sum(range(5))
    [record] = caplog.records
    assert record.message.endswith("operation not permitted when stream is capturing")


def test_the_first_error_of_a_capture_is_named(graphs, monkeypatch, caplog):
    """Leaving the capture fails too, and that error says nothing about what was done wrong."""

    def fails(*_):
        try:
            raise RuntimeError("cannot be done while a stream is captured")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(capture, "Graph", fails)
    replay = Replay(Step())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            replay(torch.ones(2))
    assert [record.message for record in caplog.records] == [
        "the step runs without a CUDA graph: cannot be done while a stream is captured"
    ]


def test_torch_says_nothing_of_its_debug_mode(monkeypatch):
    """Its warning that the mode is a prototype would reach users who never asked for it."""
    message = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: warnings.warn(message, stacklevel=1))
    with capture.waits_for_the_device() as found:
        pass
    assert found == []


def test_where_a_reason_is_known_it_is_said_once(graphs, monkeypatch, caplog):
    monkeypatch.setattr(capture, "why_not", lambda device: "gradients are shared")
    replay = Replay(Step())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            replay(torch.ones(2))
    assert [record.message for record in caplog.records] == ["the step runs without a CUDA graph: gradients are shared"]


def test_reasons(monkeypatch):
    cuda = torch.device("cuda")
    assert capture.why_not(cuda) is None
    assert "'cpu'" in capture.why_not(torch.device("cpu"))
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        assert "detect_anomaly" in capture.why_not(cuda)
    monkeypatch.setattr(capture, "num_processes", lambda: 2)
    assert "processes" in capture.why_not(cuda)


@pytest.mark.gpu
def test_a_graph_computes_what_the_function_does():
    weight = torch.nn.Parameter(torch.randn(8, 8, device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(0.1, device="cuda"), momentum=0.9, fused=True)

    def step(x):
        weight.grad = None
        loss = (x @ weight).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    other = torch.nn.Parameter(weight.detach().clone())
    by_hand = torch.optim.SGD([other], lr=0.1, momentum=0.9)
    replay = Replay(step)
    for number in range(8):
        x = torch.randn(4 if number % 2 else 3, 8, device="cuda")
        loss = replay(x)
        other.grad = None
        expected = (x @ other).square().mean()
        expected.backward()
        by_hand.step()
        torch.testing.assert_close(loss, expected)
    assert replay.captured == 2
    torch.testing.assert_close(weight, other)


@pytest.mark.gpu
def test_a_wait_is_seen_before_a_capture():
    replay = Replay(lambda x: torch.full((), x.sum().item(), device="cuda"))
    for number in range(4):
        assert replay(torch.full((2,), float(number), device="cuda")).item() == 2.0 * number
    assert replay.captured == 0
    torch.randn(2, device="cuda")  # the generator still works
