"""DRAW: a recurrent neural network for image generation (Gregor et al. 2015).

`__init__.pyi` lists the public names, which are imported on first use: `import draw` is fast.
"""

import sys

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

if "IPython" in sys.modules:  # notebooks show a trace as a film
    from draw.figures import notebook

    notebook.register()
