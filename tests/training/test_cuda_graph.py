"""A captured function does what it did before it was captured."""

import contextlib

import pytest
import torch

from draw import graph
from draw.training.cuda_graph import WARM_UP, captured


def test_on_the_cpu_it_is_just_called():
    calls = []
    call = captured(lambda: calls.append(0) or torch.ones(()), torch.device("cpu"))
    assert [float(call()) for _ in range(WARM_UP + 3)] == [1.0] * (WARM_UP + 3)
    assert len(calls) == WARM_UP + 3


class Pretended:
    """What stands for CUDA's streams and graphs, and notes what is done with them."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def wait_stream(self, other: "Pretended") -> None:
        self.done.append("wait")

    def replay(self) -> None:
        self.done.append("replay")

    @contextlib.contextmanager
    def recording(self, *args, **options):
        self.done.append("record")
        yield


def test_on_a_gpu_it_runs_is_recorded_once_and_then_replayed(monkeypatch):
    cuda = Pretended()
    for name in ("Stream", "CUDAGraph", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *args: cuda)
    for name in ("stream", "device"):
        monkeypatch.setattr(torch.cuda, name, lambda *args: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", cuda.recording)
    calls, result = [], torch.ones(())
    call = captured(lambda: calls.append(0) or result, torch.device("cuda"))
    assert all(call() is result for _ in range(WARM_UP + 3))
    assert len(calls) == WARM_UP + 1
    assert cuda.done == ["wait", "wait"] * WARM_UP + ["record"] + ["replay"] * 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_replay_sees_new_inputs_and_trains_as_before(monkeypatch):
    def weights(warm_up: int) -> torch.Tensor:
        monkeypatch.setattr(graph, "WARM_UP", warm_up)
        torch.manual_seed(0)
        layer, x = torch.nn.Linear(8, 8, device="cuda"), torch.empty(4, 8, device="cuda")
        optimizer = torch.optim.Adam(layer.parameters(), fused=True, capturable=True)

        def step() -> torch.Tensor:
            optimizer.zero_grad()
            loss = layer(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        call = captured(step, x.device)
        losses = []
        for _ in range(8):
            x.normal_()
            losses.append(call().clone())
        return torch.cat([torch.stack(losses), layer.weight.detach().flatten()])

    torch.testing.assert_close(weights(warm_up=3), weights(warm_up=99))
