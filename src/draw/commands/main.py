"""The `draw` command: run a subcommand, and turn errors into one line and an exit status.

Each subcommand is a module of `draw.commands` that is imported only when it is called: importing
torch takes a second or two, and `draw --help` should respond immediately.
"""

import difflib
import io
import logging
import os
import sys
from importlib import import_module
from pathlib import Path

from draw import __version__
from draw.errors import ConfigError, DrawError, is_out_of_memory
from draw.storage.files import cache_dir

COMMANDS = {
    "train": "Train a model from a preset.",
    "evaluate": "Evaluate bounds on log p(x), or the error of a classifier.",
    "sample": "Generate images, with a film of how they are drawn.",
    "reconstruct": "Reconstruct images, with a film of how they are drawn.",
    "complete": "Fill in the unknown pixels of images.",
    "classify": "Classify images, and show where the model looks.",
    "figure": "Draw the paper's figures.",
    "page": "Explore models in the browser.",
    "export": "Export a model to ONNX.",
    "models": "List the bundled models and their results.",
    "data": "List or download data sets.",
    "doctor": "Describe the installation, for bug reports.",
}

HELP = """\
DRAW: a recurrent neural network for image generation (Gregor et al. 2015)

usage: draw COMMAND [OPTIONS]

Commands:
{commands}

Options:
  -h, --help    Show this help.
  --version     Show the version.

Examples:
  draw train                          Train a small model on 4,000 bundled digits.
  draw sample mnist --count 16        Generate digits with a bundled model.
  draw reconstruct quick              Reconstruct validation images.
  draw evaluate mnist --split valid   Evaluate the ELBO on validation images.
  draw page                           Watch the bundled models draw, in the browser.

MODEL is the name of a bundled model, a run folder, a saved model folder or a Hugging Face Hub id.
PRESET is quick, mnist, mnist-no-attention, omniglot, two-digits, cluttered-100,
cluttered-100-4, cluttered-60, svhn, cifar10 or folder (your own images).

Run `draw COMMAND --help` for the options of a command."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command line and return the exit status: 2 after an error that the user can fix."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _prepare_process()
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except DrawError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of our output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # for example a full disk
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}")
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail("out of memory; try a smaller --batch-size, --count or model")
    except KeyboardInterrupt:
        return 130


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<13} {text}" for name, text in COMMANDS.items())
        print(HELP.format(commands=commands))
        return 0
    if arguments[0] == "--version":
        print(f"draw {__version__}")
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        similar = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {similar[0]}? " if similar else ""
        raise ConfigError(f"there is no command {command!r} ({hint}see draw --help)")
    _log_to_stderr()
    _prepare_threads()
    _prepare_matplotlib()
    status: int = import_module(f"draw.commands.{command}").main(rest)
    return status


def _prepare_process() -> None:
    """Make output independent of the environment."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):  # escape what the encoding lacks
            stream.reconfigure(errors="backslashreplace")


def _prepare_threads() -> None:
    """Let threads that wait for others sleep soon, before torch is imported.

    By default, they occupy their cores, and on a machine with other jobs a step of training takes
    many times as long. On an idle machine, the difference is not measurable.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _prepare_matplotlib() -> None:
    os.environ["MPLBACKEND"] = "agg"  # notebooks name backends that may not be installed here
    if os.path.expanduser("~") == "~":  # noqa: PTH111  # before 3.11 it needs a home folder
        os.environ.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))


def _log_to_stderr() -> None:
    """Print log messages of the library on standard error, like errors."""
    log, handler = logging.getLogger("draw"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("draw: %(message)s"))
    log.handlers = [handler]
    log.setLevel(logging.INFO)


def _fail(message: str) -> int:
    print(f"draw: {' '.join(message.split())}", file=sys.stderr)
    return 2
