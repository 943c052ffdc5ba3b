"""The run folder: configuration, log, checkpoints and weights of one training run."""

import contextlib
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any

from filelock import FileLock, Timeout

from draw.errors import ConfigError, RunError
from draw.storage.files import (
    LOCK,
    dump_json,
    expand_user,
    is_partial,
    is_vacant,
    parse_json,
    read_json,
    read_start,
    write_atomic,
)
from draw.storage.json_config import MAX_EXACT_INT

METRICS = {"elbo": "ELBO", "log_likelihood": "log p(label | x)"}  # objectives in sentences
MAX_CHECKPOINTS = 2
MAX_LOG_BYTES = 1 << 25  # about 7 million steps


class RunFolder:
    """The folder of one training run.

        RUN/run.json                  the training configuration and the digests of the data
        RUN/metrics.jsonl             one line per measurement
        RUN/checkpoints/*.safetensors the last two training states
        RUN/model/                    the EMA weights with the best validation result

    The files are JSON or safetensors; nothing is pickled. All files except the log are written
    atomically: if the process is killed or the disk is full, a file has either its old or its new
    content. Measurements are appended to metrics.jsonl; an incomplete last line is ignored.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = expand_user(path)
        self.config_file = self.path / "run.json"
        self.log_file = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"

    def check_vacant(self) -> None:
        """Check that a new run would overwrite nothing.

        Raises:
            RunError: if the folder is not empty.
        """
        path = self.path
        if self.config_file.exists():
            raise RunError(
                f"{path} already holds a run; resume it with --resume "
                f"--out {shlex.quote(str(path))}, or choose another folder with --out"
            )
        if not is_vacant(path):
            raise RunError(f"{path} exists and is not empty; choose another folder with --out")

    def create(self, config: dict[str, Any], data: dict[str, str]) -> None:
        """Start a run in a new or empty folder.

        Args:
            config: the training configuration as JSON values.
            data: digests of the data and of the initial weights, which a resumed run checks.

        Raises:
            RunError: if the folder is not empty.
        """
        self.check_vacant()
        write_atomic(self.config_file, dump_json({"config": config, "data": data}).encode())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run folder, so that only one process trains in it.

        The folder is created if necessary, and removed again if no run was started in it.

        Raises:
            RunError: if another process holds the lock.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(
                f"another process is training in {self.path}; wait until it ends, or choose "
                f"another folder with --out"
            ) from error
        try:
            yield
        finally:
            if not self.config_file.exists():
                (self.path / LOCK).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # not empty
                    self.path.rmdir()
            lock.release()

    def move_data(self, data_dir: str | None) -> None:
        """Record the current folder of the data, if it differs from the recorded one."""
        content = self.read()
        if content["config"].get("data_dir") != data_dir:
            content["config"]["data_dir"] = data_dir
            write_atomic(self.config_file, dump_json(content).encode())

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open an existing run.

        Raises:
            RunError: if the folder holds no run.
        """
        run = cls(path)
        if not run.config_file.is_file():
            raise RunError(
                f"{path} is not a run folder: it holds no run.json; give the --out folder of a run"
            )
        return run

    def read(self) -> dict[str, Any]:
        """Read run.json, with the keys `config` and `data`.

        Raises:
            RunError: if it is not JSON or has other keys.
        """
        try:
            content = read_json(self.config_file)
        except ConfigError as error:
            raise RunError(str(error)) from error
        keys = sorted(content) if isinstance(content, dict) else None
        if keys != ["config", "data"] or not isinstance(content["data"], dict):
            raise RunError(f"{self.config_file} must have exactly the keys config and data")
        return dict(content)

    def saved_checkpoints(self) -> list[Path]:
        """List the checkpoints, oldest first."""
        return sorted(p for p in self.checkpoints.glob("[0-9]*.safetensors") if p.is_file())

    def last_step(self) -> int:
        """Return the step of the newest checkpoint, or 0 if there is none."""
        steps = [path.stem for path in self.saved_checkpoints() if path.stem.isdecimal()]
        return int(steps[-1]) if steps else 0

    def add_checkpoint(self, step: int, data: bytes) -> None:
        """Write a checkpoint and delete all but the newest two."""
        write_atomic(self.checkpoints / f"{step:09d}.safetensors", data)
        for old in self.saved_checkpoints()[:-MAX_CHECKPOINTS]:
            old.unlink()

    def log(self, record: dict[str, Any]) -> None:
        """Append a measurement to metrics.jsonl; numbers that are not finite become null."""
        with self.log_file.open("a") as file:
            file.write(dump_json(record, indent=None))

    def records(self) -> list[dict[str, Any]]:
        """Read all measurements; skip lines that are incomplete after a crash.

        Raises:
            RunError: if the log cannot be read or is larger than 32 MiB.
        """
        if not self.log_file.is_file():
            return []
        try:
            data = read_start(self.log_file, MAX_LOG_BYTES + 1)
        except OSError as error:
            raise RunError(f"{self.log_file} cannot be read: {error.strerror}") from error
        if len(data) > MAX_LOG_BYTES:
            raise RunError(
                f"{self.log_file} is larger than the limit of {MAX_LOG_BYTES:,} bytes; move it "
                f"elsewhere to start a new log"
            )
        records = []
        for line in data.splitlines():
            with contextlib.suppress(ConfigError):
                record = parse_json(line, "the line")
                if _is_measurement(record):
                    records.append(record)
        return records

    def rewind(self, step: int) -> None:
        """Delete the measurements after a step, and temporary files of killed processes.

        The log is replaced, not rewritten in place, in case it is a link or a pipe.
        """
        for folder in (self.path, self.model, self.checkpoints):  # other commands write elsewhere
            for path in filter(is_partial, list(folder.glob("*"))):
                path.unlink(missing_ok=True)
        kept = [record for record in self.records() if record["step"] <= step]
        lines = [dump_json(record, indent=None) for record in kept]
        write_atomic(self.log_file, "".join(lines).encode())


def saved_validation(
    records: list[dict[str, Any]], metric: str, *, held_out: bool
) -> dict[str, Any] | None:
    """Return the line of the log with the validation of the weights that the run keeps.

    Args:
        records: the lines of metrics.jsonl.
        metric: "elbo" or "log_likelihood".
        held_out: whether the run did not train on the validation images. If so, it keeps the best
            weights, otherwise the last ones.
    """
    key = f"valid_{metric}_nats"
    valid = [r for r in records if r.get(key) is not None and math.isfinite(r[key])]
    if not held_out:
        valid = valid[-1:]
    return max(valid, key=lambda r: selection_score(r[key], r.get("valid_error")), default=None)


def selection_score(nats: float, error: float | None) -> float:
    """Return the score of a validation; a run keeps the weights with the highest score.

    It is the objective, or minus the error of a classifier. The log likelihood of a classifier
    falls when it becomes overconfident in its few mistakes, even while the error rate still falls.
    """
    return nats if error is None else -error


def _is_measurement(record: object) -> bool:
    """Return whether a record maps names to numbers or null and has an integer step."""
    return (
        isinstance(record, dict)
        and type(record.get("step")) is int
        and all(
            type(v) in (float, NoneType) or (type(v) is int and abs(v) <= MAX_EXACT_INT)
            for v in record.values()
        )
    )
