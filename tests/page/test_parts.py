"""The modules of the page: attention, noise, ink, traces, pictures and GIFs."""

import base64
import io
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from draw import attention
from draw.attention import Window

from .helpers import sample_noise

# ------------------------------------------------------------------ attention.js

WINDOWS = {  # g_x, g_y, delta, sigma2, gamma
    "ordinary": (6.5, 4.2, 1.7, 0.8, 1.3),
    "far outside": (400.0, -250.0, 2.0, 0.5, 1.0),
    "sharp between two pixels": (3.5, 4.5, 1.0, 1e-6, 1.0),
    "broad": (5.0, 5.0, 30.0, 400.0, 0.01),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_read_write_and_filters_equal_those_in_pytorch(module, window, n):
    height, width = 9, 13
    torch.manual_seed(0)
    image, patch = torch.rand(2, height, width), torch.randn(2, n, n)
    ours = Window(*map(torch.tensor, window))
    found = module(
        f"""
        const window = {json.dumps(dict(zip(Window._fields, window, strict=True)))};
        const [image, patch] = {json.dumps([image.flatten().tolist(), patch.flatten().tolist()])};
        const {{ F_x, F_y }} = attention.filterbanks(window, {height}, {width}, {n});
        return [
            attention.read(image, 2, {height}, {width}, window, {n}),
            attention.write(patch, 2, {height}, {width}, window, {n}),
            F_x, F_y,
        ].map((array) => Array.from(array)).concat([Object.values(attention.box(window, {n}))]);
        """
    )
    F_x, F_y = attention.filterbanks(ours, height, width, n)
    expected = [
        attention.read(image, ours, n),
        attention.write(patch, ours, height, width),
        *(F_x, F_y),
        torch.stack(attention.box(ours, n)),
    ]
    for tensor, values in zip(expected, found, strict=True):
        theirs = torch.tensor(values, dtype=torch.float32)
        torch.testing.assert_close(theirs, tensor.flatten(), rtol=1e-5, atol=1e-5)


def test_window_parameters_are_converted_as_in_pytorch(module):
    params = [0.3, -0.2, 0.7, -0.4, 0.1]
    found = module(f"return attention.windowFromParams({params}, 20, 28, 3);")
    expected = Window.from_params(torch.tensor(params), 20, 28, 3)
    assert found == pytest.approx({k: float(v) for k, v in expected._asdict().items()}, rel=1e-6)


# ------------------------------------------------------------------ random.js


def test_the_noise_is_standard_normal(module):
    found = np.array(module("return Array.from(random.normals(40001, 7, 1));"))
    assert abs(found.mean()) < 4 / math.sqrt(len(found))
    assert abs(found.var() - 1) < 4 * math.sqrt(2 / len(found))
    edges = [-2.0, -1.0, 0.0, 1.0, 2.0]
    expected = [(1 + math.erf(edge / math.sqrt(2))) / 2 for edge in edges]
    for edge, share in zip(edges, expected, strict=True):
        assert abs((found < edge).mean() - share) < 4 * math.sqrt(share * (1 - share) / len(found))
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 4 / math.sqrt(len(found))


def test_the_noise_depends_only_on_its_key(module):
    found = module(
        """
        const key = (...numbers) => String(random.normals(9, ...numbers));
        return [key(0, 1), key(0, 1), key(1, 0), key(0, 1, 0), key(0, 2), key(0)];
        """
    )
    assert found[0] == found[1]
    assert len(set(found)) == 5


# ------------------------------------------------------------------ ink.js


def test_a_digit_is_placed_as_in_mnist(module):
    """It fills a box of 20 pixels, keeps its proportions and is centred by its mass."""
    found = module(
        """
        const strokes = [[[0.1, 0.1], [0.15, 0.4], [0.12, 0.5]], [[0.1, 0.3], [0.25, 0.3]]];
        return Array.from(ink.rasterise(ink.centred(strokes, 28, 28), 28, 28));
        """
    )
    pixels = np.array(found).reshape(28, 28)
    assert set(np.unique(pixels)) == {0, 255}
    rows, columns = np.nonzero(pixels)
    assert np.ptp(rows) + 1 == pytest.approx(20, abs=1)
    assert np.ptp(columns) + 1 < 14
    assert rows.mean() + 0.5 == pytest.approx(14, abs=0.5)
    assert columns.mean() + 0.5 == pytest.approx(14, abs=0.5)


def test_a_dot_stays_a_dot(module):
    found = module("return Array.from(ink.rasterise(ink.centred([[[0.9, 0.2]]], 28, 28), 28, 28));")
    pixels = np.array(found).reshape(28, 28)
    assert 1 <= (pixels > 0).sum() <= 9
    assert pixels[13:15, 13:15].any()


def test_a_pen_covers_the_pixels_near_its_path(module):
    found = module("return Array.from(ink.rasterise([[[0.25, 0.5], [0.75, 0.5]]], 20, 32));")
    pixels = np.array(found).reshape(20, 32) > 0
    y, x = np.mgrid[:20, :32] + 0.5
    along = np.clip(x, 6 + 5, 6 + 15)  # the unit square is the middle 20 pixels of 32
    assert (pixels == (np.hypot(x - along, y - 10) <= 20 * 2.4 / 28 / 2)).all()


def test_strokes_survive_the_address(module):
    found = module(
        """
        const strokes = [[]];
        for (let i = 0; i < 50; i++) ink.extend(strokes, [Math.random(), Math.random()]);
        strokes.push([[0, 1]]);
        const text = ink.toText(strokes);
        return [strokes, ink.fromText(text), /^[\\w.-]+$/.test(text)];
        """
    )
    strokes, again, plain = found
    assert plain
    assert len(strokes) == 2
    for ours, theirs in zip(strokes, again, strict=True):
        assert np.array(theirs) == pytest.approx(np.array(ours), abs=1e-9)


def test_a_large_picture_has_room_for_several_digits_of_mnists_size(module):
    """Strokes are not scaled or moved, and each example has two digits."""
    found = module(
        """
        const size = { height: 60, width: 60 };
        const strokes = [[[0.1, 0.1], [0.2, 0.4]]];
        const drawn = examples.examplesFor(size);
        return [ink.centred(strokes, 60, 60), 60 * ink.penWidth(size), drawn.map(([name]) => name),
                drawn.map(([, s]) => Array.from(ink.rasterise(s, 60, 60)))];
        """
    )
    strokes, pen, names, drawn = found
    assert strokes == [[[0.1, 0.1], [0.2, 0.4]]]
    assert pen == pytest.approx(2.4)
    assert names == ["2 3", "3 5", "5 8", "8 2"]
    for picture in np.array(drawn).reshape(-1, 60, 60) > 0:
        assert 120 < picture.sum() < 400
        first, second = picture[:32, :32], picture[28:, 28:]
        assert first.sum() + second.sum() == picture.sum()
        for digit in (first, second):
            rows, columns = np.nonzero(digit)
            assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(20, abs=2)


@pytest.mark.parametrize(
    ("height", "width", "share"), [(14, 14, 1), (28, 28, 1), (54, 54, 1), (56, 60, 0.5)]
)
def test_a_picture_of_at_least_56_pixels_has_room_for_several_digits(module, height, width, share):
    size = f"{{ height: {height}, width: {width} }}"
    assert module(f"return ink.digitShare({size});") == pytest.approx(share)
    names = module(f"return examples.examplesFor({size}).map(([name]) => name);")
    assert names == (["2", "3", "5", "8"] if share == 1 else ["2 3", "3 5", "5 8", "8 2"])


def test_part_of_an_example_contains_part_of_each_digit(module):
    found = module(
        """
        return examples.examplesFor({ height: 60, width: 60 }, 0.4)
            .map(([, s]) => Array.from(ink.rasterise(s, 60, 60)));
        """
    )
    for picture in np.array(found).reshape(-1, 60, 60) > 0:
        for digit in (picture[:32, :32], picture[28:, 28:]):
            assert 20 < digit.sum() < 100


@pytest.mark.parametrize("text", ["", ".", "abc", "abcd..abcd", "ab cd", "äöüß", "a" * 4000, "%00"])
def test_an_invalid_encoding_has_no_strokes(module, text):
    assert module(f"return ink.fromText({json.dumps(text)});") == []


def test_the_number_of_points_is_limited_and_all_are_inside(module):
    found = module(
        """
        const strokes = [[]];
        for (let i = 0; i < 9999; i++) ink.extend(strokes, [3 * Math.random() - 1, Math.random()]);
        ink.extend(strokes, strokes[0].at(-1));
        return strokes[0];
        """
    )
    assert len(found) == 600
    assert np.array(found).min() >= 0
    assert np.array(found).max() <= 1


def test_every_example_is_a_digit_with_a_first_part(module):
    found = module(
        """
        return Object.values(examples.EXAMPLES).map((strokes) => [strokes,
            examples.beginning(strokes, 0.45)].map((s) => Array.from(ink.rasterise(s, 28, 28))));
        """
    )
    assert len(found) == 4
    for whole, part in (np.array(pair) > 0 for pair in found):
        assert 60 < whole.sum() < 200
        assert 0.3 < part.sum() / whole.sum() < 0.7
        assert not (part & ~whole).any()


# ------------------------------------------------------------------ trace.js


def test_sample_traces_equal_the_samples_in_pytorch(module, models):
    for name, network in models.items():
        with torch.no_grad():
            expected = network.generate(24, z=sample_noise(0, *range(24)), record=True)
        count, *films = module(
            f"""
            const films = await trace.readTrace(await (await fetch("traces/{name}.json")).json());
            const plain = ({{ means, start, ...film }}) =>
                ({{ ...film, means: Array.from(means), start: Array.from(start) }});
            return [films.length, plain(films[0]), plain(films[23])];
            """
        )
        assert count == 24
        for b, film in zip((0, 23), films, strict=True):
            assert (film["glimpses"], film["channels"]) == (6, network.config.channels)
            means = torch.tensor(film["means"]).view(expected.means[:, b].shape) / 255
            torch.testing.assert_close(means, expected.means[:, b], rtol=0, atol=0.51 / 255)
            mean = network.likelihood.mean(network.canvas_0.detach())
            start = torch.tensor(film["start"]).view(mean.shape) / 255
            torch.testing.assert_close(start, mean, rtol=0, atol=0.51 / 255)
            assert film["photo"] == (name in ("colour", "grey"))
            assert film["read"] is None
            if expected.write_window is None:
                assert film["write"] is None
                continue
            for key, values in expected.write_window._asdict().items():
                found = [window[key] for window in film["write"]]
                assert found == pytest.approx(values[:, b].tolist(), rel=1e-4)


def test_a_trace_of_another_version_is_rejected(module):
    message = module(
        """
        const json = await (await fetch("traces/plain.json")).json();
        return trace.readTrace({ ...json, version: 2 }).catch((error) => error.message);
        """
    )
    assert message == "the trace has format draw-trace 2; this page reads draw-trace 1"


# ------------------------------------------------------------------ pictures.js, gif.js


@pytest.mark.parametrize(("kind", "colour"), [("read", [0, 255, 0]), ("write", [255, 0, 0])])
def test_a_windows_outline_is_a_line_in_a_band_as_wide_as_sigma(module, kind, colour):
    """At scale 10, an extent of 5.5 to 14.5 is 50 to 140, and a sigma of 0.6 is 6 pixels."""
    data = module(
        f"const kind = '{kind}';"
        """
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(`:root { --ground: #000000; --paper: #ffffff; --ink: #000000;
            --read: #00ff00; --write: #ff0000; --line: #000000; --soft: #000000 }`);
        document.adoptedStyleSheets = [sheet];
        pictures.readColours();
        const canvas = new OffscreenCanvas(200, 200);
        const context = canvas.getContext("2d");
        const window = { g_x: 10, g_y: 10, delta: 3, sigma2: 0.36, gamma: 1 };
        const values = new Uint8Array(400).fill(51);
        const windows = [{ window, n: 3, kind }];
        const picture = { height: 20, width: 20, channels: 1, values, windows };
        pictures.drawPicture(context, picture, 0, 0, 10);
        const { data } = context.getImageData(0, 0, 200, 200);
        return Array.from(new Uint32Array(data.buffer));
        """
    )
    pixels = np.array(data, dtype=np.uint32).view(np.uint8).reshape(200, 200, 4)
    y, x = np.mgrid[:200, :200]

    def inside(low: int, high: int) -> np.ndarray:
        return (np.minimum(x, y) >= low) & (np.maximum(x, y) < high)

    line = inside(50, 141) & ~inside(51, 140)
    tint = inside(47, 143) & ~inside(53, 137)
    tagged = (x >= 50) & (x < 63) & (y >= 37) & (y < 50)
    drawn = (pixels == [*colour, 255]).all(-1)
    assert drawn[tagged].mean() > 0.4  # around the letter R or W
    assert drawn[line].all() == (kind == "read")
    assert 0.4 < drawn[line].mean() < 0.75 or kind == "read"  # the line of write windows is dashed
    soft = 0.7 * 204 + 0.3 * np.array([*colour, 374])
    band = tint & ~inside(49, 142) | inside(52, 139) & ~inside(53, 137)
    assert np.abs(pixels[band & ~tagged] - soft).max() <= 1
    assert (pixels[~tint & ~tagged] == [204, 204, 204, 255]).all()


def decode(data: str) -> tuple[Image.Image, list[np.ndarray]]:
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    return image, [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]


GIF = """
    const blob = film.blob();
    const bytes = new Uint8Array(await blob.arrayBuffer());
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
"""


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (160, 120)])
@pytest.mark.parametrize("colours", [2, 60, 200])
def test_a_gif_stores_frames_of_up_to_255_colours_exactly(module, size, colours):
    """To six bits per channel."""
    rng = np.random.default_rng(0)
    table = rng.integers(0, 64, (colours, 3)) * 4
    frames = table[rng.integers(0, colours, (3, size[1], size[0]))]
    frames[1] = frames[0]
    frames[1, 0, 0] = table[0]
    rgba = np.concatenate([frames, np.full((*frames.shape[:3], 1), 255)], -1)
    data = module(
        f"""
        const film = new gif.Gif({size[0]}, {size[1]});
        for (const frame of {json.dumps(rgba.reshape(3, -1).tolist())}) film.add(frame, 7);
        {GIF}
        """
    )
    image, found = decode(data)
    assert image.size == size
    assert image.info["loop"] == 0
    assert len(found) == 3
    for ours, theirs in zip(frames, found, strict=True):
        assert (theirs >> 2 == ours >> 2).all()
        assert (theirs[ours == 252] == 255).all()


def test_a_gif_approximates_frames_of_many_colours(module):
    y, x = np.mgrid[:64, :64]
    frame = np.stack([4 * x, 4 * y, 2 * (x + y), np.full_like(x, 255)], -1)
    data = module(
        f"""
        const film = new gif.Gif(64, 64);
        film.add({json.dumps(frame.flatten().tolist())}, 10);
        {GIF}
        """
    )
    _, found = decode(data)
    assert len(np.unique(found[0].reshape(-1, 3), axis=0)) <= 255
    error = np.abs(found[0].astype(int) - frame[..., :3])
    assert error.mean() < 8
    assert error.max() < 40


def test_a_gif_stores_the_duration_of_each_frame(module):
    data = module(
        f"""
        const film = new gif.Gif(2, 2);
        film.add(new Uint8Array(16).fill(255), 4);
        film.add(new Uint8Array(16).fill(0), 180);
        {GIF}
        """
    )
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert [frame.info["duration"] for frame in ImageSequence.Iterator(image)] == [40, 1800]
