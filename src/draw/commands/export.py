"""draw export: a model for runtimes without PyTorch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from draw.commands import console
from draw.export import TOLERANCE, export
from draw.model import DRAW
from draw.zoo import load


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a model's two steps as ONNX, with a short example that paints without PyTorch."""

    model: console.Model
    onnx: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The folder for the files."""


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    options = console.parse(Options, "draw export", arguments)
    difference = export(load(options.model, DRAW), options.onnx)
    console.say(
        f"{options.onnx} holds the model; in ONNX Runtime its outputs over all steps are within "
        f"{difference:.1e} of PyTorch's ({TOLERANCE:.0e} is allowed)"
    )
    return 0
