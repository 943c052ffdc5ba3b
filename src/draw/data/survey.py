"""Describe a folder of images, so that training settings can adapt to it."""

from collections import Counter
from itertools import chain
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from draw.data.folder import split_pictures
from draw.data.picture_files import Decoded, decode_all
from draw.errors import DataError

MAX_SAMPLE = 100  # images to decode
SAMPLE_SIDE = 64  # pixels; size at which they are examined
MIN_CHROMA = 10  # mean difference between the brightest and darkest channel in a colour image
MIN_COLOUR = 0.1  # share of colour images in a folder that counts as colour
MIN_MID_TONES = 0.3  # share of the pixels of photographs; drawings have about a tenth


class Survey(NamedTuple):
    """What the images of a folder are like."""

    images: int  # files, of which some may turn out to be damaged
    side: int  # shorter side of a typical image, pixels
    is_colour: bool
    mid_tones: float  # share of the pixels that are neither dark nor light

    @property
    def is_photographic(self) -> bool:
        """Whether the images have many mid-tones, unlike line drawings."""
        return self.mid_tones > MIN_MID_TONES

    def __str__(self) -> str:
        colour = "colour" if self.is_colour else "grey"
        kind = "photographs" if self.is_photographic else "drawings"
        look = f"{colour} {kind}, typically {self.side} pixels on the shorter side"
        return f"{self.images:,} image files: {look}"


def survey(data_dir: Path) -> Survey:
    """Decode up to 100 random images of a folder, and describe the folder.

    Raises:
        DataError: if the folder has fewer than three images or none of them can be decoded.
    """
    split = split_pictures(data_dir, Counter())
    found = sorted(chain(*split.values()), key=lambda picture: picture.name)  # in random order
    paths = [picture.path for picture in found[:MAX_SAMPLE]]
    decoded = [
        result
        for result in decode_all(paths, (3, SAMPLE_SIDE, SAMPLE_SIDE))
        if isinstance(result, Decoded)
    ]
    if not decoded:
        raise DataError(f"none of the {len(paths)} images in {data_dir} can be decoded")
    pixels = torch.stack([torch.from_numpy(image.pixels) for image in decoded])
    chroma = pixels.amax(1).float() - pixels.amin(1).float()  # [n, H, W]
    coloured = (chroma.mean((1, 2)) > MIN_CHROMA).float().mean()
    return Survey(
        images=len(found),
        side=median_low(min(image.original.width, image.original.height) for image in decoded),
        is_colour=bool(coloured > MIN_COLOUR),
        mid_tones=mid_tones(pixels),
    )


def mid_tones(pixels: UInt8[Tensor, "n C H W"]) -> float:
    """Return the share of intensities that are neither dark nor light.

    >>> mid_tones(torch.tensor([0, 100, 250, 255], dtype=torch.uint8).view(4, 1, 1, 1))
    0.25
    """
    return float(((pixels >= 32) & (pixels < 224)).float().mean())
