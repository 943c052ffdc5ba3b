"""Films of a recorded trace, glimpse by glimpse, as GIF, WebP or MP4."""

import io
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from draw.attention import Window
from draw.errors import ConfigError, one_line, require
from draw.figures.tiles import COLOURS, GAP, TINT, arrange, panels, tinted, window_at, windowed
from draw.storage.files import atomic_path, expand_user
from draw.trace import Trace

MAX_SIDE = 16_000  # pixels; the limit of WebP is 16,383
MIN_GIF_MS = 20  # browsers show shorter frames for 100 ms
GIF_GREYS = 32  # shades of a grey GIF, each at most 4 of 255 from the original
GREYS = np.linspace(0, 255, GIF_GREYS).round()[:, None].repeat(3, axis=1)
WEBP_SHADES = [3 * round(shade / 3) for shade in range(256)]  # error of at most 1 in 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Film(Sequence[Image.Image]):
    """One frame per glimpse of a recorded trace, then the finished images without windows.

    Frames are drawn when they are accessed. A thin line surrounds the patch of a window, in a band
    that is sigma wide.

    Args:
        trace: the recorded trace.
        columns: images per row.
        scale: screen pixels per image pixel.
        windows: whether to draw the windows.
        images: the encoded images, shown beside the canvases, with the read windows.
        known: pixels that every frame shows instead of the canvas, NaN elsewhere.

    Raises:
        TraceError: if the trace was not recorded.
        ConfigError: if the film is too large for its formats.

    >>> from draw.model import DRAW, DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
    >>> film = Film(trace=model.generate(6, record=True), columns=3)
    >>> len(film), film[0].size
    (4, (76, 50))
    """

    trace: Trace
    columns: int
    scale: int = 3
    windows: bool = True
    images: Float[Tensor, "B C H W"] | None = None
    known: Float[Tensor, "B C H W"] | None = None

    def __post_init__(self) -> None:
        _check_size(self.trace.means, self.columns, self.scale, 1 if self.images is None else 2)

    def __len__(self) -> int:
        return len(self.trace.z) + 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[t] for t in range(len(self))[index]]
        t = range(len(self))[index]
        trace, read, write = self.trace, None, None
        if t == len(trace.z):
            means = trace.mean
        else:
            means = trace.means[t]
            if self.windows:
                read, write = window_at(trace.read_window, t), window_at(trace.write_window, t)
        if self.known is not None:
            means = means.where(self.known.isnan(), self.known)
        canvases = windowed(means, self.scale, write, trace.write_size, "write")
        if self.images is None:
            return arrange(canvases, self.columns)
        images = windowed(self.images, self.scale, read, trace.read_size, "read")
        parts = {"image": images, "canvas": canvases}
        return panels({title: arrange(t, self.columns) for title, t in parts.items()}).image


def _check_size(tiles: Tensor, columns: int, scale: int, grids: int = 1) -> None:
    """Check that `grids` grids of tiles [..., B, C, H, W] side by side fit in every format."""
    B, _, H, W = tiles.shape[-4:]
    width = grids * min(columns, B) * (W * scale + GAP)
    height = -(-B // columns) * (H * scale + GAP)
    if max(width, height) > MAX_SIDE:
        raise ConfigError(
            f"a film of {width:,} x {height:,} pixels is too large: each side may have at most "
            f"{MAX_SIDE:,} pixels; use fewer images, a smaller --scale or other --columns"
        )


def looking(
    images: Float[Tensor, "B C H W"],
    windows: Window,
    *,
    read_size: int,
    columns: int,
    scale: int = 1,
) -> list[Image.Image]:
    """Draw the frames of a film of a classifier's glimpses, with the windows in blue.

    Args:
        windows: the read windows, fields [T, B].
        read_size: the patch size N of the windows.
        columns: images per row.
        scale: screen pixels per image pixel.

    Raises:
        ConfigError: if the film is too large for its formats.

    >>> import torch
    >>> windows = Window(*torch.ones(5, 3, 2))
    >>> len(looking(torch.rand(2, 1, 20, 20), windows, read_size=5, columns=2))
    3
    """
    _check_size(images, columns, scale)
    return [
        arrange(windowed(images, scale, window_at(windows, t), read_size, "read"), columns)
        for t in range(len(windows.g_x))
    ]


def save_film(path: str | Path, film: Sequence[Image.Image], *, fps: float, hold_ms: int) -> None:
    """Save a film as GIF, WebP or MP4, depending on the suffix of the file.

    A GIF has 32 shades of grey, which windows tint, or 253 colours. In WebP, intensities are
    rounded to multiples of 3, an error of at most 1 in 255. Both preserve the colours of window
    lines exactly. MP4 needs the extra `mp4` and blurs colours slightly.

    Args:
        path: the file.
        film: frames of the same size.
        fps: frames per second. A GIF rounds the duration of a frame to 10 ms, at least 20 ms.
        hold_ms: how long the last frame is shown, in milliseconds. GIF and WebP then start again.

    Raises:
        ConfigError: if the format is unknown or the extra is not installed.
        OSError: if the file cannot be written.
    """
    file = expand_user(path)
    writer = check_film(file)
    with atomic_path(file) as partial:
        writer(partial, film, 1000 / fps, hold_ms)


def webp_bytes(film: Sequence[Image.Image], *, fps: float, hold_ms: int) -> bytes:
    """Return a film as the bytes of a WebP file; see `save_film`."""
    file = io.BytesIO()
    _save_webp(file, film, 1000 / fps, hold_ms)
    return file.getvalue()


Writer = Callable[[Any, Sequence[Image.Image], float, int], None]


def check_film(path: Path) -> Writer:
    """Return the function that writes films with this suffix.

    Raises:
        ConfigError: if the format is unknown or the extra is not installed.
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ConfigError(f"{path} is not a film; its name must end in {', '.join(WRITERS)}")
    if writer is _save_mp4:
        require("imageio_ffmpeg", "mp4", "an MP4 film")
    return writer


def _save_gif(path: Path, film: Sequence[Image.Image], frame_ms: float, hold_ms: int) -> None:
    shown, held = (max(MIN_GIF_MS, round(ms / 10) * 10) for ms in (frame_ms, hold_ms))
    palette = _palette(film)
    first, *rest = (_indexed(picture, palette) for picture in film)
    first.save(
        *(path, "GIF"),
        save_all=True,
        append_images=rest,
        duration=[shown] * len(rest) + [held],
        loop=0,
        palette=palette.tobytes(),
        optimize=True,  # makes unchanged pixels transparent
        transparency=len(palette) - 1,
    )


def _palette(film: Sequence[Image.Image]) -> UInt8[np.ndarray, "n 3"]:
    """Choose the palette of a film: shades, then those of windows and an unused colour.

    The shades are evenly spaced greys and their tints if the middle and last frames are grey except
    for the windows, and otherwise the best colours for these two frames.
    """
    two = np.concatenate([np.asarray(film[len(film) // 2]), np.asarray(film[-1])])
    read, write = _window_masks(two)
    if (_grey_index(two)[~read & ~write] >= 0).all():
        shades = np.concatenate([GREYS, *(tinted(GREYS, colour) for colour in COLOURS.values())])
    else:
        colours = Image.fromarray(two).quantize(253).getpalette() or []
        shades = np.unique(np.reshape(colours[: 3 * 253], (-1, 3)), axis=0)
    used = {*map(tuple, shades.tolist())}
    unused = next((0, 0, blue) for blue in range(256) if (0, 0, blue) not in used)
    return np.concatenate([shades, [*COLOURS.values(), unused]]).astype(np.uint8)


def _grey_index(pixels: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """Return the index of each pixel in the palette of a grey film, -1 for other colours."""
    channels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))  # NumPy reduces axis 0 much faster
    index = np.where(np.ptp(channels, axis=0) == 0, _nearest_grey(channels[1]), -1)
    for start, colour in enumerate(COLOURS.values(), 1):
        grey = (channels - TINT * np.reshape(colour, (3, 1, 1))) / (1 - TINT)
        is_tint = np.ptp(grey, axis=0) <= 1 / (1 - TINT) + 1e-6  # each channel is rounded
        index = np.where(is_tint, start * GIF_GREYS + _nearest_grey(grey.mean(0)), index)
    return index


def _nearest_grey(values: np.ndarray) -> np.ndarray:
    return (values * ((GIF_GREYS - 1) / 255)).round().clip(0, GIF_GREYS - 1).astype(int)


def _indexed(picture: Image.Image, palette: UInt8[np.ndarray, "n 3"]) -> Image.Image:
    """Convert a frame to a palette, without dithering."""
    pixels, shades = np.asarray(picture), palette[:-3]
    if np.array_equal(shades[:GIF_GREYS], GREYS):
        index = _grey_index(pixels).clip(0).astype(np.uint8)
    else:
        reference = Image.new("P", (1, 1))
        reference.putpalette(shades.tobytes())
        index = np.array(picture.quantize(palette=reference, dither=Image.Dither.NONE))
    read, write = _window_masks(pixels)
    index[read], index[write] = len(shades), len(shades) + 1
    result = Image.fromarray(index).convert("P")
    result.putpalette(palette.tobytes())
    return result


def _window_masks(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return masks of the pixels that have the colours of read and write windows."""
    r, g, b = np.moveaxis(pixels, -1, 0)
    read, write = ((r == c[0]) & (g == c[1]) & (b == c[2]) for c in COLOURS.values())
    return read, write


def _save_webp(
    file: Path | io.BytesIO, film: Sequence[Image.Image], frame_ms: float, hold_ms: int
) -> None:
    first, *rest = (picture.point(WEBP_SHADES * 3) for picture in film)
    first.save(
        *(file, "WEBP"),
        save_all=True,
        append_images=rest,
        duration=[round(frame_ms)] * len(rest) + [hold_ms],
        loop=0,
        lossless=True,
        kmax=0,  # only the first frame is a key frame
        method=4,
        quality=50,  # compression effort
    )


def _save_mp4(path: Path, film: Sequence[Image.Image], frame_ms: float, hold_ms: int) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe

    width, height = film[0].size
    filters = [
        f"tpad=stop_mode=clone:stop_duration={max(0, hold_ms - frame_ms):.3f}ms",
        "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white",  # H.264 halves the resolution of colours
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
        "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709",
    ]
    command = [get_ffmpeg_exe(), "-v", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(1000 / frame_ms), "-i", "-", "-vf", ",".join(filters)]
    command += ["-c:v", "libx264", "-crf", "18", "-movflags", "+faststart", "-f", "mp4"]
    command += [str(path.absolute())]  # a relative path such as 10:30.mp4 would be a URL
    with tempfile.TemporaryFile() as log:  # a full pipe would block ffmpeg
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log) as ffmpeg:
            with suppress(BrokenPipeError):  # ffmpeg ended early; its exit status says why
                for picture in film:
                    ffmpeg.stdin.write(picture.tobytes())  # type: ignore[union-attr]
            ffmpeg.communicate()
        log.seek(0)
        message = log.read().decode(errors="replace")
    if ffmpeg.returncode:
        raise OSError(f"ffmpeg could not write the film: {one_line(OSError(message))}")


WRITERS: dict[str, Writer] = {".gif": _save_gif, ".webp": _save_webp, ".mp4": _save_mp4}
