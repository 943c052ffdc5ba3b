"""The training configuration: network, data and optimisation."""

import logging
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from draw import data
from draw.classifier import ClassifierConfig
from draw.data import Images
from draw.data.download import Progress
from draw.data.survey import MIN_MID_TONES, mid_tones
from draw.data.transforms import RandomMirror
from draw.errors import ConfigError, check_limits
from draw.model import DRAWConfig
from draw.storage.json_config import convert_fields, from_dict, to_dict

NetworkConfig = DRAWConfig | ClassifierConfig
Optimizer = Literal["adam", "muon"]
MatmulPrecision = Literal["highest", "high", "medium"]
MAX_COUNT = 10**9
MIRROR_SAMPLE = 1_000  # images whose intensities `mirror="auto"` examines

log = logging.getLogger("draw")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Configuration of a training run: the network, the data and the optimisation.

    Note:
        The paper trains with Adam and gives few other details. The cosine learning-rate schedule,
        the exponential moving average (EMA) of the weights (which is evaluated and saved), gradient
        clipping and decoupled weight decay (Loshchilov & Hutter 2019) were chosen on validation
        images (experiments/study-mnist, which also covers Muon, Jordan et al. 2024).

    Raises:
        ConfigError: if a value is outside its range.
    """

    model: NetworkConfig = field(default_factory=DRAWConfig)
    data: str = "digits5k"  # name of a data set; `draw data list` lists them
    # folder in which to look for data first; for the data set `folder`, the folder of your images
    data_dir: Path | None = None
    # images to train on; with the validation images, the run saves its last weights, not the best
    train_on: Literal["train", "train+valid"] = "train"
    # flip training images left to right at random; auto: only for colour images and
    # photographs
    mirror: Literal["auto", "yes", "no"] = "no"
    # move training images at random by up to this many pixels along each axis; the last 30% of the
    # steps leave them in place
    shift: int = 0
    # trained model (name, folder or Hub id) to start from; the number of glimpses may differ
    start_from: str | None = None
    steps: int = 10_000  # total optimizer steps
    batch_size: int = 64  # images per minibatch
    # precision of the inputs of large matrix products; high: rounded to TF32 on GPUs; medium: also
    # to bfloat16 on CPUs that support it, up to twice as fast; sums, weights and validation stay in
    # float32
    matmul_precision: MatmulPrecision = "high"
    antithetic: bool = False  # use each image twice per minibatch, with noise eps and -eps
    microbatches: int = 1  # parts into which each process splits its shard, to save memory
    optimizer: Optimizer = "adam"  # muon: Muon for the LSTM weights, AdamW for the rest
    learning_rate: float = 1e-3  # peak learning rate
    warmup_steps: int = 300  # linear warm-up, at most a quarter of the steps; then cosine decay
    weight_decay: float = 0.0  # decoupled weight decay, applied to matrices only
    clip_norm: float = 5.0  # maximum gradient norm
    ema_decay: float = 0.9995  # EMA decay of the weights; 0 disables the EMA
    eval_every: int = 500  # steps between validations
    eval_images: int = 2_000  # images per validation, always the same ones
    checkpoint_every: int = 500  # steps between checkpoints
    seed: int = 0  # random seed for the initial weights, the order of the images and all noise

    def __post_init__(self) -> None:
        convert_fields(self)
        check_limits(
            "",
            self,
            shift=(0, min(self.model.image_shape[1:]) // 2),
            steps=(1, MAX_COUNT),
            batch_size=(1, 100_000),
            microbatches=(1, self.rows),
            warmup_steps=(0, MAX_COUNT),
            eval_every=(1, MAX_COUNT),
            eval_images=(1, MAX_COUNT),
            checkpoint_every=(1, MAX_COUNT),
            seed=(0, 2**63 - 1),
        )
        if self.antithetic and not isinstance(self.model, DRAWConfig):
            raise ConfigError("antithetic sampling needs latent noise; classifiers have none")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be in (0, 1]")
        if not 0 <= self.weight_decay < 1 / self.learning_rate:
            raise ConfigError(
                f"weight_decay is {self.weight_decay}; it must be at least 0 and less than "
                f"1 / learning_rate, which is {1 / self.learning_rate:g}"
            )
        if not 0 < self.clip_norm < math.inf:
            raise ConfigError(f"clip_norm is {self.clip_norm}; it must be positive and finite")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay is {self.ema_decay}; it must be in [0, 1)")
        if self.data not in data.DATASETS:
            known = ", ".join(data.DATASETS)
            raise ConfigError(f"there is no data set {self.data!r}; the data sets are {known}")

    @property
    def rows(self) -> int:
        """Rows per minibatch: twice the batch size with antithetic sampling."""
        return 2 * self.batch_size if self.antithetic else self.batch_size

    @property
    def has_validation(self) -> bool:
        """Whether the validation images are kept out of training."""
        return self.train_on == "train"

    def to_dict(self) -> dict[str, Any]:
        """Convert the configuration to JSON values, with absolute paths."""
        values = to_dict(self)
        values["data_dir"] = None if self.data_dir is None else str(self.data_dir.absolute())
        if self.start_from is not None and Path(self.start_from).exists():
            values["start_from"] = str(Path(self.start_from).absolute())
        return values

    @classmethod
    def from_dict(cls, values: object, source: str) -> "TrainConfig":
        """Convert JSON values back to a configuration; `source` names them in error messages.

        Raises:
            ConfigError: if a key is unknown or missing, or a value is invalid.
        """
        return from_dict(cls, values, source)

    def load_images(self, split: str, progress: Progress | None = None) -> Images:
        """Load one split of the data set, in the shape that the network takes.

        `mirror` decides whether training images are mirrored at random.

        Raises:
            ConfigError: if `mirror` is "yes" and the images of the data set are random already.
        """
        images = data.load(
            self.data,
            split,
            shape=self.model.image_shape,
            data_dir=self.data_dir,
            progress=progress,
        )
        if split != self.train_on or self.mirror == "no":
            return images
        if self.mirror == "auto":
            reason = unmirrored_reason(images)
            log.info("training images are %s", reason or "flipped left to right at random")
            if reason:
                return images
        if images.transform is not None:
            raise ConfigError(f"the images of {self.data} cannot be mirrored; use --mirror no")
        return replace(images, transform=RandomMirror(images.shape))


def unmirrored_reason(images: Images) -> str | None:
    """Return why images should not be mirrored at random, or None.

    Letters and digits change their meaning. They have few intensities between dark and light.

    >>> unmirrored_reason(data.load("digits5k", "valid"))
    'not mirrored, because they look like line drawings (8% mid-tones)'
    """
    if images.transform is not None:
        return "not mirrored, because they are random already"
    pixels = images.pixels[:: max(1, len(images) // MIRROR_SAMPLE)]
    share = mid_tones(pixels)
    if len(pixels[0]) == 3 or share > MIN_MID_TONES:
        return None
    return f"not mirrored, because they look like line drawings ({share:.0%} mid-tones)"
