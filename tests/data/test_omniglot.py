"""Omniglot, from a few small files in both formats."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw.data import load, omniglot
from tests.data.conftest import Server, remote

CHARACTERS = {"train": 66, "test": 3}  # two characters for training, 64 for validation
RNG = np.random.default_rng(0)
PAPER = {  # as published: False is ink
    part: RNG.random((count, 20, 21, 21)).repeat(5, 2).repeat(5, 3) > 0.3
    for part, count in CHARACTERS.items()
}
SPLITS = {"train": PAPER["train"][:2], "valid": PAPER["train"][2:], "test": PAPER["test"]}


def archive(part: str) -> bytes:
    """Pack drawings like the published archives, in another order and with other files."""
    packed, first = io.BytesIO(), {"train": 1, "test": 965}[part]
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("__MACOSX/images/Latin/character01/._0001_01.png", b"")
        for character, drawings in reversed(list(enumerate(PAPER[part]))):
            for drawer, drawing in enumerate(drawings, start=1):
                png = io.BytesIO()
                Image.fromarray(drawing).save(png, "PNG")
                name = f"alphabet{character % 3}/character{character % 7}"
                name = f"images/{name}/{first + character:04}_{drawer:02}.png"
                file.writestr(name, png.getvalue())
    return packed.getvalue()


def arrays(part: str) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, images=PAPER[part])
    return packed.getvalue()


@pytest.fixture(params=["published", "folder of archives", "arrays"])
def data_dir(
    request: pytest.FixtureRequest, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Replace the published files by small ones, on a server or in a folder."""
    (tmp_path / "omniglot").mkdir()
    for part in CHARACTERS:
        name, content = omniglot.ARCHIVES[part].name, archive(part)
        url = server.serve(name, content) if request.param == "published" else ""
        monkeypatch.setitem(omniglot.ARCHIVES, part, remote(name, content, url))
        if request.param == "folder of archives":
            (tmp_path / name).write_bytes(content)
        if request.param == "arrays":
            name, content = omniglot.ARRAYS[part].name, arrays(part)
            monkeypatch.setitem(omniglot.ARRAYS, part, remote(name, content))
            (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    ("split", "digest"),
    [
        ("train", "fce1247a258cda57afa834560a40480e88ed6887de526e49ff685b703559589d"),
        ("valid", "c8d6d7c3893fa83d05a941ec05e0887c9ee4d81706f1b7f23fd9d8543ad33ec4"),
        ("test", "afdcc059e5c530391e099532d0bce52930e134f66fff9d1f7b804ccde51824ac"),
    ],
)
def test_all_formats_give_the_same_characters(data_dir, split, digest):
    images = load("omniglot", split, data_dir=data_dir)
    assert images.binarisation == "static"
    assert images.shape == (1, 28, 28)
    assert len(images) == 20 * len(SPLITS[split])
    assert images.digest() == digest


def test_a_pixel_is_ink_if_more_than_half_of_its_area_is():
    ink = RNG.random((50, 105, 105)) < RNG.random((50, 1, 1))
    fine = ink.repeat(4, 1).repeat(4, 2)  # 420 x 420, a multiple of both sizes
    areas = fine.reshape(50, 28, 15, 28, 15).mean((2, 4))
    np.testing.assert_array_equal(omniglot.reduce(ink), 255 * (areas > 0.5))
