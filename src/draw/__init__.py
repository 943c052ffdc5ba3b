"""DRAW: a recurrent neural network for image generation (Gregor et al. 2015)."""

from importlib.metadata import version

__version__ = version("draw")
