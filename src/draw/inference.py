"""What to do with a trained model: encode, decode, interpolate and complete images.

Each function is a few lines over `DRAW.forward`, `DRAW.generate` or the two pure steps, works for
every likelihood and dtype, and runs without gradients. For gradients, call the model itself:
`model(x).z` and `model.generate(count, z=z, requires_grad=True)`.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from draw.errors import ConfigError
from draw.inputs import check_images, check_mask, check_network, check_noise, to_count
from draw.likelihoods import Bernoulli
from draw.model import DRAW
from draw.trace import Trace


@torch.no_grad()
def encode(
    model: DRAW, x: Float[Tensor, "B C H W"], *, eps: Float[Tensor, "T B Z"] | None = None
) -> Float[Tensor, "T B Z"]:
    """Encode images as the latents of every glimpse (eqs. 3-6).

    Args:
        model: the trained model.
        x: images in [0, 1], with the dtype of the parameters.
        eps: standard normal noise; by default zero, so that each z_t is the mean of its posterior
            given the latents before it, and the result is deterministic.

    Returns:
        The latents z_1 to z_T, [T, B, Z].

    Raises:
        ConfigError: if the model is not a DRAW, or the images or `eps` do not have the model's
            shape.
        DataError: if the images have a different dtype, or values that are NaN or outside [0, 1].

    >>> from draw.model import DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16, latent_size=4))
    >>> encode(model, torch.rand(5, 1, 8, 8)).shape
    torch.Size([3, 5, 4])
    """
    check_network(model, "DRAW")
    check_images(x, model.config.image_shape, model.canvas_0.dtype)
    if eps is None:
        eps = model.canvas_0.new_zeros(model.noise_shape(len(x)))
    return model(x, eps=eps).z  # type: ignore[no-any-return]


def decode(model: DRAW, z: Float[Tensor, "T B Z"]) -> Float[Tensor, "B C H W"]:
    """Decode latents to images, as means in [0, 1] (eqs. 14-16).

    `decode(model, encode(model, x))` reconstructs x. If z covers fewer glimpses than the model
    has, the images are unfinished.

    Args:
        model: the trained model.
        z: the latents of at least one glimpse, with the dtype of the parameters.

    Returns:
        The images, [B, C, H, W].

    Raises:
        ConfigError: if the model is not a DRAW, or `z` is not a tensor, does not have the shape
            [T, B, Z] or does not have the model's dtype.

    >>> from draw.model import DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16, latent_size=4))
    >>> decode(model, torch.randn(3, 5, 4)).shape
    torch.Size([5, 1, 8, 8])
    """
    check_network(model, "DRAW")
    check_noise("z", z, None, model.canvas_0, model.config.latent_size)
    return model.generate(z.shape[1], z=z).mean


def interpolate(
    model: DRAW, a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"], steps: int = 9
) -> Float[Tensor, "steps B C H W"]:
    """Change images a into images b, in steps of equal length in the space of latents.

    The first and the last step are the reconstructions of a and b.

    Args:
        model: the trained model.
        a, b: images in [0, 1], with the dtype of the parameters, the same number in each.
        steps: the number of images in each sequence, at least 2.

    Returns:
        The images, as means in [0, 1], [steps, B, C, H, W].

    Raises:
        ConfigError: if the model is not a DRAW, `steps` is not an integer of at least 2, the images
            do not have the model's shape, or a and b hold different numbers of images.
        DataError: if the images have a different dtype, or values that are NaN or outside [0, 1].

    Note:
        The interpolation is linear. A spherical one suits samples from the prior, whose norms are
        nearly equal; the posterior means of `encode` lie far inside that sphere.

    >>> from draw.model import DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
    >>> interpolate(model, torch.rand(5, 1, 8, 8), torch.rand(5, 1, 8, 8), steps=4).shape
    torch.Size([4, 5, 1, 8, 8])
    """
    steps = to_count("steps", steps, least=2)
    start, end = encode(model, a), encode(model, b)
    if len(a) != len(b):
        raise ConfigError(
            f"a holds {len(a)} images and b holds {len(b)}; pass the same number in each"
        )
    weights = torch.linspace(0, 1, steps).tolist()
    return torch.stack([decode(model, torch.lerp(start, end, weight)) for weight in weights])


@torch.no_grad()
def embed(model: DRAW, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B features"]:
    """Embed images as h_enc and h_dec averaged over the glimpses, for example for a linear probe.

    Like `encode`, it uses the posterior means. It calls the two steps, because the fused engine
    does not return the hidden states.

    Args:
        model: the trained model.
        x: images in [0, 1], with the dtype of the parameters.

    Returns:
        Two features per hidden unit, [B, 2 * hidden_size].

    Raises:
        ConfigError: if the model is not a DRAW, or the images do not have the model's shape.
        DataError: if the images have a different dtype, or values that are NaN or outside [0, 1].

    >>> from draw.model import DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
    >>> embed(model, torch.rand(5, 1, 8, 8)).shape
    torch.Size([5, 32])
    """
    check_network(model, "DRAW")
    check_images(x, model.config.image_shape, model.canvas_0.dtype)
    state, hidden = model.initial_state(len(x)), []
    for eps_t in model.canvas_0.new_zeros(model.noise_shape(len(x))):
        state, output = model.encode_step(x, state, eps_t)
        state, _ = model.decode_step(output.z, state)
        hidden.append(torch.cat([state.h_enc, state.h_dec], dim=1))
    return torch.stack(hidden).mean(0)


def complete(
    model: DRAW,
    x: Float[Tensor, "B C H W"],
    mask: Bool[Tensor, "..."],
    *,
    rounds: int = 30,
    generator: Generator | None = None,
) -> Float[Tensor, "B C H W"]:
    """Fill in the unknown pixels of images.

    Repeat an image to get several completions of it; each starts from a different sample of the
    model. See `complete_rounds` for the method.

    Args:
        model: the trained model.
        x: images in [0, 1], with the dtype of the parameters; unknown pixels can have any value.
        mask: True where a pixel is known: [H, W], or [B, 1, H, W] for a mask per image. Other
            shapes that broadcast to x are allowed too.
        rounds: the number of rounds; with more, the images become more likely.
        generator: the source of the noise, on the model's device.

    Returns:
        The images, with the known pixels of x unchanged and the mean of D(x | c_T) elsewhere.

    Raises:
        ConfigError: if the model is not a DRAW, `rounds` is not an integer of at least 1, the
            images do not have the model's shape, the mask is not boolean or does not broadcast to
            the images, or `generator` is not a `torch.Generator`.
        DataError: if the images have a different dtype, or values that are NaN or outside [0, 1].

    >>> from draw.model import DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
    >>> x, left_half = torch.rand(5, 1, 8, 8), torch.arange(8) < 4
    >>> completed = complete(model, x, left_half, rounds=2)
    >>> torch.equal(completed[..., :4], x[..., :4])
    True
    """
    rounds = to_count("rounds", rounds)
    all_rounds = complete_rounds(model, x, mask, generator=generator)
    _, trace = deque(islice(all_rounds, rounds), maxlen=1).pop()  # keep only the last round
    return torch.where(mask, x, trace.mean)


def complete_rounds(
    model: DRAW,
    x: Float[Tensor, "B C H W"],
    mask: Bool[Tensor, "..."],
    *,
    generator: Generator | None = None,
    record: bool = False,
) -> Iterator[tuple[Float[Tensor, "B C H W"], Trace]]:
    """Complete images round by round, indefinitely (Rezende et al. 2014).

    The unknown pixels start as a sample of the model. Each round encodes the image and samples the
    unknown pixels of the next one from D(x | c_T), a Markov chain whose images become ever more
    likely given the known pixels.

    Args:
        model: the trained model.
        x: images in [0, 1], with the dtype of the parameters; unknown pixels can have any value.
        mask: True where a pixel is known: [H, W], or [B, 1, H, W] for a mask per image. Other
            shapes that broadcast to x are allowed too.
        generator: the source of the noise, on the model's device.
        record: keep the canvases and windows of all glimpses in each trace.

    Yields:
        The encoded images of a round, and their trace.

    Raises:
        ConfigError: if the model is not a DRAW, the images do not have the model's shape, the mask
            is not boolean or does not broadcast to the images, or `generator` is not a
            `torch.Generator`.
        DataError: if the images have a different dtype, or values that are NaN or outside [0, 1].

    Note:
        Samples of a Bernoulli likelihood are black and white, so images with grey known pixels are
        filled with its mean instead.
    """
    check_network(model, "DRAW")
    check_mask(mask, x)
    x = torch.where(mask, x, 0)
    check_images(x, model.config.image_shape, model.canvas_0.dtype)
    is_grey = ((x > 0) & (x < 1)).flatten(1).any(1)[:, None, None, None]
    use_mean = is_grey & isinstance(model.likelihood, Bernoulli)
    trace = model.generate(len(x), generator=generator)
    while True:
        filled = torch.where(use_mean, trace.mean, trace.sample(generator))
        filled = torch.where(mask, x, filled)
        with torch.no_grad():
            trace = model(filled, generator=generator, record=record)
        yield filled, trace
