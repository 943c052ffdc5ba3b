"""Log the events of a training run with TensorBoard or with a user-defined function."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from draw.errors import ConfigError, one_line
from draw.storage.run_folder import RunFolder
from draw.training.loop import Validation
from draw.training.step import StepResult

Events = Iterator[StepResult | Validation]


def write_tensorboard(events: Events, run: RunFolder) -> Events:
    """Pass on the events of a training run, and write each one to RUN/tensorboard."""
    from torch.utils.tensorboard import SummaryWriter

    writer = None
    try:
        for event in events:
            if writer is None:  # a resumed run replaces the steps that it repeats
                folder = str(run.path / "tensorboard")
                writer = SummaryWriter(folder, purge_step=event.step)
            for name, value in event.scalars.items():
                writer.add_scalar(name, value, event.step)
            yield event
    finally:
        if writer is not None:
            writer.close()


def call_with_each(events: Events, log: Callable[[Any], object]) -> Events:
    """Pass on the events of a training run, and call a function with each one."""
    for event in events:
        log(event)
        yield event


def find_function(name: str) -> Callable[[Any], object]:
    """Import the function that MODULE:FUNCTION names, from the current folder or any package.

    Raises:
        ConfigError: if the module cannot be imported or has no such function.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise ConfigError(f"--log is {name}; it must be MODULE:FUNCTION, such as my_log:log")
    sys.path.insert(0, str(Path.cwd()))  # as `python` does for a script; it may import more later
    try:
        module = import_module(module_name)
    except Exception as error:
        raise ConfigError(f"--log cannot import {module_name}: {one_line(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(f"--log is {name}, but {module_name} has no function {function_name}")
    return function  # type: ignore[no-any-return]
