"""Build the package and try it in an environment that contains nothing else.

    python .ci/release_check.py [--torch VERSION] [--extra-index-url URL] [--python PATH ...]

The wheel is built from the source distribution, checked by twine and installed into a new virtual
environment of each Python together with one version of PyTorch. There, outside the checkout, the
command line generates digits and exports the page, the C++ engine is built, and the doctests run.
The packages remain in dist/.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
ENGINE = """
import torch, draw
model = draw.load("quick")
images = draw.data.load("digits5k", "valid").batch(torch.arange(4))
eps = torch.randn(model.noise_shape(4))
nats = {}
for model.engine in ("fused", "plain"):
    nats[model.engine] = draw.elbo(model(images, eps=eps))
torch.testing.assert_close(nats["fused"], nats["plain"])
"""
DOCTESTS = """
import doctest, importlib, pkgutil, draw
OPTIONAL = {"h5py", "onnx", "onnxruntime", "scipy", "tensorboard", "triton"}
attempted = 0
for module in pkgutil.walk_packages(draw.__path__, "draw."):
    if module.name == "draw.__main__":
        continue
    try:
        imported = importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        assert error.name in OPTIONAL, error
        continue
    result = doctest.testmod(imported)
    assert not result.failed, module.name
    attempted += result.attempted
assert attempted > 100, attempted
print(attempted, "examples")
"""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default="2.13.0", help="the version of PyTorch to install")
    parser.add_argument("--extra-index-url", help="where pip also looks for packages")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    options = parser.parse_args()
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    packages = sorted(DIST.iterdir())
    run(sys.executable, "-m", "twine", "check", "--strict", *packages)
    (wheel,) = (path for path in packages if path.suffix == ".whl")
    index = [f"--extra-index-url={url}"] if (url := options.extra_index_url) else []
    for python in options.python:
        with tempfile.TemporaryDirectory(prefix="draw-release-") as folder:
            check(python, Path(folder), *index, f"torch=={options.torch}", wheel)
    print("passed:", *(f"{path.name} ({path.stat().st_size / 1e6:.1f} MB)" for path in packages))


def check(interpreter: str, folder: Path, *arguments: str | Path) -> None:
    """Run `pip install` with these arguments in a new environment, and try the package there."""
    run(interpreter, "-m", "venv", folder / "venv")
    python, draw = folder / "venv" / "bin" / "python", folder / "venv" / "bin" / "draw"
    run(python, "-m", "pip", "install", "--quiet", *arguments)
    run(python, "-m", "pip", "check")
    run(draw, "--version", cwd=folder)
    run(draw, "sample", "mnist", "--count", "4", "--out", "samples", cwd=folder)
    run(draw, "page", "--export", "page", cwd=folder)
    run(python, "-c", ENGINE, cwd=folder)
    run(python, "-c", DOCTESTS, cwd=folder)
    for file in ("samples/samples.png", "samples/drawing.gif", "page/index.html"):
        assert (folder / file).stat().st_size > 0, file


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Print and run a command, with a new cache and without this checkout on its path."""
    print("$", *("..." if "\n" in str(word) else word for word in command), flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if cwd != ROOT:
        environment["XDG_CACHE_HOME"] = str(cwd / "cache")
    subprocess.run(command, cwd=cwd, env=environment, check=True)


if __name__ == "__main__":
    main()
