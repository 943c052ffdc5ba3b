"""draw export: export a model to ONNX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from draw.commands import console, options
from draw.export import TOLERANCE, export
from draw.model import DRAW
from draw.zoo import load


@dataclass(frozen=True, kw_only=True)
class Options:
    """Export a model to ONNX, with a short script that generates images without PyTorch.

    The files hold one encoder step and one decoder step. They are written only if ONNX Runtime
    agrees with PyTorch over all glimpses.
    """

    model: options.Model
    onnx: Annotated[Path, options.arg("DIR")]
    """output folder"""


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw export", arguments)
    model = load(args.model, DRAW)
    console.say(f"exporting {args.model} and comparing ONNX Runtime with PyTorch")
    difference = export(model, args.onnx)
    console.say(
        f"exported to {args.onnx}; ONNX Runtime agrees with PyTorch within {difference:.1e} "
        f"(tolerance {TOLERANCE:.0e})"
    )
    return 0
