"""The training configuration: network, data and optimisation."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from draw import data
from draw.classifier import ClassifierConfig
from draw.data import Images
from draw.data.download import Progress
from draw.errors import ConfigError, check_limits
from draw.model import DRAWConfig
from draw.storage.json_config import convert_fields, from_dict, to_dict

NetworkConfig = DRAWConfig | ClassifierConfig
Optimizer = Literal["adam", "muon"]
MAX_COUNT = 10**9


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
    data: str = "digits5k"  # name of a data set, see `draw data list`
    # folder to search for data first; for the data set `folder`, the folder of your images
    data_dir: Path | None = None
    start_from: str | None = None  # trained model (name or folder) whose weights initialise the run
    steps: int = 10_000  # total optimizer steps
    batch_size: int = 64  # images per minibatch
    antithetic: bool = False  # use each image twice per minibatch, with noise eps and -eps
    microbatches: int = 1  # parts that each process splits its minibatch into, to save memory
    optimizer: Optimizer = "adam"  # muon: Muon for the LSTM weights, AdamW for the rest
    learning_rate: float = 1e-3  # peak learning rate
    warmup_steps: int = 300  # linear warm-up (at most a quarter of training), then cosine decay
    weight_decay: float = 0.0  # decoupled weight decay, applied to matrices only
    clip_norm: float = 5.0  # maximum gradient norm
    ema_decay: float = 0.9995  # EMA decay of the weights; 0 disables the EMA
    eval_every: int = 500  # steps between validations
    eval_images: int = 2_000  # validation images, the same ones each time
    checkpoint_every: int = 500  # steps between checkpoints
    seed: int = 0  # random seed for the initial weights, the order of the images and all noise

    def __post_init__(self) -> None:
        convert_fields(self)
        check_limits(
            "",
            self,
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

    def to_dict(self) -> dict[str, Any]:
        """Convert the configuration to JSON values, with absolute paths."""
        values = to_dict(self)
        values["data_dir"] = None if self.data_dir is None else str(self.data_dir.absolute())
        if self.start_from is not None and Path(self.start_from).exists():
            values["start_from"] = str(Path(self.start_from).absolute())
        return values

    @classmethod
    def from_dict(cls, values: object, source: str) -> "TrainConfig":
        """Convert JSON values back to a configuration.

        Args:
            values: the JSON values.
            source: where the values come from, for error messages.

        Raises:
            ConfigError: if a key is unknown or missing, or a value is invalid.
        """
        return from_dict(cls, values, source)

    def load_images(self, split: str, progress: Progress | None = None) -> Images:
        """Load one split of the data set, in the shape that the network takes."""
        return data.load(
            self.data,
            split,
            shape=self.model.image_shape,
            data_dir=self.data_dir,
            progress=progress,
        )
