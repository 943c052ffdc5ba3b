"""draw evaluate: a model's bound on log p(x), or its errors."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from draw.classifier import GlimpseClassifier
from draw.commands import console, report
from draw.data import Images
from draw.distributed import World, is_main, process_group
from draw.errors import ConfigError
from draw.evaluation import Classification, Evaluation, classify, evaluate
from draw.zoo import Network


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure a model's bound on log p(x), in nats an image, or a classifier's errors."""

    model: console.Model
    data: str | None = None
    """A data set's name; the one that the model was trained on unless given."""
    data_dir: Path | None = None
    """Where to look for it first."""
    split: Literal["test", "valid", "train"] = "test"
    """Which part of it."""
    samples: int = 1
    """Trajectories an image over which the ELBO is averaged."""
    importance_samples: tuple[int, ...] = ()
    """k of the importance-weighted bound, or several: 1 10 100."""
    images: int | None = None
    """Only so many images, chosen at random by the seed."""
    seed: int = 0
    """Decides the noise, the binarisation and the choice of images."""
    out: Path | None = None
    """A folder that keeps the bounds of each image; called again, a stopped evaluation goes on."""
    device: console.Device = "auto"
    engine: console.EngineChoice = "auto"
    json: bool = False
    """Print one JSON object instead of a table."""

    def __post_init__(self) -> None:
        console.check_range(1, 10**9, samples=self.samples, images=self.images)
        for k in self.importance_samples:
            console.check_range(1, 10**9, importance_samples=k)
        console.check_range(0, 2**63 - 1, seed=self.seed)


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    options = console.parse(Options, "draw evaluate", arguments)
    measured = measure(options)
    if not is_main():
        return 0
    if options.json:
        print(json.dumps(measured, indent=2))
    else:
        table = _errors if "errors" in measured else _table
        console.console().print(table(measured))
    return 0


def measure(options: Options) -> dict[str, Any]:
    """What the command measures, as plain values: an `Evaluation`, and of what it is."""
    model, config = console.load_trained(options.model, options.device, options.engine)
    with process_group(model.device) as world:
        with world.local_main_first():
            name, split = console.load_images(
                model, config, options.data, options.data_dir, options.split
            )
        images = split if options.images is None else split.subset(options.images, options.seed)
        with console.progress_bar() as bar:
            progress = partial(console.reporter(bar), "evaluating")
            result = _result(options, model, images, progress, world)
    about = {
        "model": options.model,
        "data": name,
        "split": options.split,
        "binarisation": images.binarisation,
        "seed": options.seed,
        "images_in_split": len(split),
    }
    return about | asdict(result)


def _result(
    options: Options,
    model: Network,
    images: Images,
    progress: Callable[[int, int], None],
    world: World,
) -> Evaluation | Classification:
    if isinstance(model, GlimpseClassifier):
        if options.samples > 1 or options.importance_samples or options.out:
            raise ConfigError(
                f"{options.model} classifies pictures: it has no bound to measure with --samples "
                f"or --importance-samples, or to keep with --out"
            )
        return classify(model, images, seed=options.seed, progress=progress, world=world)
    return evaluate(
        model,
        images,
        samples=options.samples,
        importance_samples=options.importance_samples,
        seed=options.seed,
        progress=progress,
        world=world,
        out=options.out,
    )


def _errors(measured: dict[str, Any]) -> Table:
    table = Table(title=report.subject(measured), title_justify="left", show_header=False)
    for name, value in report.values(measured):
        table.add_row(name, value)
    return table


def _table(measured: dict[str, Any]) -> Table:
    table = Table(title=report.subject(measured), title_justify="left")
    table.add_column("bound on log p(x)")
    table.add_column("nats an image", justify="right")
    table.add_column("standard error", justify="right")
    for bound in report.bounds(measured):
        error = "" if bound.stderr is None else f"{bound.stderr:.2f}"
        table.add_row(bound.name, f"{bound.nats:.2f}", error)
    table.add_row("of the ELBO: log likelihood", f"{measured['log_likelihood_nats']:.2f}", "")
    table.add_row("of the ELBO: minus KL", f"{-measured['kl_nats']:.2f}", "")
    if measured["bits_per_dim"] is not None:
        table.caption = f"the ELBO is {measured['bits_per_dim']:.4f} bits a dimension"
    return table
