"""draw doctor: describe the installation, for bug reports."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

import draw
from draw.data.download import Source
from draw.errors import ConfigError, one_line
from draw.kernels.cpu.build import find_compiler
from draw.model import DRAWConfig
from draw.storage.files import cache_dir

HELP = """\
usage: draw doctor

Describe the installation in ten lines, for bug reports: versions, devices, whether the
fused engine is available (and if not, why), and the folders searched for data."""

PACKAGES = "numpy safetensors huggingface_hub tyro Pillow matplotlib triton".split()
EXTRAS = {  # a module of each extra
    "tensorboard": "tensorboard",
    "mp4": "imageio_ffmpeg",
    "onnx": "onnxscript",
    "svhn": "h5py",
}
TINY = DRAWConfig(height=8, width=8, glimpses=2, hidden_size=8, latent_size=4)
GIB = 2**30


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    match arguments:
        case ["-h" | "--help"]:
            print(HELP)
        case []:
            for name, text in describe().items():
                print(f"{name:<14}{text}")
        case _:
            raise ConfigError("draw doctor takes no arguments")
    return 0


def describe() -> dict[str, str]:
    """Return the lines of the report, by name."""
    extras = [name for name, module in EXTRAS.items() if find_spec(module) is not None]
    return {
        "draw": f"{draw.__version__} in {Path(draw.__file__).parent}",
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "PyTorch": f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}, {_threads()}",
        "packages": ", ".join(map(_version, PACKAGES)),
        "extras": ", ".join(extras) or "none",
        "devices": ", ".join(["cpu", *map(_gpu, range(torch.cuda.device_count()))]),
        "compiler": _compiler(),
        "engine (CPU)": _engine("cpu"),
        "engine (GPU)": _engine("cuda") if torch.cuda.is_available() else "no GPU",
        "data folders": ", ".join(map(_folder, Source().folders)),
    }


def _threads() -> str:
    return f"threads: {torch.get_num_threads()} of {os.cpu_count()} cores"


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _gpu(number: int) -> str:
    gpu = torch.cuda.get_device_properties(number)
    capability = f"compute capability {gpu.major}.{gpu.minor}"
    return f"cuda:{number} ({gpu.name}, {gpu.total_memory / GIB:.0f} GiB, {capability})"


def _compiler() -> str:
    try:
        return " ".join(find_compiler())
    except OSError as error:
        return str(error)


def _engine(device: str) -> str:
    """Run a tiny model, which includes the engine's self-check."""
    model = TINY.build().to(device)
    model.engine = "fused"
    try:
        model(torch.zeros(1, *TINY.image_shape, device=device))
    except ConfigError as error:
        return str(error).removeprefix("engine is 'fused', but ").partition("; use 'auto'")[0]
    except Exception as error:  # a report must not fail where the engine does
        return f"fails: {type(error).__name__}: {one_line(error)}"
    return "works"


def _folder(path: Path) -> str:
    origin = " (cache)" if path == cache_dir() else " ($DRAW_DATA)"
    return f"{path}{origin}" + ("" if path.is_dir() else ", missing")
