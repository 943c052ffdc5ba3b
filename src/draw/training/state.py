"""The state of a training run: created from a seed, saved in checkpoints and restored from them."""

import copy
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from draw.errors import ConfigError, ModelError, RunError, check_limits
from draw.seeding import derived_seed
from draw.storage.files import dump_json, parse_json
from draw.storage.json_config import from_dict
from draw.storage.run_folder import RunFolder
from draw.storage.tensors import read_metadata, read_tensors
from draw.training.config import TrainConfig
from draw.training.optim import create_optimizers, parameters_of, state_shapes
from draw.zoo import Network


@dataclass(kw_only=True)
class Counters:
    """The counters of a training run, stored as the metadata of a checkpoint.

    Raises:
        ConfigError: if a value is outside its range.
    """

    step: int  # steps so far
    best_score: float | None  # the highest `selection_score` of the validations so far
    skipped: int  # steps without an update because a gradient was not finite
    skipped_in_row: int

    def __post_init__(self) -> None:
        count = 0, 10**9
        check_limits("", self, step=count, skipped=count, skipped_in_row=count)


@dataclass(kw_only=True)
class TrainState(Counters):
    """Weights, optimizer states and counters: everything that a training step changes."""

    model: Network
    ema: Network  # model with the EMA weights, which are evaluated and saved
    optimizers: tuple[torch.optim.Optimizer, ...]

    @classmethod
    def create(cls, config: TrainConfig, device: torch.device | str = "cpu") -> "TrainState":
        """Create the initial state, which depends only on the configuration and its seed."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derived_seed(config.seed, "weights"))
            model = config.model.build().to(device)
        return cls(
            step=0,
            best_score=None,
            skipped=0,
            skipped_in_row=0,
            model=model,
            ema=copy.deepcopy(model).requires_grad_(False).eval(),
            optimizers=create_optimizers(
                model,
                config.optimizer,
                config.learning_rate,
                config.weight_decay,
                on_device=model.device.type == "cuda",
            ),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, the EMA and the optimizer state under flat names."""
        named = self._weights()
        if self.step > self.skipped:  # before, the state is empty or zero
            for name, parameter in self.model.named_parameters():
                for optimizer in self.optimizers:
                    for key, value in optimizer.state.get(parameter, {}).items():
                        named[f"optimizer.{name}.{key}"] = value
        return named

    def expected_tensors(self) -> dict[str, Tensor]:
        """Return tensors with the names, shapes and dtypes that `tensors` has at this step."""
        named = self._weights()
        if self.step > self.skipped:
            names = {parameter: name for name, parameter in self.model.named_parameters()}
            for optimizer in self.optimizers:
                shapes = state_shapes(optimizer)
                for parameter in parameters_of(optimizer):
                    for key, is_scalar in shapes.items():
                        value = torch.empty(()) if is_scalar else parameter
                        named[f"optimizer.{names[parameter]}.{key}"] = value
        return named

    def load_tensors(self, named: dict[str, Tensor]) -> None:
        """Load tensors that have the names and shapes of `expected_tensors`."""

        def below(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}

        self.model.load_state_dict(below("model."))
        self.ema.load_state_dict(below("ema."))
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        for optimizer in self.optimizers:
            own = parameters_of(optimizer)
            state = {i: below(f"optimizer.{names[p]}.") for i, p in enumerate(own)}
            groups = optimizer.state_dict()["param_groups"]
            present = {index: values for index, values in state.items() if values}
            optimizer.load_state_dict({"state": present, "param_groups": groups})

    def _weights(self) -> dict[str, Tensor]:
        named = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        return named | {f"ema.{name}": value for name, value in self.ema.state_dict().items()}


def save_checkpoint(run: RunFolder, state: TrainState) -> None:
    """Write a checkpoint and delete all but the newest two."""
    counters = {field.name: getattr(state, field.name) for field in fields(Counters)}
    data = safetensors.torch.save(
        state.tensors(), metadata={"draw": dump_json(counters, indent=None)}
    )
    run.add_checkpoint(state.step, data)


def restore_checkpoint(run: RunFolder, state: TrainState) -> bool:
    """Load the newest checkpoint into a state; return False if there is none.

    Raises:
        RunError: if the checkpoint cannot be read, is corrupt or belongs to a different network.
    """
    checkpoints = run.saved_checkpoints()
    if checkpoints:
        path = checkpoints[-1]
        try:
            metadata = read_metadata(path).get("draw", "")
            progress = from_dict(Counters, parse_json(metadata, "its state"), "its state")
            for name, value in asdict(progress).items():
                setattr(state, name, value)
            state.load_tensors(read_tensors(path, state.expected_tensors()))
        except (ConfigError, ModelError) as error:
            if isinstance(error.__cause__, OSError):  # the file itself may be intact
                raise RunError(str(error)) from error
            raise RunError(
                f"{path} is not a checkpoint of this run ({error}); delete it to resume from "
                f"the previous one"
            ) from error
    return bool(checkpoints)


def read_config(run: RunFolder) -> TrainConfig:
    """Read the configuration that a run was started with.

    Raises:
        RunError, ConfigError: if run.json is damaged or holds an invalid configuration.
    """
    return TrainConfig.from_dict(run.read()["config"], str(run.config_file))


def check_same_config(run: RunFolder, config: TrainConfig) -> None:
    """Check that a run was started with this configuration.

    The folder of the data may differ; `check_same_data` compares the digests of the data.

    Raises:
        ConfigError: if the run was started with a different configuration; lists the differences.
    """
    before, after = read_config(run).to_dict(), config.to_dict()
    if config.start_from and str(Path(config.start_from).absolute()) == before["start_from"]:
        after["start_from"] = before["start_from"]  # the folder may no longer exist
    for values in (before, after):
        del values["data_dir"]
        values |= {f"model.{key}": value for key, value in values.pop("model").items()}
    changed = [f"{key} was {value}" for key, value in before.items() if after.get(key) != value]
    if changed:
        raise ConfigError(
            f"{run.path} was started with a different configuration ({', '.join(changed)}); resume "
            f"it unchanged with draw train --resume --out {shlex.quote(str(run.path))}, or start a "
            f"new run with --out"
        )


def check_same_data(run: RunFolder, digests: dict[str, str]) -> None:
    """Check that a run was started on the same data.

    Raises:
        RunError: if a digest differs.
    """
    before = run.read()["data"]
    changed = [name for name, value in digests.items() if before.get(name) != value]
    if changed:
        start = f"; --start-from {shlex.quote(str(run.path))} continues from its weights"
        raise RunError(
            f"{run.path} was started on different data ({', '.join(changed)} changed) and cannot "
            f"be resumed exactly; start a new run with --out{start if run.model.is_dir() else ''}"
        )
