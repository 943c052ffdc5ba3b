"""DRAW: an encoder that reads, a decoder that paints, step by step (paper 2 and 3).

All the mathematics is in `encode_step` and `decode_step`, which are pure: tensors in, tensors
out. `forward` and `generate` are loops over them; in float32 they hand the loop to a copy of these
steps in C++ or Triton where they can, so set `model.engine = "plain"` (`--engine plain`) before you
change a line here or in `draw.attention`.

`B` is the batch, `T` the number of glimpses, `H` and `W` the image's height and width, `C` its
channels, `K` those of the canvas, as many as the likelihood needs, `Z` the size of one latent.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from draw import attention, kernels
from draw.attention import Window
from draw.errors import ConfigError, check_images
from draw.hub import Pretrained
from draw.likelihoods import LIKELIHOODS, Likelihood
from draw.networks import check_sizes, lstm, window_layer


@dataclass(frozen=True, kw_only=True)
class DRAWConfig:
    """The shape of a network; the defaults are the paper's MNIST network (table 3).

    Raises:
        ConfigError: a value is outside its range.

    >>> DRAWConfig(height=64, width=48, channels=3).read_size
    2
    """

    height: int = 28  # image height B, pixels
    width: int = 28  # image width A, pixels
    channels: int = 1  # 1 grey, 3 colour
    glimpses: int = 64  # steps T
    hidden_size: int = 256  # units of each LSTM
    latent_size: int = 100  # dimensions of each z_t
    read_size: int | None = 2  # patch size N of read; None reads without attention (eq. 17)
    write_size: int | None = 5  # patch size N of write; None writes without attention (eq. 18)
    likelihood: Literal["bernoulli", "logistic"] = "bernoulli"  # what the canvas means (eq. 9)

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.likelihood not in LIKELIHOODS:
            known = " or ".join(LIKELIHOODS)
            raise ConfigError(f"model.likelihood is {self.likelihood!r}; it must be {known}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def canvas_shape(self) -> tuple[int, int, int]:
        """(K, H, W), with the channels that the likelihood needs."""
        return self.channels * LIKELIHOODS[self.likelihood].planes, self.height, self.width


class State(NamedTuple):
    """All that one step hands to the next."""

    canvas: Tensor  # [B, K, H, W]
    h_enc: Tensor  # [B, hidden]
    c_enc: Tensor  # [B, hidden], the encoder LSTM's cell
    h_dec: Tensor  # [B, hidden]
    c_dec: Tensor  # [B, hidden], the decoder LSTM's cell


class Posterior(NamedTuple):
    """What the encoder says at one step: Q(Z_t | h_enc_t) and the sample taken from it."""

    mu: Tensor  # [B, Z]
    log_sigma: Tensor  # [B, Z]
    z: Tensor  # [B, Z]
    window: Window | None  # the read window, fields [B]; None without attention


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One run of the network over T steps; losses, pictures and films are all made from it.

    A generated trace has no posterior, noise, read window, KL or log likelihood: those are None.
    Unless the trace was recorded, its windows are None and only the last canvas is kept, so that
    `canvas[-1]` is c_T in either case.
    """

    canvas: Float[Tensor, "kept B K H W"]  # of every step (kept = T) or of the last
    z: Float[Tensor, "T B Z"]
    eps: Float[Tensor, "T B Z"] | None = None  # the noise that became z
    mu: Float[Tensor, "T B Z"] | None = None
    log_sigma: Float[Tensor, "T B Z"] | None = None
    kl: Float[Tensor, "T B"] | None = None  # KL(Q_t, P), nats
    log_likelihood: Float[Tensor, " B"] | None = None  # log D(x | c_T), nats
    read: Window | None = None  # fields [T, B]
    write: Window | None = None  # fields [T, B]
    likelihood: Likelihood = LIKELIHOODS["bernoulli"]  # what the canvas means

    @property
    def mean(self) -> Float[Tensor, "kept B C H W"]:
        """The canvases as mean pictures in [0, 1], the way the paper shows them."""
        return self.likelihood.mean(self.canvas)  # eq. 16, the mean instead of a sample


class DRAW(nn.Module, Pretrained, config_type=DRAWConfig, tags=["draw", "vae", "image-generation"]):
    """The network of the paper.

    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16, latent_size=4))
    >>> trace = model(torch.rand(5, 1, 8, 8))
    >>> trace.canvas.shape, trace.kl.shape  # only the last canvas is kept
    (torch.Size([1, 5, 1, 8, 8]), torch.Size([3, 5]))
    >>> model.generate(2, record=True).mean.shape
    torch.Size([3, 2, 1, 8, 8])
    """

    engine: kernels.Engine = "auto"  # who runs the loops: auto takes fused where it can

    def __init__(self, config: DRAWConfig) -> None:
        super().__init__()
        self.config = config
        self.likelihood = LIKELIHOODS[config.likelihood]
        C, H, W = config.image_shape
        K, _, _ = config.canvas_shape
        hidden, latent = config.hidden_size, config.latent_size
        n_read, n_write = config.read_size, config.write_size
        r_size = 2 * C * (H * W if n_read is None else n_read**2)  # [x, x_hat] or their patches
        w_size = K * (H * W if n_write is None else n_write**2)

        self.encoder = lstm(r_size + hidden, hidden)  # eq. 5
        self.posterior = nn.Linear(hidden, 2 * latent)  # eqs. 1, 2
        nn.init.zeros_(self.posterior.bias)  # Q starts near the prior
        self.decoder = lstm(latent, hidden)  # eq. 7
        self.patch = nn.Linear(hidden, w_size)  # eqs. 18, 28
        self.read_window = (  # eq. 21
            None if n_read is None else window_layer(hidden, H, W, n_read, painting=False)
        )
        self.write_window = (  # eq. 21, its own
            None if n_write is None else window_layer(hidden, H, W, n_write, painting=True)
        )

        self.canvas_0 = nn.Parameter(torch.zeros(K, H, W))
        self.h_enc_0 = nn.Parameter(torch.zeros(hidden))
        self.c_enc_0 = nn.Parameter(torch.zeros(hidden))
        self.h_dec_0 = nn.Parameter(torch.zeros(hidden))
        self.c_dec_0 = nn.Parameter(torch.zeros(hidden))

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.canvas_0.device

    # ------------------------------------------------------------------ the two pure steps

    def initial_state(self, batch_size: int) -> State:
        """The learned c_0, h_enc_0 and h_dec_0, once for each image of the batch.

        Note:
            The paper learns these three; the first cells of the LSTMs, on which it is silent, are
            learned here as well.
        """
        start = (self.canvas_0, self.h_enc_0, self.c_enc_0, self.h_dec_0, self.c_dec_0)
        return State(*(p.expand(batch_size, *p.shape) for p in start))

    def encode_step(
        self, x: Float[Tensor, "B C H W"], state: State, eps: Float[Tensor, "B Z"]
    ) -> tuple[State, Posterior]:
        """Look at the image and at what is wrong with the canvas; sample z_t (eqs. 3-6).

        Args:
            x: the images, in [0, 1].
            eps: standard normal noise, fresh at every step.
        """
        x_hat = x - self.likelihood.mean(state.canvas)  # [B, C, H, W]  eq. 3
        both = torch.cat([x, x_hat], dim=1)  # [B, 2C, H, W]
        window = None
        if self.read_window is None or self.config.read_size is None:
            r = both.flatten(1)  # eq. 17
        else:
            n = self.config.read_size
            params = self.read_window(state.h_dec)  # eq. 21, from h_dec_{t-1}
            window = attention.window(params, self.config.height, self.config.width, n)
            r = attention.read(both, window, n).flatten(1)  # eqs. 4, 27
        h_enc, c_enc = self.encoder(
            torch.cat([r, state.h_dec], dim=1), (state.h_enc, state.c_enc)
        )  # eq. 5
        mu, log_sigma = self.posterior(h_enc).chunk(2, dim=1)  # [B, Z]  eqs. 1, 2
        z = mu + log_sigma.exp() * eps  # eq. 6
        return state._replace(h_enc=h_enc, c_enc=c_enc), Posterior(mu, log_sigma, z, window)

    def decode_step(self, z: Float[Tensor, "B Z"], state: State) -> tuple[State, Window | None]:
        """Paint once more (eqs. 7, 8; in generation eqs. 14, 15).

        Returns:
            The next state, and the write window (None without attention).
        """
        h_dec, c_dec = self.decoder(z, (state.h_dec, state.c_dec))  # eq. 7
        K, H, W = self.config.canvas_shape
        w = self.patch(h_dec)  # eqs. 18, 28
        window = None
        if self.write_window is None or self.config.write_size is None:
            painted = w.view(-1, K, H, W)  # eq. 18
        else:
            n = self.config.write_size
            window = attention.window(self.write_window(h_dec), H, W, n)  # eq. 21, from h_dec_t
            painted = attention.write(w.view(-1, K, n, n), window, H, W)  # eq. 29
        canvas = state.canvas + painted  # eq. 8
        return state._replace(canvas=canvas, h_dec=h_dec, c_dec=c_dec), window

    # ------------------------------------------------------------------ loops over the steps

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        *,
        eps: Float[Tensor, "T B Z"] | None = None,
        generator: Generator | None = None,
        record: bool = False,
    ) -> Trace:
        """Encode and redraw the images (eqs. 3-8), with the terms of the bound (eqs. 9-11).

        Args:
            x: images in [0, 1].
            eps: the noise of every step; drawn from `generator` when not given.
            record: keep every canvas and window, for pictures; a training step needs neither.

        Raises:
            ConfigError: the images are of another size than the model's.
        """
        check_images(tuple(x.shape), self.config.image_shape)
        if eps is None:
            eps = self._noise(len(x), generator)
        if kernels.chosen(self, eps, x, batch=len(x), record=record):
            run = kernels.forward(self, x, eps, record=record)
            nats = self.likelihood.log_likelihood(x, run.canvas[-1])  # eq. 9
            return Trace(**run._asdict(), eps=eps, log_likelihood=nats, likelihood=self.likelihood)
        state = self.initial_state(len(x))
        canvases, posteriors, writes = [], [], []
        for eps_t in eps:
            state, posterior = self.encode_step(x, state, eps_t)
            state, write = self.decode_step(posterior.z, state)
            posteriors.append(posterior)
            if record:
                canvases.append(state.canvas)
                writes.append(write)
        mu = torch.stack([p.mu for p in posteriors])  # [T, B, Z]
        log_sigma = torch.stack([p.log_sigma for p in posteriors])
        return Trace(
            canvas=torch.stack(canvases or [state.canvas]),
            z=torch.stack([p.z for p in posteriors]),
            eps=eps,
            mu=mu,
            log_sigma=log_sigma,
            kl=gaussian_kl(mu, log_sigma),
            log_likelihood=self.likelihood.log_likelihood(x, state.canvas),  # eq. 9
            read=_stack([p.window for p in posteriors]) if record else None,
            write=_stack(writes),
            likelihood=self.likelihood,
        )

    def generate(
        self,
        count: int,
        *,
        z: Float[Tensor, "T B Z"] | None = None,
        generator: Generator | None = None,
        record: bool = False,
    ) -> Trace:
        """Paint `count` images from the prior (eqs. 13-16); the encoder takes no part.

        Args:
            z: the latents of every step; drawn from the prior by `generator` when not given.
        """
        if z is None:
            z = self._noise(count, generator)  # eq. 13
        if kernels.chosen(self, z, batch=count, record=record):
            run = kernels.generate(self, z, record=record)
            return Trace(**run._asdict(), likelihood=self.likelihood)
        state = self.initial_state(count)
        canvases, writes = [], []
        for z_t in z:
            state, write = self.decode_step(z_t, state)  # eqs. 14, 15
            if record:
                canvases.append(state.canvas)
                writes.append(write)
        return Trace(
            canvas=torch.stack(canvases or [state.canvas]),
            z=z,
            write=_stack(writes),
            likelihood=self.likelihood,
        )

    @torch.no_grad()
    def reconstruct(
        self, x: Float[Tensor, "B C H W"], *, generator: Generator | None = None
    ) -> Float[Tensor, "B C H W"]:
        """The images as the model redraws them: mean pictures in [0, 1], of one posterior sample.

        >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
        >>> model.reconstruct(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
        """
        return self.forward(x, generator=generator).mean[-1]

    def _noise(self, batch_size: int, generator: Generator | None) -> Tensor:
        shape = (self.config.glimpses, batch_size, self.config.latent_size)
        like = self.canvas_0
        return torch.randn(shape, generator=generator, dtype=like.dtype, device=like.device)


def gaussian_kl(
    mu: Float[Tensor, "*batch Z"], log_sigma: Float[Tensor, "*batch Z"]
) -> Float[Tensor, "*batch"]:
    """KL(N(mu, sigma), N(0, I)) in nats (one term of eqs. 10, 11).

    Note:
        Eq. 11 prints the constant as T/2; it is Z/2 a step, one half for each latent dimension.

    >>> float(gaussian_kl(torch.tensor([1.0, 0.0]), torch.zeros(2)))
    0.5
    """
    return (mu**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(-1) / 2  # eqs. 10, 11


def _stack(windows: list[Window | None]) -> Window | None:
    """T windows with fields [B] -> one with fields [T, B]; None if there are none."""
    present = [w for w in windows if w is not None]
    return Window(*map(torch.stack, zip(*present, strict=True))) if present else None
