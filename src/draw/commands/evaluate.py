"""draw evaluate: a model's bound on log p(x)."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table

from draw.commands import terminal
from draw.evaluation import Evaluation, evaluate
from draw.kernels import Engine


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure a model's bound on log p(x), in nats an image."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A run folder, a saved model's folder or a hub id."""
    data: str | None = None
    """A data set's name; the one of the run unless given."""
    data_dir: Path | None = None
    """Where to look for it first."""
    skip_bad: bool = False
    """Leave out pictures of `folder` that cannot be decoded."""
    split: Literal["test", "valid", "train"] = "test"
    """Which part of it."""
    samples: int = 1
    """Trajectories an image over which the ELBO is averaged."""
    importance_samples: int = 0
    """k of the importance-weighted bound; 0 leaves it out."""
    images: int | None = None
    """Only so many images, chosen at random by the seed."""
    seed: int = 0
    """Decides the noise, the binarisation and the choice of images."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    engine: Engine = "auto"
    """plain is the readable path, fused the fast one; auto takes fused where it can."""
    json: bool = False
    """Print one JSON object instead of a table."""

    def __post_init__(self) -> None:
        terminal.check_range(1, 10**9, samples=self.samples, images=self.images)
        terminal.check_range(0, 10**9, importance_samples=self.importance_samples)
        terminal.check_range(0, 2**63 - 1, seed=self.seed)


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    options = terminal.parse(Options, "draw evaluate", arguments)
    model, config = terminal.load_trained(options.model, options.device, options.engine)
    name, images = terminal.load_images(
        model, config, options.data, options.data_dir, options.split, options.skip_bad
    )
    if options.images is not None:
        images = images.subset(options.images, options.seed)
    with terminal.progress_bar() as bar:
        report = terminal.reporter(bar)
        result = evaluate(
            model,
            images,
            samples=options.samples,
            importance_samples=options.importance_samples,
            seed=options.seed,
            progress=lambda done, total: report("evaluating", done, total),
        )
    about = {
        "model": options.model,
        "data": name,
        "split": options.split,
        "binarisation": images.binarisation,
        "seed": options.seed,
    }
    if options.json:
        print(json.dumps(about | asdict(result), indent=2))
    else:
        terminal.console().print(_table(about, result))
    return 0


def _table(about: dict[str, Any], result: Evaluation) -> Table:
    pixels = {
        "static": "static binarisation",
        "dynamic": "dynamic binarisation",
        "none": "intensities as probabilities",
    }[about["binarisation"]]
    title = f"{about['data']} {about['split']}, {pixels}, {result.images:,} images"
    table = Table(title=title, title_justify="left")
    table.add_column("bound on log p(x)")
    table.add_column("nats an image", justify="right")
    table.add_column("standard error", justify="right")
    samples = f"{result.samples} sample{'s' if result.samples > 1 else ''} an image"
    table.add_row(f"ELBO, {samples}", f"{result.elbo_nats:.2f}", _error(result.elbo_stderr))
    if result.iwae_nats is not None:
        bound = f"IWAE, k = {result.importance_samples:,}"
        table.add_row(bound, f"{result.iwae_nats:.2f}", _error(result.iwae_stderr))
    table.add_row("of the ELBO: log likelihood", f"{result.log_likelihood_nats:.2f}", "")
    table.add_row("of the ELBO: minus KL", f"{-result.kl_nats:.2f}", "")
    if result.bits_per_dim is not None:
        table.caption = f"the ELBO is {result.bits_per_dim:.4f} bits a dimension"
    return table


def _error(stderr: float | None) -> str:
    return "" if stderr is None else f"{stderr:.2f}"
