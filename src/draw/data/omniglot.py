"""Omniglot (Lake et al. 2015): handwritten characters, reduced to 28 x 28 pixels."""

import io
import re
from zipfile import ZipFile

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image

from draw.data.dataset import Images
from draw.data.download import RemoteFile, Source, read_data

STORED_SIDE = 105  # pixels
SIDE = 28
DRAWERS = 20  # drawings of each character
VALIDATION_CHARACTERS = 64
CHUNK_IMAGES = 1_000  # images reduced at a time
DRAWING = re.compile(r"(?:.*/)?(\d{4}_\d\d\.png)")  # number of the character, then of the drawer
HOME = "https://github.com/brendenlake/omniglot/raw/master/python/"


def _file(name: str, size: int, sha256: str, home: str | None = None) -> RemoteFile:
    urls = () if home is None else (home + name,)
    return RemoteFile(name, size, sha256, urls, (f"omniglot/{name}",))


ARCHIVES = {  # the published files; size and SHA-256 as recorded by TensorFlow Datasets
    "train": _file(
        "images_background.zip",
        9464212,
        "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
        HOME,
    ),
    "test": _file(
        "images_evaluation.zip",
        6462886,
        "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
        HOME,
    ),
}
ARRAYS = {  # the same drawings as NumPy arrays, from github.com/bitsandscraps/omniglot
    "train": _file(
        "images_background.npz",
        3340794,
        "8bf84167413cd00beacdce3fe582f780ab538d8dbef043a6d688f2527bbce199",
    ),
    "test": _file(
        "images_evaluation.npz",
        2415269,
        "0b84c7ffd94c4841c0040e529c86a82eaaccb986d8eadad5673f7991b7475276",
    ),
}


def omniglot(split: str, source: Source) -> Images:
    """Omniglot's handwritten characters (Lake et al. 2015), 28 x 28, strokes 1 and paper 0.

    18,000 / 1,280 / 13,180 images without labels: 20 drawings each of 900, 64 and 659 characters.
    The 964 characters of the published background set are for training, of which the last 64 are
    for validation, and the evaluation set is for test. No two splits share a character, so there
    are no labels.

    The drawings are black and white, 105 x 105. A pixel of the result covers 3.75 x 3.75 of their
    pixels and is 1 if more than half of this area is ink. Of the thresholds between 0.2 and 0.5,
    this one most often preserves the number of strokes (97% of drawings).

    Note:
        Published bounds on Omniglot use another file, of grey images (Burda et al. 2016), and
        another split, so none is comparable.
    """
    part = "test" if split == "test" else "train"
    n = VALIDATION_CHARACTERS * DRAWERS
    rows = {"train": slice(-n), "valid": slice(-n, None), "test": slice(None)}[split]
    if (arrays := source.find(ARRAYS[part])) is not None:
        with np.load(io.BytesIO(read_data(arrays))) as stored:
            paper = stored["images"].reshape(-1, STORED_SIDE, STORED_SIDE)[rows]
    else:
        paper = _read_archive(source.read(ARCHIVES[part]), rows)
    return Images(pixels=torch.from_numpy(reduce(~paper)).unsqueeze(1), binarisation="static")


def reduce(ink: Bool[np.ndarray, "n 105 105"]) -> UInt8[np.ndarray, "n 28 28"]:
    """Reduce drawings of 105 x 105 pixels: 255 where more than half of the area is ink.

    >>> ink = np.zeros((1, 105, 105), bool)
    >>> ink[:, :2, :4] = True  # covers 2 x 3.75 of the first pixel
    >>> reduce(ink)[0, :2, :2].tolist()
    [[255, 0], [0, 0]]
    """
    # A scale on which both pixel sizes are integers: a new pixel is 15 units wide, an old one 4.
    new, old = 15, 4
    starts = new * np.arange(SIDE)[:, None], old * np.arange(STORED_SIDE)
    ends = starts[0] + new, starts[1] + old
    overlap = np.minimum(*ends) - np.maximum(*starts)
    weights = overlap.clip(0).astype(np.float32)  # [28, 105]; the products below are exact
    chunks = (ink[i : i + CHUNK_IMAGES] for i in range(0, len(ink), CHUNK_IMAGES))
    areas = (weights @ chunk.astype(np.float32) @ weights.T for chunk in chunks)
    return np.concatenate([np.uint8(255) * (area > new * new / 2) for area in areas])


def _read_archive(content: bytes, rows: slice) -> Bool[np.ndarray, "n 105 105"]:
    """Read drawings, True where the paper is white; `rows` are by character, then by drawer."""
    with ZipFile(io.BytesIO(content)) as archive:
        matches = filter(None, map(DRAWING.fullmatch, archive.namelist()))
        names = [match[0] for match in sorted(matches, key=lambda match: match[1])[rows]]
        drawings = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
    return np.stack(drawings) > 0
