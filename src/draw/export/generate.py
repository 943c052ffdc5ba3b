"""Generate images with an exported model, using NumPy, ONNX Runtime and Pillow.

`python generate.py [COUNT] [SEED]` writes samples.png to the current folder.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

HERE = Path(__file__).parent


def generate(count: int, seed: int) -> np.ndarray:
    """Generate images [count, C, H, W] in [0, 1] from standard normal noise."""
    config = json.loads((HERE / "config.json").read_text())
    start = np.load(HERE / "initial_state.npz")
    step = onnxruntime.InferenceSession(HERE / "decode_step.onnx")
    outputs = [output.name for output in step.get_outputs()]
    noise = np.random.default_rng(seed)
    state = {name: np.repeat(start[name], count, axis=0) for name in ("canvas", "h_dec", "c_dec")}
    for _ in range(config["glimpses"]):
        z = noise.standard_normal((count, config["latent_size"]), dtype=np.float32)
        result = dict(zip(outputs, step.run(None, {"z": z, **state}), strict=True))
        state = {name: result[f"next_{name}"] for name in state}
    images: np.ndarray = result["mean"]
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate images in the file samples.png.")
    parser.add_argument("count", type=int, nargs="?", default=16, help="images (default: 16)")
    parser.add_argument("seed", type=int, nargs="?", default=0, help="random seed (default: 0)")
    args = parser.parse_args()
    images = (generate(args.count, args.seed) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    row = np.concatenate(list(images), axis=1).repeat(3, axis=0).repeat(3, axis=1)
    Image.fromarray(row.squeeze()).save("samples.png")
    print("samples.png")


if __name__ == "__main__":
    main()
