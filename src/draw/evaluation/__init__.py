"""How good a model is on a set of images: the bounds of DRAW, the errors of a classifier."""

from draw.evaluation.bounds import Evaluation, ImportanceBound, evaluate, likelihood_in_words
from draw.evaluation.classification import (
    Classification,
    classify,
    labels_of,
    wilson_interval,
)

__all__ = [
    "Classification",
    "Evaluation",
    "ImportanceBound",
    "classify",
    "evaluate",
    "labels_of",
    "likelihood_in_words",
    "wilson_interval",
]
