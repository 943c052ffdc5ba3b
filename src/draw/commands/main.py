"""The command `draw`: finds the command, turns errors into one line and an exit status.

Each command is a module of `draw.commands`, imported only when it is called, as torch takes a
second or two to import and `draw --help` should answer at once.
"""

import logging
import os
import sys
from importlib import import_module

from draw import __version__
from draw.errors import ConfigError, DrawError, is_out_of_memory

HELP = """\
draw: a recurrent neural network that paints an image step by step (Gregor et al. 2015)

  draw train [PRESET] [--data NAME] [--out RUN] [--resume]   train a model (default: quick)
  draw evaluate MODEL [--split test] [--json]                its bound on log p(x), or its errors
  draw sample MODEL [--count 64] [--seed S] [--film FILE]    paint new images: a picture, a film
  draw reconstruct MODEL [IMAGES...] [--film FILE]           repaint pictures: a picture, a film
  draw classify MODEL IMAGES... [--film FILE]                say what is on pictures of yours
  draw figure NAME [MODEL] | draw figure list                the paper's figures
  draw page [MODEL] [--export DIR]                           watch it paint, in the browser
  draw export MODEL --onnx DIR                               the two steps, for other runtimes
  draw models                                                the trained models at hand
  draw data list | draw data fetch NAME                      the data sets

PRESET is quick, mnist, mnist-no-attention, two-digits, cluttered-100, cluttered-100-4,
cluttered-60, svhn, cifar10 or folder (your own pictures: --data-dir DIR).
MODEL is a trained model's name, a run folder, a saved model's folder or a Hugging Face hub id.
Every command tells all its options with --help."""

COMMANDS = (
    *("train", "evaluate", "sample", "reconstruct", "classify", "figure", "page", "export"),
    *("models", "data"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; the exit status is 2 after an error that the user can mend."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except DrawError as error:
        return _fail(str(error))
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder without permission
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
        print(HELP)
        return 0
    if arguments[0] == "--version":
        print(f"draw {__version__}")
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        raise ConfigError(f"there is no command {command!r}; see draw --help")
    _show_log()
    status: int = import_module(f"draw.commands.{command}").main(rest)
    return status


class _LogLines(logging.Handler):
    """What the library logs, as plain lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"draw: {record.getMessage()}", file=sys.stderr)


def _show_log() -> None:
    log = logging.getLogger("draw")
    log.handlers = [_LogLines()]
    log.setLevel(logging.INFO)


def _fail(message: str) -> int:
    print(f"draw: {' '.join(message.split())}", file=sys.stderr)
    return 2
