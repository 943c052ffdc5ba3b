"""draw figure: draw the figures of the paper, by number."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import matplotlib.cbook
import tyro
from torch import Tensor

from draw import data, figures, zoo
from draw.classifier import GlimpseClassifier
from draw.commands import console, options, render
from draw.errors import ConfigError, check_limits
from draw.model import DRAW
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.state import read_config
from draw.zoo import Network

GLIMPSE_ROWS = 8  # images in figure 5
EXAMPLE_DIGIT = 20  # index of a three among the validation images of digits5k


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw a figure from the paper.

    Figures 3 and 4 show attention on an image and need no model, figure 11 needs a run folder, and
    the others need a model. `draw figure list` describes them.
    """

    name: Annotated[tyro.conf.Positional[str], options.arg("NAME")]
    """figure number (1, or 3 to 12), `all` for every figure that MODEL supports, or `list`"""
    model: options.OptionalModel = None
    image: Annotated[options.File, options.arg(default="a digit for 3, a portrait for 4")] = None
    """image for figures 3 and 4"""
    out: Annotated[Path | None, options.arg("PATH", default="out/figure-NAME.png")] = None
    """output file (.png, .pdf or .svg); with `all`, the output folder"""
    data: options.Data = None
    """data set for figures 5, 6, 9 and 12"""
    data_dir: options.DataDir = None
    seed: int = 0
    """random seed for the samples and the choice of images"""
    device: options.Device = "auto"

    def __post_init__(self) -> None:
        check_limits("--", self, seed=options.SEEDS)
        if self.name not in (*FIGURES, "all", "list"):
            raise ConfigError(f"there is no figure {self.name!r}; see draw figure list")
        if self.name in ("3", "4") and self.model is not None:
            raise ConfigError(
                f"figure {self.name} takes no model: draw figure {self.name} [--image FILE]"
            )

    def require_model(self) -> str:
        """Return MODEL, or raise a ConfigError if it was not given."""
        if self.model is None:
            raise ConfigError(f"figure {self.name} needs a model: draw figure {self.name} MODEL")
        return self.model

    def load(self, kind: type[Network] | None = None) -> tuple[Any, TrainConfig | None]:
        """Load the model; see `options.load_trained`."""
        return options.load_trained(self.require_model(), self.device, "auto", kind)

    def run(self) -> RunFolder:
        """Return the run folder of the model."""
        return RunFolder(zoo.find(self.require_model()))

    def training_config(self) -> TrainConfig | None:
        """Return the training configuration, if it is known, without loading the model."""
        run = self.run()
        return read_config(run) if run.config_file.is_file() else None


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw figure", arguments)
    if args.name == "list":
        for name, figure in FIGURES.items():
            console.say(f"{name:<4}{figure.title}")
        return 0
    paths = {args.name: args.out or Path("out") / f"figure-{args.name}.png"}
    if args.name == "all":
        folder = args.out or Path("out")
        paths = {name: folder / f"figure-{name}.png" for name in _available(args)}
    for name, path in paths.items():
        figure = FIGURES[name]
        figures.check_picture(path)
        config = args.training_config() if args.name == name and figure.data else None
        if config is not None and config.data != figure.data:
            raise ConfigError(
                f"figure {name} needs a model trained on {figure.data}, and {args.model} was "
                f"trained on {config.data}; see draw figure list"
            )
        figure.draw(args, path)
        console.say(str(path))
    return 0


def _available(args: Options) -> list[str]:
    """List the figures that the model supports."""
    if args.model is None:
        return ["3", "4"]
    model, config = args.load()
    of_data = [name for name, f in FIGURES.items() if config and f.data == config.data]
    if isinstance(model, GlimpseClassifier):
        of_data = ["5"]
    elif not of_data:
        of_data = ["6", "7" if model.config.write_size is None else "1"]
    return ["3", "4", *of_data, *(["11"] if args.run().records() else [])]


def _stages(args: Options, path: Path, *, has_attention: bool) -> None:
    model, _ = args.load(DRAW)
    if has_attention != (model.config.write_size is not None):
        how, other = ("with", "7") if has_attention else ("without", "1")
        raise ConfigError(
            f"figure {args.name} needs a model {how} write attention; try figure {other}"
        )
    render.stages(model, path, seed=args.seed)


def _curves(args: Options, path: Path) -> None:
    config, run = args.training_config(), args.run()
    records = run.records()
    if config is not None and not records and run.path.parent != zoo.BUNDLED:
        raise ConfigError(
            f"{args.model} has no measurements yet; train further with "
            f"draw train --resume --out {shlex.quote(str(run.path))}"
        )
    if config is None or not records:
        raise ConfigError(
            f"figure 11 needs a training log, and {args.model} has none; name a run folder"
        )
    figures.save_picture(
        path,
        figures.curves(records, config.model.metric, held_out=config.has_validation),
    )


def _neighbours(args: Options, path: Path) -> None:
    model, config = args.load(DRAW)
    _, images = options.load_images(model, config, args.data, args.data_dir, "train")
    render.neighbours(model, path, images.reference_pixels(), seed=args.seed)


def _glimpses(args: Options, path: Path) -> None:
    model, config = args.load(GlimpseClassifier)
    _, images = options.load_images(model, config, args.data, args.data_dir, "test")
    shown = images.subset(GLIMPSE_ROWS, args.seed)
    render.glimpses(model, path, shown.first(GLIMPSE_ROWS), labels=shown.labels)


def _patches(args: Options, path: Path) -> None:
    if args.image is None:
        image = data.load("digits5k", "valid").pixels[EXAMPLE_DIGIT] / 255
    else:
        image = _read_image(args.image, (3, 100, 100))
    figures.save_picture(path, figures.patches(image))


def _zoom(args: Options, path: Path) -> None:
    portrait = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    image = _read_image(args.image or Path(portrait), (3, 75, 100))
    figures.save_picture(path, figures.zoom(image))


def _read_image(path: Path, shape: tuple[int, int, int]) -> Tensor:
    return data.load_picture(path, shape)[0] / 255


class PaperFigure(NamedTuple):
    """A figure of the paper."""

    title: str
    draw: Callable[[Options, Path], None]
    data: str | None = None  # data set that the model must be trained on, if a particular one


_attentive = partial(_stages, has_attention=True)
_plain = partial(_stages, has_attention=False)
FIGURES = {
    "1": PaperFigure("samples being drawn, with the write window in orange", _attentive),
    "3": PaperFigure("three attention windows and the patches they read", _patches),
    "4": PaperFigure("a patch that is read and written back", _zoom),
    "5": PaperFigure("the glimpses of a classifier, with wrong predictions in red", _glimpses),
    "6": PaperFigure("samples, and the nearest training images", _neighbours),
    "7": PaperFigure("figure 1 for a model without attention", _plain),
    "8": PaperFigure("figure 1 for two digits", _attentive, data="two-digits"),
    "9": PaperFigure("figure 6 for house numbers (SVHN)", _neighbours, data="svhn"),
    "10": PaperFigure("figure 1 for house numbers (SVHN)", _attentive, data="svhn"),
    "11": PaperFigure("the learning curve of a run", _curves),
    "12": PaperFigure("figure 6 for CIFAR-10", _neighbours, data="cifar10"),
}
