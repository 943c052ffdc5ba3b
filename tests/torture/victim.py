"""Faults inside a training: what is done to its process before it begins.

The package knows nothing of them: a file is changed under the eyes of Python's audit hooks, and a
write is cut short by the kernel, which ends a process that goes beyond its limit of a file's size.
"""

import math
import os
import random
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from draw.data.binarized_mnist import FILES as BINARIZED_FILES
from draw.data.download import RemoteFile
from draw.training.step import Stepper

MARK = "fault: "  # before what a victim tells of its fault on standard error
CHANGES = ("open", "os.mkdir", "os.remove", "os.rename")


def die_at_a_new_change(root: Path, known: list[str], seed: int) -> None:
    """End before the first change of a folder that is not known, or in the middle of a write.

    Every change is met twice if it opens a file to write it anew or to append: before it, and when
    some of the bytes are written. What is met is told, also where nothing comes to be written.
    """
    rng, met = random.Random(seed), set(known)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python would have it ignored

    def is_new(change: str) -> bool:
        if change in met:
            return False
        met.add(change)
        os.write(2, f"{MARK}{change}\n".encode())
        return True

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or isinstance(arguments[0], int):
            return
        path = Path(os.fsdecode(arguments[0]))
        flags = arguments[2] if event == "open" else os.O_WRONLY
        if not path.is_relative_to(root) or not flags & (os.O_WRONLY | os.O_RDWR):
            return
        if path.exists() == (event == "os.mkdir") and event in ("os.mkdir", "os.remove"):
            return  # nothing will change
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        how = "reopen" if event == "open" and not flags & os.O_CREAT else event
        change = f"{how} {path.relative_to(root)}"
        if is_new(change):
            os.kill(os.getpid(), signal.SIGKILL)
        if event == "open" and flags & os.O_CREAT and is_new(f"{change}, some bytes"):
            before = path.stat().st_size if flags & os.O_APPEND and path.exists() else 0
            large = ".safetensors" in path.name
            limit = before + rng.randrange(1, 10_000 if large else 100)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))

    sys.addaudithook(watch)


def poison(*steps: int) -> None:
    """Make the gradients of these steps NaN, counted from 0."""
    add_gradients = Stepper._add_gradients

    def poisoned(self: Stepper) -> Tensor:
        loss = add_gradients(self)
        if self.state.step in steps:
            for parameter in self.state.model.parameters():
                parameter.grad = torch.full_like(parameter, math.nan)
        return loss

    Stepper._add_gradients = poisoned  # type: ignore[method-assign]


def fetch_from(files: dict[str, RemoteFile]) -> None:
    """Let the static binarised MNIST be these files, by split."""
    BINARIZED_FILES.update(files)
