"""Presets: one function per experiment that returns its training configuration."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from draw.classifier import ClassifierConfig
from draw.data.survey import Survey
from draw.model import DRAWConfig
from draw.training.config import TrainConfig

TYPICAL_FOLDER = Survey(images=1_000, side=64, is_colour=True, mid_tones=0.5)
MIN_FOLDER_SIDE, MAX_FOLDER_SIDE = 16, 64  # pixels
MIN_FOLDER_PATCH = 5  # pixels
MIN_FOLDER_STEPS = 1_000
MAX_FOLDER_EPOCHS = 500
MIN_UNSHIFTED_IMAGES = 2_000  # with fewer images the network overfits, so they are shifted
FOLDER_BATCH = 32
HOUR_FLOPS = 3_600 * 100e9  # two busy CPU cores compute this much in an hour


def quick() -> TrainConfig:
    """A small model trained on 4,000 bundled digits; takes one to two minutes on one CPU core."""
    return TrainConfig(
        model=DRAWConfig(glimpses=16, latent_size=32, read_size=5, write_size=5),
        data="digits5k",
        steps=1_200,
        learning_rate=4e-3,
        warmup_steps=100,
        ema_decay=0.995,
        eval_every=200,
        eval_images=500,
        checkpoint_every=200,
    )


def mnist() -> TrainConfig:
    """Tables 2 and 3: static binarised MNIST with attention; published log p(x) >= -80.97 nats.

    Training takes about an hour on two CPU cores; the bundled `mnist` was trained longer, see its
    model card.
    """
    return TrainConfig(
        model=DRAWConfig(),
        data="binarized-mnist",
        matmul_precision="medium",
        steps=24_000,  # 24 epochs
        batch_size=50,
        antithetic=True,
        optimizer="muon",  # see experiments/study-mnist
        learning_rate=2e-3,
        weight_decay=0.1,
        eval_every=2_000,
        eval_images=10_000,
        checkpoint_every=500,
    )


def mnist_no_attention() -> TrainConfig:
    """Table 2: static binarised MNIST without attention; published log p(x) >= -87.40 nats.

    Note:
        The paper does not state the number of glimpses; 16 limits the cost (see
        experiments/study-mnist).
    """
    return TrainConfig(
        model=DRAWConfig(glimpses=16, read_size=None, write_size=None),
        data="binarized-mnist",
        steps=45_000,  # 90 epochs
        batch_size=100,
        learning_rate=1.5e-3,  # see experiments/study-mnist
        weight_decay=0.1,  # without it, the network overfits
        eval_every=1_000,
        checkpoint_every=500,
    )


def cluttered_100() -> TrainConfig:
    """Table 1: cluttered MNIST, 8 glimpses; published error 3.36%."""
    return TrainConfig(
        model=ClassifierConfig(),
        data="cluttered-100",
        steps=120_000,  # 240 epochs
        batch_size=100,
        optimizer="muon",  # see experiments/study-cluttered
        learning_rate=1e-3,
        clip_norm=1.0,
        ema_decay=0.9998,
        eval_every=5_000,
        eval_images=10_000,
        checkpoint_every=1_000,
    )


def cluttered_100_4() -> TrainConfig:
    """Table 1: cluttered MNIST, 4 glimpses; published error 4.18%.

    The run starts from the weights of `cluttered-100`, which has already learned where to look.
    """
    return replace(
        cluttered_100(),
        model=ClassifierConfig(glimpses=4),
        start_from="cluttered-100",
        steps=100_000,
        matmul_precision="medium",
    )


def cluttered_60() -> TrainConfig:
    """Cluttered MNIST on 60 x 60 pixels, 8 glimpses; the paper reports no value."""
    return replace(
        cluttered_100(),
        model=ClassifierConfig(height=60, width=60),
        data="cluttered-60",
        steps=40_000,
        ema_decay=0.9995,
        eval_every=1_000,
    )


def omniglot() -> TrainConfig:
    """Omniglot's handwritten characters, 28 x 28; the paper does not use them.

    The network and the settings are those of `mnist`, with shifted images because there are fewer.
    """
    return replace(mnist(), data="omniglot", shift=1, steps=18_000)  # 50 epochs


def two_digits() -> TrainConfig:
    """Section 4.3: two MNIST digits; the paper shows samples (figure 8) and reports no value.

    Note:
        The paper does not describe the network. 32 glimpses, half as many as for MNIST, limit the
        cost.
    """
    return TrainConfig(
        model=DRAWConfig(height=60, width=60, glimpses=32, read_size=5, write_size=5),
        data="two-digits",
        steps=16_000,  # 32 epochs
        batch_size=100,
        optimizer="muon",  # see experiments/study-two-digits
        eval_every=500,
        checkpoint_every=500,
    )


def svhn() -> TrainConfig:
    """Section 4.4: house numbers; published log p(x) about -5,071 nats."""
    return TrainConfig(
        model=DRAWConfig(
            height=54,
            width=54,
            channels=3,
            glimpses=32,
            hidden_size=800,
            read_size=12,
            write_size=12,
        ),
        data="svhn",
        matmul_precision="medium",
        steps=350_000,  # as in figure 11
        batch_size=100,
        eval_every=5_000,
        checkpoint_every=1_000,
    )


def cifar10() -> TrainConfig:
    """Section 4.5: CIFAR-10. Gregor et al. 2016 report 4.13 bits/dim; the paper reports no value.

    The discretised logistic likelihoods allow bits per dimension; `--model.likelihood bernoulli`
    selects the paper's likelihood.
    """
    return TrainConfig(
        model=DRAWConfig(
            height=32,
            width=32,
            channels=3,
            hidden_size=400,
            latent_size=200,
            read_size=5,
            write_size=5,
            likelihood="coupled-logistic",
        ),
        data="cifar10",
        matmul_precision="medium",
        mirror="yes",
        steps=16_000,  # 11 epochs
        batch_size=32,  # see experiments/study-cifar10
        optimizer="muon",
        learning_rate=2e-3,
        weight_decay=0.1,
        eval_every=1_000,
        eval_images=5_000,
        checkpoint_every=500,
    )


def folder(
    images: Survey = TYPICAL_FOLDER, shape: tuple[int, int, int] | None = None
) -> TrainConfig:
    """Your own images (--data-dir); the settings adapt to their number, size and colour.

    The steps take about an hour on two CPU cores, or less if there are few images.

    Args:
        images: what the images are like.
        shape: (C, H, W) of the network's images; by default that of your images, but at most
            64 x 64 pixels.
    """
    side = min(max(images.side, MIN_FOLDER_SIDE), MAX_FOLDER_SIDE)
    C, H, W = shape or (3 if images.is_colour else 1, side, side)
    patch = min(max(MIN_FOLDER_PATCH, round(max(H, W) * 3 / 16)), H, W)
    likelihood: Literal["bernoulli", "logistic", "coupled-logistic"] = "coupled-logistic"
    if C == 1:
        likelihood = "logistic" if images.is_photographic else "bernoulli"
    model = DRAWConfig(
        height=H,
        width=W,
        channels=C,
        glimpses=32,
        latent_size=64,
        read_size=patch,
        write_size=patch,
        likelihood=likelihood,
    )
    per_epoch = images.images * 0.8 / FOLDER_BATCH
    affordable = HOUR_FLOPS / (FOLDER_BATCH * _training_flops(model))
    steps = round(min(affordable, MAX_FOLDER_EPOCHS * per_epoch) / 100) * 100
    steps = max(MIN_FOLDER_STEPS, steps)
    every = steps // 20
    return TrainConfig(
        model=model,
        data="folder",
        matmul_precision="medium",
        mirror="auto",
        shift=round(min(H, W) / 20) if images.images < MIN_UNSHIFTED_IMAGES else 0,
        steps=steps,
        batch_size=FOLDER_BATCH,
        optimizer="muon",
        learning_rate=1.5e-3,
        weight_decay=0.1,
        ema_decay=0.999,
        eval_every=every,
        eval_images=500,
        checkpoint_every=every,
    )


def _training_flops(model: DRAWConfig) -> int:
    """Return about how many floating-point operations one image needs in a training step."""
    C, H, W = model.image_shape
    K, _, _ = model.canvas_shape
    h, read, write = model.hidden_size, model.read_size or H, model.write_size or H
    encoder = 4 * h * (2 * C * read**2 + 2 * h)
    decoder = 4 * h * (model.latent_size + h) + h * K * write**2
    attention = (2 * C * read + K * write) * H * W
    return 6 * model.glimpses * (encoder + decoder + attention)  # forward 2, backward 4


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "quick": quick,
    "mnist": mnist,
    "mnist-no-attention": mnist_no_attention,
    "omniglot": omniglot,
    "two-digits": two_digits,
    "cluttered-100": cluttered_100,
    "cluttered-100-4": cluttered_100_4,
    "cluttered-60": cluttered_60,
    "svhn": svhn,
    "cifar10": cifar10,
    "folder": folder,
}
