"""What `draw evaluate` measured, in words."""

from typing import Any, NamedTuple


class Bound(NamedTuple):
    """A bound on log p(x), nats an image."""

    name: str
    nats: float
    stderr: float | None
    digits: int = 2  # after the point

    def __str__(self) -> str:
        error = "" if self.stderr is None else f" +- {self.stderr:.{self.digits}f}"
        return f"{self.nats:.{self.digits}f}{error}"


def subject(measured: dict[str, Any]) -> str:
    """The images that it was measured on, and what was measured."""
    count = f"{measured['images']:,}"
    if measured["images"] < measured["images_in_split"]:
        count += f" of {measured['images_in_split']:,}"
    note = f" ({measured['note']})" if "note" in measured else ""
    images = (
        f"{measured['data']} {measured['split']}{note}, {count} images, seed {measured['seed']}"
    )
    return f"{images}: {measured['likelihood']}" if "likelihood" in measured else images


def figures(measured: dict[str, Any]) -> list[tuple[str, str]]:
    """All that was measured, each by its name and with its unit."""
    if "errors" not in measured:
        return [(bound.name, f"{bound} nats") for bound in bounds(measured)]
    low, high = measured["error_interval"]
    answer = Bound("", measured["log_likelihood_nats"], measured["log_likelihood_stderr"], digits=3)
    return [
        ("error", f"{measured['error']:.2%} (95 %: {low:.2%} to {high:.2%})"),
        ("log likelihood of the labels", f"{answer} nats"),
    ]


def bounds(measured: dict[str, Any]) -> list[Bound]:
    """The ELBO, and the IWAE bounds by k."""
    samples = f"{measured['samples']} sample{'s' if measured['samples'] > 1 else ''} an image"
    elbo = Bound(f"ELBO, {samples}", measured["elbo_nats"], measured["elbo_stderr"])
    return [elbo] + [
        Bound(f"IWAE, k = {iwae['k']:,}", iwae["nats"], iwae["stderr"]) for iwae in measured["iwae"]
    ]
