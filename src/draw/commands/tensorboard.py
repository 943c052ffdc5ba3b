"""Write the measurements of a training run for TensorBoard."""

from collections.abc import Iterator

from draw.storage.run_folder import RunFolder
from draw.training.loop import Validation
from draw.training.step import StepResult


def log_events(
    events: Iterator[StepResult | Validation], run: RunFolder, metric: str
) -> Iterator[StepResult | Validation]:
    """Pass on the events of a training run, and write each one to RUN/tensorboard."""
    from torch.utils.tensorboard import SummaryWriter

    writer = None
    try:
        for event in events:
            if writer is None:  # a resumed run replaces the steps that it repeats
                folder = str(run.path / "tensorboard")
                writer = SummaryWriter(folder, purge_step=event.step)
            for name, value in _scalars(event, metric).items():
                writer.add_scalar(name, value, event.step)
            yield event
    finally:
        if writer is not None:
            writer.close()


def _scalars(event: StepResult | Validation, metric: str) -> dict[str, float]:
    if isinstance(event, StepResult):
        return {
            f"train/{metric}_nats": event.train_nats,
            "train/gradient_norm": event.gradient_norm,
            "train/learning_rate": event.learning_rate,
        }
    return {f"valid/{metric}_nats": event.result.nats} | {
        f"valid/{name}": value for name, value in event.result.also.items()
    }
