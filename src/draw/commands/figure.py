"""draw figure: the paper's figures, by its numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import matplotlib.cbook
import tyro
from torch import Tensor

from draw import data, figures, zoo
from draw.classifier import GlimpseClassifier
from draw.commands import console, render
from draw.errors import ConfigError
from draw.model import DRAW
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.state import read_config
from draw.zoo import Network

ROWS = 8  # of figure 5
OF_DATA = {"two-digits": ["8"], "svhn": ["9", "10"], "cifar10": ["12"]}
OF_DATA_SET = {number for numbers in OF_DATA.values() for number in numbers}
DIGIT = 20  # a three, among the validation images of digits5k


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw a figure of the paper: 3 and 4 of a picture, 11 of a run, the others of a model."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """1 or 3 to 12, or all (that the model can give), or list (what there is)."""
    model: Annotated[tyro.conf.Positional[str | None], console.MODEL] = None
    image: Path | None = None
    """The picture of figures 3 and 4; a digit and a portrait unless given."""
    out: Path | None = None
    """The file, .png or for figures 3, 4 and 11 also .pdf, out/figure-NAME.png unless given; of
    all, the folder."""
    data: str | None = None
    """The data set of the images in figures 5, 6, 9 and 12; the run's unless given."""
    data_dir: Path | None = None
    """Where to look for it first."""
    seed: int = 0
    """Decides the samples, and which images."""
    device: console.Device = "auto"

    def __post_init__(self) -> None:
        console.check_range(0, 2**63 - 1, seed=self.seed)
        if self.name not in (*FIGURES, "all", "list"):
            raise ConfigError(f"there is no figure {self.name!r}; see draw figure list")
        if self.name in ("3", "4") and self.model is not None:
            raise ConfigError(f"figure {self.name} is of a picture, --image, and of no model")

    def named(self) -> str:
        """MODEL, for a figure that cannot do without."""
        if self.model is None:
            raise ConfigError(f"figure {self.name} needs a model: draw figure {self.name} MODEL")
        return self.model

    def load(self, kind: type[Network] | None = None) -> tuple[Any, TrainConfig | None]:
        """The model, of a kind if one is asked for, and how it was trained if its run tells."""
        return console.load_trained(self.named(), self.device, "auto", kind)


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    options = console.parse(Options, "draw figure", arguments)
    if options.name == "list":
        for name, (title, _) in FIGURES.items():
            console.say(f"{name}   {title}")
        return 0
    paths = {options.name: options.out or Path("out") / f"figure-{options.name}.png"}
    if options.name == "all":
        folder = options.out or Path("out")
        paths = {name: folder / f"figure-{name}.png" for name in _available(options)}
    for name, path in paths.items():
        _, draw = FIGURES[name]
        _check_path(name, path)
        if options.name in OF_DATA_SET:
            _check_data(options)
        draw(options, path)
        console.say(str(path))
    return 0


def _available(options: Options) -> list[str]:
    if options.model is None:
        return ["3", "4"]
    model, config = options.load()
    if isinstance(model, GlimpseClassifier):
        own = ["5"]
    elif config is not None and config.data in OF_DATA:
        own = OF_DATA[config.data]
    else:
        own = ["6", "7" if model.config.write_size is None else "1"]
    return ["3", "4", *own, *(["11"] if _run(options).log_file.is_file() else [])]


def _check_data(options: Options) -> None:
    """Figures of a certain data set are not drawn of another."""
    config = _config(options)
    if config is not None and options.name not in OF_DATA.get(config.data, ()):
        wanted = next(name for name, numbers in OF_DATA.items() if options.name in numbers)
        raise ConfigError(
            f"figure {options.name} is of {wanted}, and {options.model} was trained on "
            f"{config.data}; see draw figure list"
        )


def _run(options: Options) -> RunFolder:
    return RunFolder(zoo.find(options.named()))


def _config(options: Options) -> TrainConfig | None:
    """How the model was trained, if its run folder tells; the model itself is not loaded."""
    run = _run(options)
    return read_config(run) if run.config_file.is_file() else None


def _stages(options: Options, path: Path, *, attentive: bool) -> None:
    model, _ = options.load(DRAW)
    if attentive != (model.config.write_size is not None):
        how, other = ("with", "7") if attentive else ("without", "1")
        raise ConfigError(
            f"figure {options.name} is of a model that writes {how} attention; see figure {other}"
        )
    render.stages(model, path, seed=options.seed)


def _curves(options: Options, path: Path) -> None:
    config, run = _config(options), _run(options)
    if config is None or not run.log_file.is_file():
        raise ConfigError(
            f"figure 11 is drawn from the log of a training, and {options.model} holds none; name "
            f"a run folder"
        )
    figures.save_plot(path, figures.curves(run.records(), config.model.metric))


def _neighbours(options: Options, path: Path) -> None:
    model, config = options.load(DRAW)
    _, images = console.load_images(model, config, options.data, options.data_dir, "train")
    render.neighbours(model, path, images.reference_pixels(), seed=options.seed)


def _glimpses(options: Options, path: Path) -> None:
    model, config = options.load(GlimpseClassifier)
    _, images = console.load_images(model, config, options.data, options.data_dir, "test")
    shown = images.subset(ROWS, options.seed)
    render.glimpses(model, path, shown.first(ROWS), labels=shown.labels)


def _patches(options: Options, path: Path) -> None:
    if options.image is None:
        image = data.load("digits5k", "valid").pixels[DIGIT] / 255
    else:
        image = _picture(options.image, (3, 100, 100))
    figures.save_plot(path, figures.patches(image))


def _zoom(options: Options, path: Path) -> None:
    portrait = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    image = _picture(options.image or Path(portrait), (3, 75, 100))
    figures.save_plot(path, figures.zoom(image))


def _picture(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """A picture in [0, 1]."""
    return data.load_picture(path, shape)[0] / 255


def _check_path(name: str, path: Path) -> None:
    kinds = (".png", ".pdf") if name in PLOTS else (".png",)
    if path.suffix.lower() not in kinds:
        raise ConfigError(f"{path}: the name of figure {name} must end in {' or '.join(kinds)}")


PLOTS = ("3", "4", "11")
FIGURES: dict[str, tuple[str, Callable[[Options, Path], None]]] = {
    "1": (
        "a model's digits being painted, where it writes in red",
        partial(_stages, attentive=True),
    ),
    "3": ("three windows on a picture, and what they read", _patches),
    "4": ("a patch that is read and painted back", _zoom),
    "5": ("where a classifier looks on test images, and what it says, in red if wrong", _glimpses),
    "6": ("a model's samples beside the nearest training images", _neighbours),
    "7": ("as figure 1, of a model without attention", partial(_stages, attentive=False)),
    "8": ("as figure 1, of two digits", partial(_stages, attentive=True)),
    "9": ("as figure 6, of house numbers", _neighbours),
    "10": ("as figure 1, of house numbers", partial(_stages, attentive=True)),
    "11": ("a run's bound on its training and validation images, minibatch by minibatch", _curves),
    "12": ("as figure 6, of CIFAR-10", _neighbours),
}
