"""A function that is called over and over on the same tensors: on a GPU, one CUDA graph.

To launch a kernel takes longer than a small one runs. A graph is recorded once and then replayed
as a whole, without Python and without a word between its kernels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls that run as they are: kernels are compiled and lasting memory is allocated


def captured(function: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """The same function; on a GPU, from the fourth call on, a graph of what it does.

    The function must find its inputs in tensors that stay where they are, do the same at every
    call and never wait for the device. Its result is overwritten by the next call.

    >>> total = torch.zeros(())
    >>> count = captured(lambda: total.add_(1), total.device)
    >>> [float(count()) for _ in range(5)]
    [1.0, 2.0, 3.0, 4.0, 5.0]
    """
    return Captured(function, device) if device.type == "cuda" else function


class Captured:
    """See `captured`."""

    def __init__(self, function: Callable[[], Tensor], device: torch.device) -> None:
        self.function, self.device, self.calls = function, device, 0
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.graph = torch.cuda.CUDAGraph()

    def __call__(self) -> Tensor:
        with torch.cuda.device(self.device):
            self.calls += 1
            if self.calls <= WARM_UP:
                return self._launch()
            if self.calls == WARM_UP + 1:
                with torch.cuda.graph(self.graph, stream=self.stream):
                    self.result = self.function()
            self.graph.replay()
        return self.result

    def _launch(self) -> Tensor:
        """As it is, on the stream that will record it, as CUDA graphs ask for."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = self.function()
        torch.cuda.current_stream().wait_stream(self.stream)
        return result
