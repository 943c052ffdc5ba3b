"""What a training is: the network, the data and how it learns."""

import math
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from draw import data
from draw.checkpoint import RunFolder
from draw.data import Images
from draw.data.download import Progress
from draw.errors import ConfigError, check_limits
from draw.files import from_dict
from draw.model import DRAWConfig
from draw.optimizer import Method
from draw.tasks import NetworkConfig

MANY = 10**9


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training: the network, the data and how it learns.

    Note:
        The paper trains with Adam and says little more. The cosine fall of the learning rate, the
        moving average of the weights, which is what is measured and kept, the clipped gradient and
        the decoupled weight decay (Loshchilov & Hutter 2019) are chosen here, on validation images
        (experiments/study-mnist, where a second training by Muon, Jordan et al. 2024, is told too).

    Raises:
        ConfigError: a value is outside its range.
    """

    model: NetworkConfig = field(default_factory=DRAWConfig)
    data: str = "digits5k"  # a data set's name, see `draw data list`
    data_dir: Path | None = None  # where to look for it first; the pictures of `folder`
    skip_bad: bool = False  # leave out pictures of `folder` that cannot be decoded
    start_from: str | None = None  # a trained model, by name or folder: its weights come first
    steps: int = 10_000  # minibatches in all
    batch_size: int = 64  # images a minibatch
    antithetic: bool = False  # each image twice in its minibatch, with noise and its opposite
    accumulate: int = 1  # parts in which each process takes its share, for the memory's sake
    optimizer: Method = "adam"  # muon: for the weights of the LSTMs; Adam for all else
    learning_rate: float = 1e-3  # at its highest
    warmup_steps: int = 300  # of its rise, a quarter of all at most; then a cosine down to zero
    weight_decay: float = 0.0  # of the matrices: what a step takes off, times the learning rate
    clip_norm: float = 5.0  # gradients are scaled down to this norm
    precision: Literal["fp32", "bf16"] = "fp32"  # of the LSTMs' products; bf16 by the plain path
    average_decay: float = 0.9995  # of the moving average of the weights; 0 turns it off
    eval_every: int = 500  # steps between validations
    eval_images: int = 2_000  # validation images each time, always the same
    checkpoint_every: int = 500  # steps between checkpoints
    seed: int = 0

    def __post_init__(self) -> None:
        check_limits(
            "",
            self,
            steps=(1, MANY),
            batch_size=(1, 100_000),
            accumulate=(1, self.rows),
            warmup_steps=(0, MANY),
            eval_every=(1, MANY),
            eval_images=(1, MANY),
            checkpoint_every=(1, MANY),
            seed=(0, 2**63 - 1),
        )
        if self.antithetic and not isinstance(self.model, DRAWConfig):
            raise ConfigError("antithetic is of noise, and a classifier has none")
        if self.optimizer not in get_args(Method):
            known = " or ".join(get_args(Method))
            raise ConfigError(f"optimizer is {self.optimizer!r}; it must be {known}")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be in (0, 1]")
        if not 0 <= self.weight_decay < 1 / self.learning_rate:
            raise ConfigError(
                f"weight_decay is {self.weight_decay}; it must be at least 0 and less than "
                f"1 / learning_rate, which is {1 / self.learning_rate:g}"
            )
        if not 0 < self.clip_norm < math.inf:
            raise ConfigError(f"clip_norm is {self.clip_norm}; it must be positive and finite")
        if self.precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision is {self.precision!r}; it must be fp32 or bf16")
        if not 0 <= self.average_decay < 1:
            raise ConfigError(f"average_decay is {self.average_decay}; it must be in [0, 1)")
        if self.data not in data.DATASETS:
            known = ", ".join(data.DATASETS)
            raise ConfigError(f"there is no data set {self.data!r}; there are {known}")

    @property
    def rows(self) -> int:
        """Trajectories a minibatch."""
        return 2 * self.batch_size if self.antithetic else self.batch_size

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = asdict(self)
        values["data_dir"] = None if self.data_dir is None else str(self.data_dir.absolute())
        if self.start_from is not None and Path(self.start_from).exists():
            values["start_from"] = str(Path(self.start_from).absolute())  # and not a name
        return values

    @classmethod
    def from_run(cls, run: RunFolder) -> "TrainConfig":
        """The configuration that a run was started with."""
        return from_dict(cls, run.read()["config"], str(run.config_file))

    def check_started(self, run: RunFolder) -> None:
        """Refuse to go on with a run that was started with another configuration.

        Raises:
            ConfigError: it was; what was different is told.
        """
        before, after = TrainConfig.from_run(run).to_dict(), self.to_dict()
        start = after["start_from"]
        if start and str(Path(start).absolute()) == before["start_from"]:
            after["start_from"] = before["start_from"]  # a folder that is there no more
        for values in (before, after):
            values |= {f"model.{key}": value for key, value in values.pop("model").items()}
        changed = [f"{key} was {was}" for key, was in before.items() if after.get(key) != was]
        if changed:
            raise ConfigError(
                f"{run.path} was started with another configuration ({', '.join(changed)}); go on "
                f"with that by draw train --resume --out {shlex.quote(str(run.path))}, or begin "
                f"another run with --out"
            )

    def load_images(self, split: str, progress: Progress | None = None) -> Images:
        """One split of the run's data, in the model's shape."""
        return data.load(
            self.data,
            split,
            shape=self.model.image_shape,
            data_dir=self.data_dir,
            skip_bad=self.skip_bad,
            progress=progress,
        )
