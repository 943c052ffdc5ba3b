"""Describe the results of `draw evaluate` in words."""

from typing import Any


def plus_minus(value: float, stderr: float | None, *, digits: int) -> str:
    """Format a mean and its standard error, if it has one.

    >>> plus_minus(-81.207, 0.208, digits=2)
    '-81.21 ± 0.21'
    """
    return f"{value:.{digits}f}" + ("" if stderr is None else f" ± {stderr:.{digits}f}")


def subject(results: dict[str, Any]) -> str:
    """Describe the images of an evaluation, and the likelihood if the model has one."""
    count = f"{results['images']:,}"
    if results["images"] < results["images_in_split"]:
        count += f" of {results['images_in_split']:,}"
    images = f"{results['data']} {results['split']}, {count} images, seed {results['seed']}"
    return f"{images}: {results['likelihood']}" if "likelihood" in results else images


def values(results: dict[str, Any]) -> list[tuple[str, str]]:
    """List the name and the value, including its unit, of every result."""
    if "errors" not in results:
        elbo, *others = [(name, f"{bound} nats") for name, bound in bounds(results)]
        bits = bits_per_dim(results)
        return [elbo, *([("negative ELBO", f"{bits} bits per dimension")] if bits else []), *others]
    low, high = results["error_interval"]
    nats, stderr = results["log_likelihood_nats"], results["log_likelihood_stderr"]
    return [
        ("error, 95% confidence interval", f"{results['error']:.2%} ({low:.2%} to {high:.2%})"),
        ("log likelihood of the labels", f"{plus_minus(nats, stderr, digits=3)} nats"),
    ]


def bits_per_dim(results: dict[str, Any]) -> str | None:
    """Format the negative ELBO in bits per dimension, or return None if the images are binary.

    It is also None if pixels are probabilities.
    """
    bits, stderr = results["bits_per_dim"], results["elbo_stderr"]
    if bits is None or results["binarisation"] != "none":
        return None
    if stderr is not None:
        stderr *= bits / abs(results["elbo_nats"])
    return plus_minus(bits, stderr, digits=3)


def bounds(results: dict[str, Any]) -> list[tuple[str, str]]:
    """List the name and the value in nats of the ELBO and of the IWAE bounds, by increasing k."""
    samples = f"{results['samples']} sample{'s' if results['samples'] > 1 else ''} per image"
    elbo = plus_minus(results["elbo_nats"], results["elbo_stderr"], digits=2)
    return [(f"ELBO, {samples}", elbo)] + [
        (f"IWAE, k = {iwae['k']:,}", plus_minus(iwae["nats"], iwae["stderr"], digits=2))
        for iwae in results["iwae"]
    ]
