"""draw reconstruct: reconstruct images."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from draw.commands import console, options, render
from draw.commands.inputs import InputOptions
from draw.commands.output import Output
from draw.errors import check_limits
from draw.model import DRAW


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    """Reconstruct images.

    Saves reconstructions.png and reconstructing.gif, a film of the reconstructions being drawn.
    """

    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=Output)
    seed: int = 0
    """random seed for the latent noise"""
    device: options.Device = "auto"
    engine: options.EngineChoice = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits("--", self, seed=options.SEEDS)


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw reconstruct", arguments)
    model, config = options.load_trained(args.model, args.device, args.engine, DRAW)
    x, labels = args.load_images(model, config, render.max_recorded(model.config, 32))
    written = render.reconstruct(
        model, args.output, x, seed=args.seed, name=args.model, labels=labels
    )
    console.say("\n".join(map(str, written)))
    return 0
