"""Glimpses that classify: an LSTM that looks at an image T times and then says what it is (4.1).

The same attention as in DRAW, without a decoder: each glimpse is read through a window that the
state before it chose, and the answer is a softmax after the last.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from draw import attention
from draw.attention import Window
from draw.errors import ConfigError, check_images
from draw.hub import Pretrained
from draw.kernels import Engine
from draw.networks import check_sizes, lstm, window_layer

WINDOW_GRADIENT = 30.0  # the norm of an image's, nats by the five parameters of one window


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The shape of a classifier; the defaults are the paper's for cluttered MNIST (table 3).

    Raises:
        ConfigError: a value is outside its range.

    >>> ClassifierConfig(glimpses=4).image_shape
    (1, 100, 100)
    """

    height: int = 100  # image height B, pixels
    width: int = 100  # image width A, pixels
    channels: int = 1  # 1 grey, 3 colour
    glimpses: int = 8  # steps T
    hidden_size: int = 256  # units of the LSTM
    read_size: int = 12  # patch size N of read
    classes: int = 10

    def __post_init__(self) -> None:
        check_sizes(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width


class Memory(NamedTuple):
    """All that one glimpse hands to the next."""

    h: Tensor  # [B, hidden]
    cell: Tensor  # [B, hidden], the LSTM's


class Glimpses(NamedTuple):
    """What a classifier saw and said."""

    logits: Float[Tensor, "T B classes"]  # after each glimpse; its answer is the last
    read: Window  # fields [T, B]


class GlimpseClassifier(
    nn.Module,
    Pretrained,
    config_type=ClassifierConfig,
    tags=["draw", "attention", "image-classification"],
):
    """The paper's "differentiable RAM".

    >>> model = GlimpseClassifier(ClassifierConfig(height=20, width=20, glimpses=3))
    >>> seen = model(torch.rand(5, 1, 20, 20))
    >>> seen.logits.shape, seen.read.g_x.shape
    (torch.Size([3, 5, 10]), torch.Size([3, 5]))
    """

    engine: Engine = "auto"  # there is the plain path alone

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        C, H, W = config.image_shape
        hidden, n = config.hidden_size, config.read_size
        self.cell = lstm(C * n**2, hidden)
        self.read_window = window_layer(hidden, H, W, n, painting=False)  # eq. 21
        self.answer = nn.Linear(hidden, config.classes)
        self.h_0 = nn.Parameter(torch.zeros(hidden))
        self.c_0 = nn.Parameter(torch.zeros(hidden))  # the LSTM's first cell; no canvas is here

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.h_0.device

    def initial_memory(self, batch_size: int) -> Memory:
        """The learned h_0 and c_0, once for each image of the batch."""
        return Memory(*(p.expand(batch_size, -1) for p in (self.h_0, self.c_0)))

    def step(self, x: Float[Tensor, "B C H W"], memory: Memory) -> tuple[Memory, Window]:
        """One glimpse, through the window that the memory chooses (eqs. 21-27, without x_hat).

        Note:
            On the way back an image's gradient by a window's parameters is scaled down to a norm
            of at most 30, as Graves 2013 limits derivatives inside a network; the paper is silent.
            Mostly it is far smaller. But a sharp window makes it large, each glimpse multiplies it
            on its way to the one before, and in the end a few images throw all windows away
            (experiments/study-cluttered). It is the gradient of a sum over images that is limited
            so, not that of a mean; `draw.steps` divides by their number at the end.
        """
        _, H, W = self.config.image_shape
        n = self.config.read_size
        params = self.read_window(memory.h)  # eq. 21, from h_{t-1}
        if params.requires_grad:
            params.register_hook(_limited)
        window = attention.window(params, H, W, n)
        r = attention.read(x, window, n).flatten(1)  # eq. 27
        return Memory(*self.cell(r, tuple(memory))), window

    def forward(self, x: Float[Tensor, "B C H W"]) -> Glimpses:
        """Look T times.

        Args:
            x: images in [0, 1].

        Raises:
            ConfigError: the images are of another size than the model's, or the fused engine
                was asked for.
        """
        check_images(tuple(x.shape), self.config.image_shape)
        if self.engine == "fused":
            raise ConfigError("the fused engine cannot run a classifier; auto or plain can")
        memory = self.initial_memory(len(x))
        logits, windows = [], []
        for _ in range(self.config.glimpses):
            memory, window = self.step(x, memory)
            logits.append(self.answer(memory.h))
            windows.append(window)
        return Glimpses(torch.stack(logits), Window(*map(torch.stack, zip(*windows, strict=True))))


def _limited(gradient: Tensor | None) -> Tensor | None:
    """Each row with a norm of at most `WINDOW_GRADIENT`; None where nothing depends on it."""
    return None if gradient is None else gradient.renorm(2, 0, WINDOW_GRADIENT)
