"""What `draw evaluate` measured, in words."""

from typing import Any, NamedTuple


class Bound(NamedTuple):
    """A bound on log p(x), nats an image."""

    name: str
    nats: float
    stderr: float | None

    def __str__(self) -> str:
        return plus_minus(self.nats, self.stderr, digits=2)


def plus_minus(value: float, stderr: float | None, *, digits: int) -> str:
    """A mean and its standard error, if it has one.

    >>> plus_minus(-81.207, 0.208, digits=2)
    '-81.21 +- 0.21'
    """
    return f"{value:.{digits}f}" + ("" if stderr is None else f" +- {stderr:.{digits}f}")


def subject(measured: dict[str, Any]) -> str:
    """The images that it was measured on, and what was measured."""
    count = f"{measured['images']:,}"
    if measured["images"] < measured["images_in_split"]:
        count += f" of {measured['images_in_split']:,}"
    images = f"{measured['data']} {measured['split']}, {count} images, seed {measured['seed']}"
    return f"{images}: {measured['likelihood']}" if "likelihood" in measured else images


def values(measured: dict[str, Any]) -> list[tuple[str, str]]:
    """All that was measured, each by its name and with its unit."""
    if "errors" not in measured:
        return [(bound.name, f"{bound} nats") for bound in bounds(measured)]
    low, high = measured["error_interval"]
    nats, stderr = measured["log_likelihood_nats"], measured["log_likelihood_stderr"]
    return [
        ("error", f"{measured['error']:.2%} (95 %: {low:.2%} to {high:.2%})"),
        ("log likelihood of the labels", f"{plus_minus(nats, stderr, digits=3)} nats"),
    ]


def bounds(measured: dict[str, Any]) -> list[Bound]:
    """The ELBO, and the IWAE bounds by k."""
    samples = f"{measured['samples']} sample{'s' if measured['samples'] > 1 else ''} an image"
    elbo = Bound(f"ELBO, {samples}", measured["elbo_nats"], measured["elbo_stderr"])
    return [elbo] + [
        Bound(f"IWAE, k = {iwae['k']:,}", iwae["nats"], iwae["stderr"]) for iwae in measured["iwae"]
    ]
