"""Draw traces: grids, films, the paper's figures and learning curves. Nothing here runs a model.

The functions listed in `__init__.pyi` are imported on first use, because importing Matplotlib takes
longer than drawing a film.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
