"""The glimpse classifier, "differentiable RAM" in the paper (section 4.1).

An LSTM reads T patches of an image through DRAW's attention, each through a window chosen by the
previous hidden state. A softmax after the last glimpse predicts the class. There is no decoder.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from draw import attention, kernels
from draw.attention import Window
from draw.inputs import check_images
from draw.layers import check_sizes, lstm, window_layer
from draw.storage.hub import Pretrained
from draw.storage.json_config import convert_fields

MAX_WINDOW_GRADIENT = 30.0  # nats, see `GradientLimit`


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Configuration of a `GlimpseClassifier`.

    Raises:
        ConfigError: if a value is outside its range.

    Note:
        The default values are those of the paper (table 3).

    >>> ClassifierConfig(glimpses=4).image_shape
    (1, 100, 100)
    """

    network: ClassVar[str] = "GlimpseClassifier"  # recorded as "type" in config.json
    metric: ClassVar[str] = "log_likelihood"  # name of the objective in logs

    height: int = 100  # image height B, pixels
    width: int = 100  # image width A, pixels
    channels: int = 1  # 1 for grey, 3 for colour
    glimpses: int = 8  # number of glimpses T
    hidden_size: int = 256  # units of the LSTM
    read_size: int = 12  # size N of the read patch
    classes: int = 10  # number of classes

    def __post_init__(self) -> None:
        convert_fields(self, "model.")
        check_sizes(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    def build(self) -> "GlimpseClassifier":
        """Create the network, with random initial weights."""
        return GlimpseClassifier(self)


class LSTMState(NamedTuple):
    """The recurrent state between two glimpses."""

    h: Tensor  # [B, hidden]
    c: Tensor  # [B, hidden]


class ClassifierOutput(NamedTuple):
    """The predictions and windows of T glimpses."""

    logits: Float[Tensor, "T B classes"]  # after each glimpse; the prediction is the last
    read_window: Window  # fields [T, B]


@kernels.register
class GradientLimit:
    """Clip the gradient of each image's log probability with respect to its windows.

    During backpropagation, the gradient with respect to the five parameters of each window is
    clipped to a norm of `max_norm` times the gradient of the loss with respect to the image's log
    probability. The limit therefore does not depend on the scale of the loss.

    Args:
        max_norm: the largest norm, in nats.

    Note:
        Graves (2013) clips derivatives inside a network; the paper does not mention clipping. The
        norm is usually far below the limit, but a sharp window makes it large, and every earlier
        glimpse multiplies it. A few images can then dominate the update and make training diverge
        (experiments/study-cluttered).

    >>> model = GlimpseClassifier(ClassifierConfig(height=20, width=20, glimpses=3))
    >>> limit = GradientLimit()
    >>> output = model(torch.rand(5, 1, 20, 20), limit=limit)
    >>> nats = limit.watch(log_probability(output, torch.tensor([0, 1, 2, 3, 9])))
    >>> (-nats.mean()).backward()
    """

    def __init__(self, max_norm: float = MAX_WINDOW_GRADIENT) -> None:
        self.max_norm = max_norm
        self.max_norms: Tensor | None = None  # [B], of each image, in units of the loss

    def watch(self, nats: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Record the gradient with respect to these log probabilities, which scales the limit."""
        if nats.requires_grad:
            nats.register_hook(self._measure)  # type: ignore[no-untyped-call]
        return nats

    def _measure(self, d_nats: Tensor | None) -> None:
        if d_nats is not None:  # autograd passes None if the loss does not depend on it
            self.max_norms = self.max_norm * d_nats.abs()

    def __call__(self, d_params: Tensor | None) -> Tensor | None:
        """Clip the gradients [B, 5] with respect to the windows of one glimpse."""
        if d_params is None or self.max_norms is None:
            return d_params
        norm = d_params.norm(dim=1)
        factor = torch.where(norm > self.max_norms, self.max_norms / norm, 1)
        return d_params * factor[:, None]


@kernels.register
class GlimpseClassifier(
    nn.Module,
    Pretrained,
    config_type=ClassifierConfig,
    tags=["draw", "attention", "image-classification"],
):
    """An image classifier that reads T patches through DRAW's attention.

    >>> model = GlimpseClassifier(ClassifierConfig(height=20, width=20, glimpses=3))
    >>> output = model(torch.rand(5, 1, 20, 20))
    >>> output.logits.shape, output.read_window.g_x.shape
    (torch.Size([3, 5, 10]), torch.Size([3, 5]))
    """

    engine: kernels.Engine = "auto"  # "plain", "fused", or "auto": fused where possible

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        C, H, W = config.image_shape
        hidden, n = config.hidden_size, config.read_size
        self.cell = lstm(C * n**2, hidden)
        self.read_window = window_layer(hidden, H, W, n, for_write=False)  # eq. 21
        self.head = nn.Linear(hidden, config.classes)
        self.h_0 = nn.Parameter(torch.zeros(hidden))
        self.c_0 = nn.Parameter(torch.zeros(hidden))

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.h_0.device

    def initial_state(self, batch_size: int) -> LSTMState:
        """Return the learned h_0 and c_0, expanded to the batch."""
        return LSTMState(*(p.expand(batch_size, -1) for p in (self.h_0, self.c_0)))

    def encode_step(
        self, x: Float[Tensor, "B C H W"], state: LSTMState, limit: GradientLimit | None = None
    ) -> tuple[LSTMState, Window]:
        """Read one patch and update the LSTM (eqs. 21-27, without x_hat).

        Args:
            x: images in [0, 1].
            state: the state after glimpse t - 1.
            limit: clips the gradient with respect to the window in the backward pass.
        """
        _, H, W = self.config.image_shape
        n = self.config.read_size
        params = self.read_window(state.h)  # eq. 21, from h_{t-1}
        if limit is not None and params.requires_grad:
            params.register_hook(limit)
        window = Window.from_params(params, H, W, n)
        r = attention.read(x, window, n).flatten(1)  # eq. 27
        return LSTMState(*self.cell(r, tuple(state))), window

    def forward(
        self, x: Float[Tensor, "B C H W"], *, limit: GradientLimit | None = None
    ) -> ClassifierOutput:
        """Classify images after T glimpses.

        Args:
            x: images in [0, 1], with the dtype of the parameters.
            limit: clips gradients in the backward pass; `objective` uses one.

        Raises:
            ConfigError: if the images do not have the model's shape.
            DataError: if the images have a different dtype or, on the CPU, values that are NaN or
                outside [0, 1].
        """
        check_images(x, self.config.image_shape, self.h_0.dtype)
        if kernels.use_fused(self, x=x, limit=limit):
            return ClassifierOutput(*kernels.classify(self, x, limit))
        state = self.initial_state(len(x))
        states, windows = [], []
        for _ in range(self.config.glimpses):
            state, window = self.encode_step(x, state, limit)
            states.append(state.h)
            windows.append(window)
        logits = self.head(torch.stack(states))
        return ClassifierOutput(logits, Window(*map(torch.stack, zip(*windows, strict=True))))

    def objective(
        self, x: Float[Tensor, "B C H W"], labels: Int[Tensor, " B"], eps: Tensor
    ) -> Float[Tensor, " B"]:
        """Return what training maximises, log p(label | x) in nats per image; eps is not used.

        >>> model = GlimpseClassifier(ClassifierConfig(height=20, width=20, glimpses=3))
        >>> x, labels = torch.rand(5, 1, 20, 20), torch.tensor([0, 1, 2, 3, 9])
        >>> model.objective(x, labels, torch.empty(model.noise_shape(5))).shape
        torch.Size([5])
        """
        limit = GradientLimit()
        return limit.watch(log_probability(self(x, limit=limit), labels))

    def noise_shape(self, batch_size: int) -> tuple[int, int]:
        """Return the shape of the noise for a batch: (0, B), because there is no latent."""
        return 0, batch_size


def log_probability(output: ClassifierOutput, labels: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Compute log p(label | x) after the last glimpse, nats per image."""
    return -cross_entropy(output.logits[-1], labels, reduction="none")
