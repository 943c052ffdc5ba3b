"""The run folder: configuration, log, weights, and checkpoints that resume exactly.

    RUN/run.json                  the configuration of the training, and which data it saw
    RUN/metrics.jsonl             one line a measurement
    RUN/checkpoints/*.safetensors the last two states of the training
    RUN/model/                    the weights that did best on validation, averaged

Everything is JSON or safetensors, written whole or not at all; nothing is pickled.
"""

import contextlib
import json
import math
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from draw.errors import ConfigError, ModelError, RunError, check_limits
from draw.files import (
    EXACT,
    from_dict,
    is_vacant,
    parse_json,
    read_json,
    read_start,
    write_atomic,
)
from draw.optimizer import parameters_of, state_of
from draw.tasks import Network
from draw.weights import read_metadata, read_tensors

KEPT = 2
LARGEST_LOG = 1 << 25  # bytes; of some 7 million steps


@dataclass(kw_only=True)
class Counters:
    """How far a training has come.

    Raises:
        ConfigError: a value is outside its range.
    """

    step: int  # minibatches seen
    best_nats: float  # best validation so far: what the task raises, nats an image
    skipped: int  # steps left out because a gradient was not finite
    skipped_in_row: int

    def __post_init__(self) -> None:
        whole = 0, 10**9
        check_limits("", self, step=whole, skipped=whole, skipped_in_row=whole)


@dataclass(kw_only=True)
class Learner(Counters):
    """All that a training changes; what a checkpoint holds."""

    model: Network
    average: Network  # moving average of the model's weights: what is evaluated and kept
    optimizers: tuple[torch.optim.Optimizer, ...]

    def tensors(self) -> dict[str, Tensor]:
        """Weights, averaged weights and optimiser state under flat names."""
        named = self._weights()
        if self.step > self.skipped:  # else they have none, or nothing but zeros
            for name, parameter in self.model.named_parameters():
                for key, value in self._optimizer_of(parameter).state.get(parameter, {}).items():
                    named[f"optimizer.{name}.{key}"] = value
        return named

    def expected(self) -> dict[str, Tensor]:
        """Tensors with the names, shapes and dtypes of what `tensors` gives after so many steps.

        The optimisers need not have any state yet.
        """
        named = self._weights()
        if self.step > self.skipped:
            for name, parameter in self.model.named_parameters():
                state = state_of(self._optimizer_of(parameter), parameter)
                named |= {f"optimizer.{name}.{key}": value for key, value in state.items()}
        return named

    def _optimizer_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """The one that changes it."""
        return next(o for o in self.optimizers if any(p is parameter for p in parameters_of(o)))

    def _weights(self) -> dict[str, Tensor]:
        named = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        return named | {f"average.{name}": v for name, v in self.average.state_dict().items()}

    def load_tensors(self, named: dict[str, Tensor]) -> None:
        """The inverse of `tensors`; they and the counters must be as `expected` has them."""

        def below(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}

        self.model.load_state_dict(below("model."))
        self.average.load_state_dict(below("average."))
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        for optimizer in self.optimizers:
            ours = parameters_of(optimizer)
            state = {i: below(f"optimizer.{names[p]}.") for i, p in enumerate(ours)}
            groups = optimizer.state_dict()["param_groups"]
            used = {index: values for index, values in state.items() if values}
            optimizer.load_state_dict({"state": used, "param_groups": groups})


class RunFolder:
    """One training on disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "run.json"
        self.log_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"

    def check_vacant(self) -> None:
        """Make sure that a new run would overwrite nothing.

        Raises:
            RunError: the folder holds something already.
        """
        path = self.path
        if self.config_file.exists():
            raise RunError(
                f"{path} holds another run; continue it with --resume "
                f"--out {shlex.quote(str(path))}, or choose another folder with --out"
            )
        if not is_vacant(path):
            raise RunError(f"{path} exists and is not empty; choose another folder with --out")

    def create(self, config: dict[str, Any], data: dict[str, str]) -> None:
        """Start a run in a new or empty folder.

        Args:
            config: the configuration of the training.
            data: what identifies the data, so that a resumed run is known to see the same, and
                the weights that it started from, if any.

        Raises:
            RunError: the folder holds something already.
        """
        self.check_vacant()
        content = json.dumps({"config": config, "data": data}, indent=2) + "\n"
        write_atomic(self.config_file, content.encode())

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Find a run again.

        Raises:
            RunError: there is none.
        """
        run = cls(path)
        if not run.config_file.is_file():
            raise RunError(f"{path} is not a run folder: it holds no run.json")
        return run

    def read(self) -> dict[str, Any]:
        """The content of run.json: `config` and `data`.

        Raises:
            RunError: it is not JSON, or not of a run.
        """
        try:
            content = read_json(self.config_file)
        except ConfigError as error:
            raise RunError(str(error)) from error
        keys = sorted(content) if isinstance(content, dict) else None
        if keys != ["config", "data"] or not isinstance(content["data"], dict):
            raise RunError(f"{self.config_file} must hold the keys config and data alone")
        return dict(content)

    def save(self, learner: Learner) -> None:
        """Write a checkpoint, then forget all but the last two."""
        counters = {field.name: getattr(learner, field.name) for field in fields(Counters)}
        data = safetensors.torch.save(learner.tensors(), metadata={"draw": json.dumps(counters)})
        write_atomic(self.checkpoints / f"{learner.step:09d}.safetensors", data)
        for old in self._saved()[:-KEPT]:
            old.unlink()

    def restore(self, learner: Learner) -> bool:
        """Bring a learner to the newest checkpoint; False if none was made.

        Raises:
            RunError: the checkpoint cannot be read, is corrupt or of another network.
        """
        saved = self._saved()
        if saved:
            path = saved[-1]
            try:
                text = read_metadata(path).get("draw", "")
                counters = from_dict(Counters, parse_json(text, "its state"), "its state")
                for name, value in asdict(counters).items():
                    setattr(learner, name, value)
                learner.load_tensors(read_tensors(path, learner.expected()))
            except (ConfigError, ModelError) as error:
                if isinstance(error.__cause__, OSError):  # it may well be whole
                    raise RunError(str(error)) from error
                raise RunError(
                    f"{path} is not a checkpoint of this run ({error}); delete it to go on from "
                    f"the one before"
                ) from error
        return bool(saved)

    def log(self, record: dict[str, Any]) -> None:
        """Append one measurement to metrics.jsonl, with null for a number that is not finite."""
        written = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        with self.log_file.open("a") as file:
            file.write(json.dumps(written) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All measurements so far; a line that is none, as a kill cut it short, is left out.

        Raises:
            RunError: the log cannot be read, or has more than 32 MiB.
        """
        if not self.log_file.is_file():
            return []
        try:
            data = read_start(self.log_file, LARGEST_LOG + 1)
        except OSError as error:
            raise RunError(f"{self.log_file} cannot be read: {error.strerror}") from error
        if len(data) > LARGEST_LOG:
            raise RunError(
                f"{self.log_file} has more than the {LARGEST_LOG:,} bytes that are read of it; "
                f"move it away, and another is begun"
            )
        records = []
        for line in data.splitlines():
            with contextlib.suppress(ConfigError):
                record = parse_json(line, "the line")
                if _is_measurement(record):
                    records.append(record)
        return records

    def trim_log(self, step: int) -> None:
        """Keep the measurements up to this step; later ones will be made again.

        What lies in the log's place is replaced, so that a pipe or a link is not written to.
        """
        kept = [json.dumps(record) + "\n" for record in self.records() if record["step"] <= step]
        write_atomic(self.log_file, "".join(kept).encode())

    def _saved(self) -> list[Path]:
        return sorted(p for p in self.checkpoints.glob("[0-9]*.safetensors") if p.is_file())


def _is_measurement(record: object) -> bool:
    """Whether it is numbers by name, each one or null, and the step among them."""
    return (
        isinstance(record, dict)
        and type(record.get("step")) is int
        and all(
            type(v) in (float, NoneType) or (type(v) is int and abs(v) <= EXACT)
            for v in record.values()
        )
    )
