"""A user's own pictures."""

import hashlib
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from draw.data.download import Progress
from draw.data.images import Images
from draw.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif"}
HELD_OUT = 10  # one picture in so many is for validation, and one for the test

log = logging.getLogger("draw")


def folder(
    split: str,
    data_dir: Path | None,
    shape: tuple[int, int, int],
    progress: Progress | None = None,
    fetch: bool = True,
    skip_bad: bool = False,
) -> Images:
    """A folder of your own pictures, resized and cropped to one size; intensities in [0, 1].

    The name of a picture decides whether it is for training (8 in 10), validation or test (1 in
    10 each), so it stays there when others are added. Only where a part would be left empty, in a
    folder of few pictures, they are dealt out in the order of their names' hashes.

    Args:
        shape: (C, H, W); C = 1 makes them grey, 3 makes them RGB.
        skip_bad: leave out pictures that cannot be decoded, with a warning, instead of stopping.

    Raises:
        DataError: no folder, too few pictures, or one that cannot be decoded.
    """
    if data_dir is None:
        raise DataError("the data set 'folder' needs --data-dir, the folder of your pictures")
    if not data_dir.is_dir():
        raise DataError(f"{data_dir} is not a folder; --data-dir names the folder of your pictures")
    chosen = _split(data_dir)[split]
    pictures = []
    converted = 0
    for count, path in enumerate(chosen, start=1):
        if progress:
            progress(f"{split} pictures", count, len(chosen))
        try:
            picture, note = load_picture(path, shape)
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{error}; --skip-bad leaves such pictures out") from error
            log.warning("left out: %s", error)
            continue
        pictures.append(picture)
        converted += bool(note)
    if not pictures:
        raise DataError(f"none of the {len(chosen)} {split} pictures of {data_dir} can be decoded")
    if converted:
        colour = "grey" if shape[0] == 1 else "RGB"
        log.info(
            "%s of %s %s pictures resized, cropped or converted to %s x %s %s",
            *(converted, len(pictures), split, shape[2], shape[1], colour),
        )
    return Images(pixels=torch.stack(pictures))


def load_picture(
    path: Path, shape: tuple[int, int, int], *, enlarge: bool = True
) -> tuple[UInt8[Tensor, "C H W"], str | None]:
    """One picture, turned upright, resized to cover `shape` and cropped at its centre.

    Of an animation the first frame counts; transparency is laid on black.

    Args:
        enlarge: else a picture that is smaller both ways is laid on the middle of a black one.

    Returns:
        The pixels, and what had to be converted in words (None if nothing had to).

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    C, H, W = shape
    mode = {1: "L", 3: "RGB"}[C]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                upright = ImageOps.exif_transpose(opened)
                given = f"{upright.width} x {upright.height} {opened.mode}"
        if upright.has_transparency_data:
            given += " with transparency"
        if upright.mode.startswith("I"):  # 16 bits a pixel, which `convert` would clip
            shades = np.asarray(upright).astype(np.float64)
            shades[shades == upright.info.get("transparency", -1)] = 0
            upright = Image.fromarray((shades / 257).astype(np.uint8))
        elif upright.has_transparency_data:
            rgba = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "black"), rgba)
        converted = upright.convert(mode)
        if not enlarge and converted.width <= W and converted.height <= H:
            fitted = Image.new(mode, (W, H))
            fitted.paste(converted, ((W - converted.width) // 2, (H - converted.height) // 2))
        else:
            fitted = ImageOps.fit(converted, (W, H), Image.Resampling.LANCZOS)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such picture") from error
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise DataError(f"{path} cannot be decoded as a picture: {error}") from error
    wanted = f"{W} x {H} {mode}"
    pixels = torch.from_numpy(np.array(fitted).reshape(H, W, C)).permute(2, 0, 1).contiguous()
    return pixels, None if given == wanted else f"{given} converted to {wanted}"


def _split(data_dir: Path) -> dict[str, list[Path]]:
    """The pictures below a folder by split, each in the order of their names' hashes."""
    found = [p for p in data_dir.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    if len(found) < 3:
        raise DataError(
            f"{data_dir} holds {len(found)} pictures ({', '.join(sorted(SUFFIXES))}); training, "
            f"validation and test need at least one each"
        )
    hashed = {
        hashlib.sha256(os.fsencode(p.relative_to(data_dir).as_posix())).digest(): p for p in found
    }
    names = {"test": [0], "valid": [1], "train": range(2, HELD_OUT)}
    split = {
        part: [p for h, p in sorted(hashed.items()) if int.from_bytes(h[-8:]) % HELD_OUT in digits]
        for part, digits in names.items()
    }
    if all(split.values()):
        return split
    paths, held = [p for _, p in sorted(hashed.items())], max(1, len(found) // HELD_OUT)
    return {"test": paths[:held], "valid": paths[held : 2 * held], "train": paths[2 * held :]}
