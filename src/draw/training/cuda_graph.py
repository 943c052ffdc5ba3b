"""Replay a function as one CUDA graph.

Launching a small kernel takes longer than running it. A CUDA graph is recorded once, then replayed
as a whole without any Python code between its kernels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP_CALLS = 3  # eager calls, which compile kernels and allocate persistent memory


class CapturedFunction:
    """Run a function eagerly three times, then record it as a CUDA graph and replay the graph.

    The function must read its inputs from tensors with fixed addresses, launch the same kernels in
    every call and never wait for the device. Each call overwrites the previous result.
    """

    def __init__(self, function: Callable[[], Tensor], device: torch.device) -> None:
        self.function, self.device, self.calls = function, device, 0
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.graph = torch.cuda.CUDAGraph()

    def __call__(self) -> Tensor:
        with torch.cuda.device(self.device):
            self.calls += 1
            if self.calls <= WARM_UP_CALLS:
                return self._run_eagerly()
            if self.calls == WARM_UP_CALLS + 1:
                with torch.cuda.graph(self.graph, stream=self.stream):
                    self.result = self.function()
            self.graph.replay()
        return self.result

    def _run_eagerly(self) -> Tensor:
        """Run on the stream that will record the graph, as CUDA graphs require."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = self.function()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result
