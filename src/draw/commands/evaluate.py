"""draw evaluate: bounds on log p(x), or the error of a classifier."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.console import Console
from rich.table import Table

from draw.commands import console, options, report
from draw.distributed import is_main, process_group
from draw.errors import ConfigError, check_limits
from draw.evaluation import Classification, Evaluation, classify, evaluate
from draw.model import DRAW
from draw.storage.files import dump_json

MAX_COUNT = 10**9


@dataclass(frozen=True, kw_only=True)
class Options:
    """Evaluate bounds on log p(x) in nats per image, or the error of a classifier."""

    model: options.Model
    data: options.Data = None
    """data set"""
    data_dir: options.DataDir = None
    split: Literal["test", "valid", "train"] = "test"
    """part of the data set"""
    samples: int = 1
    """latent samples per image over which the ELBO is averaged"""
    importance_samples: Annotated[tuple[int, ...], options.arg("K [K ...]")] = ()
    """also evaluate the IWAE bound with K importance samples, for each K"""
    images: Annotated[int | None, options.arg("INT", default="all")] = None
    """evaluate only this many images, chosen at random"""
    seed: int = 0
    """random seed for the noise, the binarisation and the choice of images"""
    out: Annotated[Path | None, options.arg("DIR")] = None
    """folder for the results of each batch, from which an interrupted evaluation resumes"""
    device: options.Device = "auto"
    engine: options.EngineChoice = "auto"
    json: options.Flag = False
    """print the results as JSON"""

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("samples", "images", "importance_samples"), (1, MAX_COUNT))
        check_limits("--", self, seed=options.SEEDS, **counts)


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw evaluate", arguments)
    results = measure(args)
    if not is_main():
        return 0
    if args.json:
        print(dump_json(results), end="")
    else:
        Console(highlight=False, soft_wrap=True).print(_table(results))
    return 0


def measure(args: Options) -> dict[str, Any]:
    """Return the fields of an `Evaluation` or a `Classification`, and what was evaluated."""
    model, config = options.load_trained(args.model, args.device, args.engine)
    function: Callable[..., Evaluation | Classification] = classify
    ks = args.importance_samples
    if isinstance(model, DRAW):
        function = partial(evaluate, samples=args.samples, importance_samples=ks, out=args.out)
    elif args.samples > 1 or ks or args.out:
        raise ConfigError(
            f"{args.model} is a classifier; --samples, --importance-samples and --out are for "
            f"models that generate images"
        )
    with process_group(model.device) as world:
        with world.local_main_first():
            name, split = options.load_images(model, config, args.data, args.data_dir, args.split)
        images = split if args.images is None else split.subset(args.images, args.seed)
        with console.progress_bar() as bar:
            progress = partial(console.reporter(bar), "evaluating")
            result = function(model, images, seed=args.seed, progress=progress, world=world)
    about = {
        "model": args.model,
        "data": name,
        "split": args.split,
        "binarisation": images.binarisation,
        "seed": args.seed,
        "images_in_split": len(split),
    }
    return about | asdict(result)


def _table(results: dict[str, Any]) -> Table:
    table = Table(title=report.subject(results), title_justify="left", show_header=False)
    for name, value in report.values(results):
        table.add_row(name, value)
    if "elbo_nats" in results:
        table.add_row("ELBO: log likelihood term", f"{results['log_likelihood_nats']:.2f} nats")
        table.add_row("ELBO: minus the KL term", f"{-results['kl_nats']:.2f} nats")
        table.caption = "Bounds on log p(x) are in nats per image; ± is the standard error."
    return table
