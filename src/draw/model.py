"""DRAW: an encoder that reads and a decoder that writes, glimpse by glimpse (sections 2 and 3).

The recurrence (eqs. 1-8) is in `encode_step` and `decode_step`, pure functions of tensors.
`forward` and `generate` call them at each glimpse. By default a fused engine in C++ or Triton, if
it is available, replaces these loops in float32. It does not reflect edits to this file, so set
`model.engine = "plain"` (`--engine plain`) before you edit a line here or in `draw.attention`.

`B` is the batch size, `T` the number of glimpses, `H` and `W` the height and width of the image,
`C` its channels, `K` the channels of the canvas (as many as the likelihood needs), and `Z` the size
of one latent.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from draw import attention, kernels
from draw.attention import Window
from draw.inputs import check_generator, check_images, check_noise
from draw.layers import check_sizes, lstm, window_layer
from draw.likelihoods import LIKELIHOODS
from draw.objectives import elbo
from draw.storage.hub import Pretrained
from draw.storage.json_config import convert_fields
from draw.trace import EncodeOutput, State, Trace


@dataclass(frozen=True, kw_only=True)
class DRAWConfig:
    """Configuration of a `DRAW` network.

    Raises:
        ConfigError: if a value is outside its range.

    Note:
        The default values are those of the paper's MNIST network (table 3).

    >>> DRAWConfig(height=64, width=48, channels=3).read_size
    2
    """

    network: ClassVar[str] = "DRAW"  # recorded as "type" in config.json
    metric: ClassVar[str] = "elbo"  # name of the objective in logs

    height: int = 28  # image height B, pixels
    width: int = 28  # image width A, pixels
    channels: int = 1  # 1 for grey, 3 for colour
    glimpses: int = 64  # number of glimpses T
    hidden_size: int = 256  # units of each LSTM
    latent_size: int = 100  # dimensions of each z_t
    read_size: int | None = 2  # size N of the read patch; None: without attention (eq. 17)
    write_size: int | None = 5  # size N of the write patch; None: without attention (eq. 18)
    # likelihood D(x | c_T) of eq. 9
    likelihood: Literal["bernoulli", "logistic", "coupled-logistic"] = "bernoulli"

    def __post_init__(self) -> None:
        convert_fields(self, "model.")
        check_sizes(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def canvas_shape(self) -> tuple[int, int, int]:
        """(K, H, W)."""
        K = LIKELIHOODS[self.likelihood].canvas_channels(self.channels)
        return K, self.height, self.width

    def build(self) -> "DRAW":
        """Create the network, with random initial weights."""
        return DRAW(self)


@kernels.register
class DRAW(nn.Module, Pretrained, config_type=DRAWConfig, tags=["draw", "vae", "image-generation"]):
    """The generative model of the paper.

    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16, latent_size=4))
    >>> trace = model(torch.rand(5, 1, 8, 8))
    >>> trace.canvas.shape, trace.kl.shape
    (torch.Size([5, 1, 8, 8]), torch.Size([3, 5]))
    >>> model.generate(2, record=True).means.shape  # the picture after every glimpse
    torch.Size([3, 2, 1, 8, 8])
    """

    engine: kernels.Engine = "auto"  # "plain", "fused", or "auto": fused where possible

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
            None if n_read is None else window_layer(hidden, H, W, n_read, for_write=False)
        )
        self.write_window = (  # eq. 21, with parameters separate from the read window's
            None if n_write is None else window_layer(hidden, H, W, n_write, for_write=True)
        )

        self.canvas_0 = nn.Parameter(torch.zeros(K, H, W))
        self.h_enc_0 = nn.Parameter(torch.zeros(hidden))
        self.c_enc_0 = nn.Parameter(torch.zeros(hidden))
        self.h_dec_0 = nn.Parameter(torch.zeros(hidden))
        self.c_dec_0 = nn.Parameter(torch.zeros(hidden))

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.canvas_0.device

    # ------------------------------------------------------------------ the two pure steps

    def initial_state(self, batch_size: int) -> State:
        """Return the learned c_0, h_enc_0 and h_dec_0, expanded to the batch.

        Note:
            The paper learns these three and does not mention the initial cell states, which
            are also learned here.
        """
        start = (self.canvas_0, self.h_enc_0, self.c_enc_0, self.h_dec_0, self.c_dec_0)
        return State(*(p.expand(batch_size, *p.shape) for p in start))

    def encode_step(
        self, x: Float[Tensor, "B C H W"], state: State, eps: Float[Tensor, "B Z"]
    ) -> tuple[State, EncodeOutput]:
        """Read the image and the error image, and sample z_t (eqs. 3-6).

        Args:
            x: images in [0, 1].
            state: the state after glimpse t - 1.
            eps: standard normal noise, independent for every glimpse.

        Returns:
            The state with the encoder updated, and the posterior with its sample.
        """
        x_hat = x - self.likelihood.mean(state.canvas)  # [B, C, H, W]  eq. 3
        x_hat = self.likelihood.error_scale * x_hat
        both = torch.cat([x, x_hat], dim=1)  # [B, 2C, H, W]
        window = None
        if self.read_window is None or self.config.read_size is None:
            r = both.flatten(1)  # eq. 17
        else:
            n = self.config.read_size
            params = self.read_window(state.h_dec)  # eq. 21, from h_dec_{t-1}
            window = Window.from_params(params, self.config.height, self.config.width, n)
            r = attention.read(both, window, n).flatten(1)  # eqs. 4, 27
        h_enc, c_enc = self.encoder(
            torch.cat([r, state.h_dec], dim=1), (state.h_enc, state.c_enc)
        )  # eq. 5
        mu, log_sigma = self.posterior(h_enc).chunk(2, dim=1)  # [B, Z]  eqs. 1, 2
        z = mu + log_sigma.exp() * eps  # eq. 6
        return state._replace(h_enc=h_enc, c_enc=c_enc), EncodeOutput(mu, log_sigma, z, window)

    def decode_step(self, z: Float[Tensor, "B Z"], state: State) -> tuple[State, Window | None]:
        """Update the decoder and write to the canvas (eqs. 7, 8; in generation eqs. 14, 15).

        Returns:
            The state after glimpse t, and the write window (None without attention).
        """
        h_dec, c_dec = self.decoder(z, (state.h_dec, state.c_dec))  # eq. 7
        K, H, W = self.config.canvas_shape
        w = self.patch(h_dec)  # eqs. 18, 28
        window = None
        if self.write_window is None or self.config.write_size is None:
            written = w.view(-1, K, H, W)  # eq. 18
        else:
            n = self.config.write_size
            params = self.write_window(h_dec)  # eq. 21, from h_dec_t
            window = Window.from_params(params, H, W, n)
            written = attention.write(w.view(-1, K, n, n), window, H, W)  # eq. 29
        canvas = state.canvas + written  # eq. 8
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
        """Encode and reconstruct images (eqs. 3-8), and compute the terms of the bound (eqs. 9-11).

        Args:
            x: images in [0, 1], with the dtype of the parameters.
            eps: standard normal noise for every glimpse; by default drawn from `generator`.
            generator: the source of the noise, on the model's device.
            record: keep the canvases and windows of all glimpses, for pictures and films.

        Raises:
            ConfigError: if the images do not have the model's shape, `eps` does not have the shape
                [T, B, Z] or the model's dtype, or `generator` is not a `torch.Generator`.
            DataError: if the images have a different dtype or, on the CPU, values that are NaN or
                outside [0, 1].
        """
        check_images(x, self.config.image_shape, self.canvas_0.dtype)
        check_generator(generator)
        if eps is None:
            eps = self._noise(len(x), generator)
        check_noise("eps", eps, len(x), self.canvas_0, self.config.latent_size)
        if kernels.use_fused(self, x=x, noise=eps, record=record):
            return kernels.forward(self, x, eps, record=record)
        state = self.initial_state(len(x))
        canvases, outputs, write_windows = [], [], []
        for eps_t in eps:
            state, output = self.encode_step(x, state, eps_t)
            state, write_window = self.decode_step(output.z, state)
            outputs.append(output)
            if record:
                canvases.append(state.canvas)
                write_windows.append(write_window)
        mu = torch.stack([output.mu for output in outputs])  # [T, B, Z]
        log_sigma = torch.stack([output.log_sigma for output in outputs])
        return Trace(
            canvas=state.canvas,
            z=torch.stack([output.z for output in outputs]),
            eps=eps,
            mu=mu,
            log_sigma=log_sigma,
            kl=gaussian_kl(mu, log_sigma),
            log_likelihood=self.likelihood.log_likelihood(x, state.canvas),  # eq. 9
            canvases=torch.stack(canvases) if record else None,
            read_window=_stack([output.window for output in outputs]) if record else None,
            write_window=_stack(write_windows),
            read_size=self.config.read_size,
            write_size=self.config.write_size,
            likelihood=self.likelihood,
        )

    def generate(
        self,
        count: int,
        *,
        z: Float[Tensor, "T B Z"] | None = None,
        generator: Generator | None = None,
        record: bool = False,
        requires_grad: bool = False,
    ) -> Trace:
        """Generate images from the prior (eqs. 13-16), without the encoder.

        Args:
            count: the number of images B.
            z: the latents of every glimpse; by default drawn from the prior with `generator`.
            generator: the source of the latents, on the model's device.
            record: keep the canvases and windows of all glimpses, for pictures and films.
            requires_grad: track gradients with respect to `z` and the parameters; by default the
                method runs under `torch.no_grad()`.

        Raises:
            ConfigError: if `z` does not have the shape [T, B, Z] or the model's dtype, or
                `generator` is not a `torch.Generator`.
        """
        check_generator(generator)
        with torch.set_grad_enabled(requires_grad and torch.is_grad_enabled()):
            if z is None:
                z = self._noise(count, generator)  # eq. 13
            check_noise("z", z, count, self.canvas_0, self.config.latent_size)
            if kernels.use_fused(self, x=None, noise=z, record=record):
                return kernels.generate(self, z, record=record)
            state = self.initial_state(count)
            canvases, write_windows = [], []
            for z_t in z:
                state, write_window = self.decode_step(z_t, state)  # eqs. 14, 15
                if record:
                    canvases.append(state.canvas)
                    write_windows.append(write_window)
            return Trace(
                canvas=state.canvas,
                z=z,
                canvases=torch.stack(canvases) if record else None,
                write_window=_stack(write_windows),
                write_size=self.config.write_size,
                likelihood=self.likelihood,
            )

    @torch.no_grad()
    def reconstruct(
        self, x: Float[Tensor, "B C H W"], *, generator: Generator | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Return the reconstructions of images from one posterior sample, as means in [0, 1].

        >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
        >>> model.reconstruct(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
        """
        return self.forward(x, generator=generator).mean

    # ------------------------------------------------------------------ training

    def objective(
        self, x: Float[Tensor, "B C H W"], labels: Tensor, eps: Float[Tensor, "T B Z"]
    ) -> Float[Tensor, " B"]:
        """Return what training maximises, the ELBO in nats per image; labels are not used."""
        return elbo(self(x, eps=eps))

    def noise_shape(self, batch_size: int) -> tuple[int, int, int]:
        """Return the shape of the noise `eps` for a batch: (T, B, Z)."""
        return self.config.glimpses, batch_size, self.config.latent_size

    def _noise(self, batch_size: int, generator: Generator | None) -> Tensor:
        like = self.canvas_0
        return torch.randn(
            self.noise_shape(batch_size), generator=generator, dtype=like.dtype, device=like.device
        )


def gaussian_kl(
    mu: Float[Tensor, "*batch Z"], log_sigma: Float[Tensor, "*batch Z"]
) -> Float[Tensor, "*batch"]:
    """Compute KL(N(mu, sigma), N(0, I)) in nats (one glimpse of eqs. 10, 11).

    Note:
        Eq. 11 prints the constant as T/2; it is Z/2 per glimpse, one half per latent dimension.

    >>> float(gaussian_kl(torch.tensor([1.0, 0.0]), torch.zeros(2)))
    0.5
    """
    return (mu**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(-1) / 2  # eqs. 10, 11


def _stack(windows: list[Window | None]) -> Window | None:
    """Stack T windows with fields [B] into one with fields [T, B]; None without windows."""
    present = [w for w in windows if w is not None]
    return Window(*map(torch.stack, zip(*present, strict=True))) if present else None
