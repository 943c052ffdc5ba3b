"""draw complete: fill in the unknown pixels of images."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

from draw.commands import console, options, render
from draw.commands.inputs import InputOptions
from draw.commands.output import Output
from draw.data import load_picture
from draw.errors import ConfigError, check_limits
from draw.model import DRAW

DEFAULT_IMAGES = 8
Part = Literal["left", "right", "top", "bottom", "ink"]


@dataclass(frozen=True, kw_only=True)
class Options(InputOptions):
    """Fill in the unknown pixels of images, like the Finish view of the page.

    Saves completions.png and completing.gif, a film of the completions being drawn. Known pixels
    stay as they are, and unknown ones are checkered.
    """

    count: Annotated[
        int | None, options.arg("INT", default="8, or fewer if they need too much memory")
    ] = None
    """number of validation images"""
    keep: Part = "left"
    """known part: half of the image, or only its bright pixels (ink), as on the page"""
    mask: options.File = None
    """image file that is white where pixels are known, instead of --keep"""
    completions: int = 8
    """completions per image"""
    rounds: int = 30
    """rounds of encoding an image and sampling its unknown pixels"""
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=Output)
    seed: int = 0
    """random seed for the completions"""
    device: options.Device = "auto"
    engine: options.EngineChoice = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        limits = {"completions": (1, options.MAX_IMAGES), "rounds": (1, 1_000)}
        check_limits("--", self, seed=options.SEEDS, **limits)
        if self.mask is not None and self.keep != "left":
            raise ConfigError("--keep and --mask both select the known pixels; use one of them")

    def known(self, x: Tensor) -> Tensor:
        """Return the mask of the known pixels of images [n, C, H, W]; it broadcasts to x."""
        _, _, H, W = x.shape
        if self.mask is not None:
            pixels, conversion = load_picture(self.mask, (1, H, W))
            if conversion:
                console.say(f"{self.mask}: {conversion}")
            return pixels > 127
        match self.keep:
            case "right":
                return torch.arange(W) >= W // 2
            case "top":
                return torch.arange(H)[:, None] < H // 2
            case "bottom":
                return torch.arange(H)[:, None] >= H // 2
            case "ink":
                return x.mean(1, keepdim=True) > 0.5
            case "left":
                return torch.arange(W) < W // 2


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw complete", arguments)
    model, config = options.load_trained(args.model, args.device, args.engine, DRAW)
    fits = render.max_recorded(model.config, DEFAULT_IMAGES * args.completions)
    x, labels = args.load_images(model, config, max(1, fits // args.completions))
    if len(x) * args.completions > options.MAX_IMAGES:
        raise ConfigError(
            f"{len(x)} images with {args.completions} completions each are too many; one picture "
            f"shows at most {options.MAX_IMAGES:,}: reduce --count or --completions"
        )
    written = render.complete(
        *(model, args.output, x, args.known(x)),
        completions=args.completions,
        rounds=args.rounds,
        seed=args.seed,
        name=args.model,
        labels=labels,
        originals=not args.images,
    )
    console.say("\n".join(map(str, written)))
    return 0
