"""Functions that are captured as CUDA graphs."""

import contextlib

import pytest
import torch

from draw.training import cuda_graph
from draw.training.cuda_graph import WARM_UP_CALLS, CapturedFunction


class FakeCUDA:
    """A replacement for CUDA streams and graphs that records their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def wait_stream(self, other: "FakeCUDA") -> None:
        self.calls.append("wait")

    def replay(self) -> None:
        self.calls.append("replay")

    @contextlib.contextmanager
    def capture(self, *args, **options):
        self.calls.append("capture")
        yield


def test_on_a_gpu_a_function_is_captured_once_and_then_replayed(monkeypatch):
    cuda = FakeCUDA()
    for name in ("Stream", "CUDAGraph", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *args: cuda)
    for name in ("stream", "device"):
        monkeypatch.setattr(torch.cuda, name, lambda *args: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", cuda.capture)
    calls, result = [], torch.ones(())
    function = CapturedFunction(lambda: calls.append(0) or result, torch.device("cuda"))
    assert all(function() is result for _ in range(WARM_UP_CALLS + 3))
    assert len(calls) == WARM_UP_CALLS + 1
    assert cuda.calls == ["wait", "wait"] * WARM_UP_CALLS + ["capture"] + ["replay"] * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replay_reads_new_inputs_and_updates_weights(monkeypatch):
    def train(warm_up_calls: int) -> torch.Tensor:
        monkeypatch.setattr(cuda_graph, "WARM_UP_CALLS", warm_up_calls)
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(8, 8, device="cuda"), torch.empty(4, 8, device="cuda")
        optimizer = torch.optim.Adam(layer.parameters(), fused=True, capturable=True)

        def step() -> torch.Tensor:
            optimizer.zero_grad()
            loss = layer(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        function = CapturedFunction(step, x.device)
        losses = []
        for _ in range(8):
            x.normal_()
            losses.append(function().clone())
        return torch.cat([torch.stack(losses), layer.weight.detach().flatten()])

    torch.testing.assert_close(train(warm_up_calls=3), train(warm_up_calls=99))
