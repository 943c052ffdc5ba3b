"""Evaluate networks on a set of images: the bounds of DRAW, and the error of a classifier."""

from draw.evaluation.bounds import Evaluation, ImportanceBound, evaluate
from draw.evaluation.classification import Classification, classify
from draw.evaluation.validate import EvalResult, check_images_fit, validate

__all__ = [
    "Classification",
    "EvalResult",
    "Evaluation",
    "ImportanceBound",
    "check_images_fit",
    "classify",
    "evaluate",
    "validate",
]
