"""What a training measures, for TensorBoard."""

from collections.abc import Iterator

from draw.errors import ConfigError
from draw.storage.run_folder import RunFolder
from draw.training.loop import Validation
from draw.training.step import Step


def check_installed() -> None:
    """Refuse to go on without TensorBoard.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError("--tensorboard needs: pip install 'draw[tensorboard]'") from error


def written(
    events: Iterator[Step | Validation], run: RunFolder, goal: str
) -> Iterator[Step | Validation]:
    """The same events, written for TensorBoard on their way."""
    from torch.utils.tensorboard import SummaryWriter

    writer = None
    try:
        for event in events:
            if writer is None:  # what a resumed run measures again replaces what it measured
                folder = str(run.path / "tensorboard")
                writer = SummaryWriter(folder, purge_step=event.step)
            for name, value in _scalars(event, goal).items():
                writer.add_scalar(name, value, event.step)
            yield event
    finally:
        if writer is not None:
            writer.close()


def _scalars(event: Step | Validation, goal: str) -> dict[str, float]:
    if isinstance(event, Step):
        return {
            f"train/{goal}_nats": event.train_nats,
            "train/gradient_norm": event.gradient_norm,
            "train/learning_rate": event.learning_rate,
        }
    return {f"valid/{goal}_nats": event.result.nats} | {
        f"valid/{name}": value for name, value in event.result.also.items()
    }
