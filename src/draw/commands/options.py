"""Options that several commands share, their checks, and the loading of models and images."""

from pathlib import Path
from typing import Annotated, Any

import tyro
from torch import Tensor

from draw import data, zoo
from draw.commands.console import prepare_device, progress_bar, reporter
from draw.data import Images
from draw.errors import ConfigError
from draw.kernels import Engine
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.state import read_config
from draw.zoo import Network, load

SEEDS = 0, 2**63 - 1  # smallest and largest
MAX_IMAGES = 1_024  # images in one picture


def arg(metavar: str | None = None, help: str | None = None, default: str = "") -> Any:
    """Describe an option; `default` describes the default in words."""
    hint = f"(default: {default})" if default else ""
    return tyro.conf.arg(metavar=metavar, help=help, help_behavior_hint=hint)


MODEL_HELP = "a bundled model (by name), run folder, saved model folder or Hugging Face Hub id"
Model = Annotated[tyro.conf.Positional[str], arg("MODEL", MODEL_HELP)]
OptionalModel = Annotated[tyro.conf.Positional[str | None], arg("[MODEL]", MODEL_HELP)]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff, arg()]
File = Annotated[Path | None, arg("FILE")]
Data = Annotated[str | None, arg("NAME", default="the data set the model was trained on")]
DataDir = Annotated[Path | None, arg("DIR", "folder in which to look for the data set first")]
OutDir = Annotated[Path, tyro.conf.arg(metavar="DIR", help="output folder")]
Device = Annotated[
    str, tyro.conf.arg(help="cpu, cuda, cuda:1, ...; auto selects a GPU if available")
]
EngineChoice = Annotated[
    Engine,
    tyro.conf.arg(
        help="plain: readable PyTorch; fused: fast C++ or Triton kernels; auto: fused if it "
        "supports the model and the machine, otherwise plain"
    ),
]


def check_image_files(paths: tuple[Path, ...], usage: str) -> None:
    """Check that a command names at least one image, and not too many for one picture."""
    if not 1 <= len(paths) <= MAX_IMAGES:
        raise ConfigError(f"pass 1 to {MAX_IMAGES:,} images, not {len(paths):,}: {usage}")


def load_trained(
    name: str, device: str, engine: Engine, kind: type[Network] | None = None
) -> tuple[Any, TrainConfig | None]:
    """Load a model and, for a run folder or a bundled model, its training configuration."""
    run = RunFolder(zoo.find(name))
    model = load(name, kind).to(prepare_device(device))
    model.engine = engine
    return model, read_config(run) if run.config_file.is_file() else None


def load_images(
    model: Network,
    config: TrainConfig | None,
    name: str | None,
    data_dir: Path | None,
    split: str,
    fetch: bool = True,
) -> tuple[str, Images]:
    """Load one split of a data set, by default the one that the model was trained on.

    Returns:
        The name of the data set, and the images.
    """
    if config is not None and name in (None, config.data):
        name = config.data
        data_dir = data_dir or config.data_dir
        split = config.train_on if split == "train" else split
    if name is None:
        raise ConfigError(
            "this model does not record its training data; name a data set with --data, and for "
            "'folder' also your images with --data-dir"
        )
    with progress_bar() as bar:
        images = data.load(
            name,
            split,
            shape=model.config.image_shape,
            data_dir=data_dir,
            progress=reporter(bar),
            fetch=fetch,
        )
    return name, images


def background_warning(image: Tensor) -> str | None:
    """Return a warning if an image [C, H, W] in [0, 1] looks like dark ink on white paper.

    >>> import torch
    >>> background_warning(torch.zeros(1, 28, 28)) is None
    True
    """
    if image.mean() < 0.6:
        return None
    return "mostly white, but the model expects light digits on black; invert the image"
