"""Describe the results of `draw evaluate` in words."""

from typing import Any, NamedTuple


class Bound(NamedTuple):
    """A bound on log p(x)."""

    name: str
    nats: float  # per image
    stderr: float | None  # standard error

    def __str__(self) -> str:
        return plus_minus(self.nats, self.stderr, digits=2)


def plus_minus(value: float, stderr: float | None, *, digits: int) -> str:
    """Format a mean and its standard error, if it has one.

    >>> plus_minus(-81.207, 0.208, digits=2)
    '-81.21 ± 0.21'
    """
    return f"{value:.{digits}f}" + ("" if stderr is None else f" ± {stderr:.{digits}f}")


def subject(results: dict[str, Any]) -> str:
    """Describe the images of an evaluation, and p(x) if the model has one."""
    count = f"{results['images']:,}"
    if results["images"] < results["images_in_split"]:
        count += f" of {results['images_in_split']:,}"
    images = f"{results['data']} {results['split']}, {count} images, seed {results['seed']}"
    return f"{images}: {results['likelihood']}" if "likelihood" in results else images


def values(results: dict[str, Any]) -> list[tuple[str, str]]:
    """List the name and the value, with its unit, of every result."""
    if "errors" not in results:
        return [(bound.name, f"{bound} nats") for bound in bounds(results)]
    low, high = results["error_interval"]
    nats, stderr = results["log_likelihood_nats"], results["log_likelihood_stderr"]
    return [
        ("error, 95% confidence interval", f"{results['error']:.2%} ({low:.2%} to {high:.2%})"),
        ("log likelihood of the labels", f"{plus_minus(nats, stderr, digits=3)} nats"),
    ]


def bounds(results: dict[str, Any]) -> list[Bound]:
    """List the ELBO and the IWAE bounds, by increasing k."""
    samples = f"{results['samples']} sample{'s' if results['samples'] > 1 else ''} per image"
    elbo = Bound(f"ELBO, {samples}", results["elbo_nats"], results["elbo_stderr"])
    return [elbo] + [
        Bound(f"IWAE, k = {iwae['k']:,}", iwae["nats"], iwae["stderr"]) for iwae in results["iwae"]
    ]
