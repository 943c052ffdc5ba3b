"""Evaluate networks on a set of images: the bounds of DRAW, and the error of a classifier."""

from draw.evaluation.bounds import (
    Evaluation,
    ImageBounds,
    ImportanceBound,
    evaluate,
    image_bounds,
)
from draw.evaluation.classification import Classification, classify
from draw.evaluation.validate import EvalResult, check_images_fit, validate

__all__ = [
    "Classification",
    "EvalResult",
    "Evaluation",
    "ImageBounds",
    "ImportanceBound",
    "check_images_fit",
    "classify",
    "evaluate",
    "image_bounds",
    "validate",
]
