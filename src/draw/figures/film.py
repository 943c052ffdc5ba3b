"""Films: a recorded trace step by step, as GIF, WebP or MP4."""

import subprocess
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
from draw.errors import ConfigError
from draw.figures.grid import GAP, GREEN, RED, arrange, panels, windowed
from draw.storage.files import atomic_path
from draw.trace import Trace

LARGEST = 16_000  # pixels of a side; WebP holds little more
GREYS = 32  # shades of a grey GIF: none is more than 4 of 255 off
_THIRDS = [3 * round(shade / 3) for shade in range(256)]  # of WebP: none is 2 off


@dataclass(frozen=True, kw_only=True, eq=False)
class Film(Sequence[Image.Image]):
    """The canvases after each step of a recorded trace, then the finished pictures alone.

    Each is drawn when it is asked for. The border of a window encloses its patch, and its line is
    sigma wide (figures 1 and 5).

    Args:
        columns: tiles a row.
        scale: screen pixels a pixel.
        read_size, write_size: the patch size N of each window that is to be drawn.
        images: what was encoded, shown beside the canvases, with the read windows.

    Raises:
        TraceError: the trace was not recorded.
        ConfigError: the film would be too large for its formats.

    >>> from draw.model import DRAW, DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
    >>> film = Film(trace=model.generate(6, record=True), columns=3, write_size=5)
    >>> len(film), film[0].size
    (4, (76, 50))
    """

    trace: Trace
    columns: int
    scale: int = 3
    read_size: int | None = None
    write_size: int | None = None
    images: Float[Tensor, "B C H W"] | None = None

    def __post_init__(self) -> None:
        _check_size(self.trace.means, self.columns, self.scale, 1 if self.images is None else 2)

    def __len__(self) -> int:
        return len(self.trace.z) + 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[t] for t in range(len(self))[index]]
        t = range(len(self))[index]
        finished = t == len(self.trace.z)
        read = None if finished else self.trace.read_window
        write = None if finished else self.trace.write_window
        means = self.trace.mean if finished else self.trace.means[t]
        canvases = windowed(means, self.scale, write, t, self.write_size, RED)
        if self.images is None:
            return arrange(canvases, self.columns)
        images = windowed(self.images, self.scale, read, t, self.read_size, GREEN)
        sides = {"image": images, "canvas": canvases}
        return panels({title: arrange(tiles, self.columns) for title, tiles in sides.items()})


def _check_size(tiles: Tensor, columns: int, scale: int, sides: int = 1) -> None:
    """Refuse what no format holds.

    Args:
        tiles: [..., B, C, H, W].
        sides: how many of such grids stand side by side.
    """
    B, _, H, W = tiles.shape[-4:]
    width = sides * min(columns, B) * (W * scale + GAP)
    height = -(-B // columns) * (H * scale + GAP)
    if max(width, height) > LARGEST:
        raise ConfigError(
            f"a film of {width:,} x {height:,} pixels is too large, {LARGEST:,} is the longest "
            f"side; take fewer images, a smaller scale or another number of columns"
        )


def looking(
    images: Float[Tensor, "B C H W"],
    windows: Window,
    *,
    read_size: int,
    columns: int,
    scale: int = 1,
) -> list[Image.Image]:
    """A film of where a classifier looks in turn, in green.

    Args:
        windows: fields [T, B].
        read_size: the patch size N of the windows.

    Raises:
        ConfigError: the film would be too large for its formats.

    >>> import torch
    >>> windows = Window(*torch.ones(5, 3, 2))
    >>> len(looking(torch.rand(2, 1, 20, 20), windows, read_size=5, columns=2))
    3
    """
    _check_size(images, columns, scale)
    return [
        arrange(windowed(images, scale, windows, t, read_size, GREEN), columns)
        for t in range(len(windows.g_x))
    ]


def save_film(path: Path, film: Sequence[Image.Image], *, frame_ms: int, hold_ms: int) -> None:
    """Write an animation, as GIF, WebP or MP4 by the file's suffix.

    A GIF of grey pictures has 32 shades of grey, one of colour the 253 colours that suit it best.
    WebP has every third shade, so none is off by more than 1 of 255. In both the borders of
    windows keep their exact colour. MP4 needs the extra `mp4`; it blurs colours a little.

    Args:
        film: pictures of one size.
        frame_ms: how long each is shown; a GIF counts in 10 ms, and 20 are its least.
        hold_ms: how long the last is shown, before a GIF or WebP starts again.

    Raises:
        ConfigError: no such format, or the extra is missing.
        OSError: the disk is full or not writable.
    """
    writer = check_film(path)
    with atomic_path(path) as partial:
        writer(partial, film, frame_ms, hold_ms)


Writer = Callable[[Path, Sequence[Image.Image], int, int], None]


def check_film(path: Path) -> Writer:
    """What writes films of this suffix; to be asked before a long work.

    Raises:
        ConfigError: no such format, or the extra is missing.
    """
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ConfigError(f"{path} is no film; its name must end in {', '.join(WRITERS)}")
    if writer is _save_mp4:
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError as error:
            raise ConfigError("films as MP4 need: pip install 'draw[mp4]'") from error
    return writer


def _save_gif(path: Path, film: Sequence[Image.Image], frame_ms: int, hold_ms: int) -> None:
    shown, held = (max(20, round(ms / 10) * 10) for ms in (frame_ms, hold_ms))
    palette = _palette(film)
    first, *rest = (_indexed(picture, palette) for picture in film)
    first.save(
        *(path, "GIF"),
        save_all=True,
        append_images=rest,
        duration=[shown] * len(rest) + [held],
        loop=0,
        palette=palette.tobytes(),
        optimize=True,  # what did not change since the last picture is transparent
        transparency=len(palette) - 1,
    )


def _palette(film: Sequence[Image.Image]) -> UInt8[np.ndarray, "n 3"]:
    """The colours of a whole film: shades, then RED, GREEN and one that no picture has.

    Evenly spaced greys where its middle and its end are grey but for the windows, as they serve
    every picture best; else those that suit these two.
    """
    two = np.concatenate([np.asarray(film[len(film) // 2]), np.asarray(film[-1])])
    red, green = _marked(two)
    if (np.ptp(two, axis=-1)[~red & ~green] == 0).all():
        shades = np.linspace(0, 255, GREYS).round()[:, None].repeat(3, axis=1)
    else:
        colours = Image.fromarray(two).quantize(253).getpalette() or []
        shades = np.unique(np.reshape(colours[: 3 * 253], (-1, 3)), axis=0)
    taken = {*map(tuple, shades.tolist())}
    spare = next((0, 0, blue) for blue in range(256) if (0, 0, blue) not in taken)
    return np.concatenate([shades, [RED, GREEN, spare]]).astype(np.uint8)


def _indexed(picture: Image.Image, palette: UInt8[np.ndarray, "n 3"]) -> Image.Image:
    pixels, shades = np.asarray(picture), palette[:-3]
    if (np.ptp(shades, axis=1) == 0).all():
        index = (pixels[..., 1] * ((len(shades) - 1) / 255)).round().astype(np.uint8)
    else:
        paint = Image.new("P", (1, 1))
        paint.putpalette(shades.tobytes())
        index = np.array(picture.quantize(palette=paint, dither=Image.Dither.NONE))
    red, green = _marked(pixels)
    index[red], index[green] = len(shades), len(shades) + 1
    result = Image.fromarray(index).convert("P")
    result.putpalette(palette.tobytes())
    return result


def _marked(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the borders of the windows are: red, green."""
    r, g, b = np.moveaxis(pixels, -1, 0)
    red, green = ((r == c[0]) & (g == c[1]) & (b == c[2]) for c in (RED, GREEN))
    return red, green


def _save_webp(path: Path, film: Sequence[Image.Image], frame_ms: int, hold_ms: int) -> None:
    first, *rest = (picture.point(_THIRDS * 3) for picture in film)
    first.save(
        *(path, "WEBP"),
        save_all=True,
        append_images=rest,
        duration=[frame_ms] * len(rest) + [hold_ms],
        loop=0,
        lossless=True,
        kmax=0,  # only the first frame is stored whole
        method=4,
        quality=50,  # how hard to look for a smaller file
    )


def _save_mp4(path: Path, film: Sequence[Image.Image], frame_ms: int, hold_ms: int) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe

    width, height = film[0].size
    filters = [
        f"tpad=stop_mode=clone:stop_duration={max(0, hold_ms - frame_ms)}ms",
        "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white",  # H.264 halves the resolution of colours
        "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p",
        "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709",
    ]
    command = [get_ffmpeg_exe(), "-v", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(1000 / frame_ms), "-i", "-", "-vf", ",".join(filters)]
    command += ["-c:v", "libx264", "-crf", "18", "-movflags", "+faststart", "-f", "mp4", str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe) as ffmpeg:
        with suppress(BrokenPipeError):  # it has ended early, and its status tells
            for picture in film:
                ffmpeg.stdin.write(picture.tobytes())  # type: ignore[union-attr]
        _, complaint = ffmpeg.communicate()
    if ffmpeg.returncode:
        raise OSError(f"ffmpeg could not write the film: {complaint.decode(errors='replace')}")


WRITERS: dict[str, Writer] = {".gif": _save_gif, ".webp": _save_webp, ".mp4": _save_mp4}
