"""draw evaluate: bounds on log p(x), or the error of a classifier."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from rich.table import Table

from draw.classifier import GlimpseClassifier
from draw.commands import console, options, report
from draw.data import Images
from draw.distributed import World, is_main, process_group
from draw.errors import ConfigError
from draw.evaluation import Classification, Evaluation, classify, evaluate
from draw.storage.files import dump_json
from draw.zoo import Network

MAX_COUNT = 10**9
OUT_HELP = (
    "folder for the results of each image; repeat the command to resume an interrupted evaluation"
)


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
    """samples per image over which the ELBO is averaged"""
    importance_samples: Annotated[tuple[int, ...], options.arg("K [K ...]")] = ()
    """also evaluate the importance-weighted (IWAE) bound for each k"""
    images: Annotated[int | None, options.arg("INT", default="all")] = None
    """number of images, chosen at random with the seed"""
    seed: int = 0
    """seed of the noise, the binarisation and the choice of images"""
    out: Annotated[Path | None, options.arg("DIR", OUT_HELP)] = None
    device: options.Device = "auto"
    engine: options.EngineChoice = "auto"
    json: options.Flag = False
    """print the results as JSON"""

    def __post_init__(self) -> None:
        options.check_range(1, MAX_COUNT, samples=self.samples, images=self.images)
        for k in self.importance_samples:
            options.check_range(1, MAX_COUNT, importance_samples=k)
        options.check_seed(self.seed)


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw evaluate", arguments)
    results = measure(args)
    if not is_main():
        return 0
    if args.json:
        print(dump_json(results), end="")
    else:
        table = _error_table if "errors" in results else _bound_table
        console.console().print(table(results))
    return 0


def measure(args: Options) -> dict[str, Any]:
    """Return the fields of an `Evaluation` or a `Classification`, and what was evaluated."""
    model, config = options.load_trained(args.model, args.device, args.engine)
    with process_group(model.device) as world:
        with world.local_main_first():
            name, split = options.load_images(model, config, args.data, args.data_dir, args.split)
        images = split if args.images is None else split.subset(args.images, args.seed)
        with console.progress_bar() as bar:
            progress = partial(console.reporter(bar), "evaluating")
            result = _evaluate(args, model, images, progress, world)
    about = {
        "model": args.model,
        "data": name,
        "split": args.split,
        "binarisation": images.binarisation,
        "seed": args.seed,
        "images_in_split": len(split),
    }
    return about | asdict(result)


def _evaluate(
    args: Options,
    model: Network,
    images: Images,
    progress: Callable[[int, int], None],
    world: World,
) -> Evaluation | Classification:
    if isinstance(model, GlimpseClassifier):
        if args.samples > 1 or args.importance_samples or args.out:
            raise ConfigError(
                f"{args.model} is a classifier; --samples, --importance-samples and --out are for "
                f"models that generate images"
            )
        return classify(model, images, seed=args.seed, progress=progress, world=world)
    return evaluate(
        model,
        images,
        samples=args.samples,
        importance_samples=args.importance_samples,
        seed=args.seed,
        progress=progress,
        world=world,
        out=args.out,
    )


def _error_table(results: dict[str, Any]) -> Table:
    table = Table(title=report.subject(results), title_justify="left", show_header=False)
    for name, value in report.values(results):
        table.add_row(name, value)
    return table


def _bound_table(results: dict[str, Any]) -> Table:
    table = Table(title=report.subject(results), title_justify="left")
    table.add_column("bound on log p(x)")
    table.add_column("nats per image", justify="right")
    table.add_column("standard error", justify="right")
    for bound in report.bounds(results):
        stderr = "" if bound.stderr is None else f"{bound.stderr:.2f}"
        table.add_row(bound.name, f"{bound.nats:.2f}", stderr)
    table.add_row("ELBO: log likelihood term", f"{results['log_likelihood_nats']:.2f}", "")
    table.add_row("ELBO: minus the KL term", f"{-results['kl_nats']:.2f}", "")
    if results["bits_per_dim"] is not None:
        table.caption = f"The ELBO is {results['bits_per_dim']:.4f} bits per dimension."
    return table
