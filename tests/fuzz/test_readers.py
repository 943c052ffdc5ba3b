"""Damaged files: every reader returns their contents or raises one of our errors, in little memory.

The same few examples run each time. To search for new ones, in thousands per reader:
`pytest tests/fuzz --hypothesis-profile thorough`.
"""

import copy
import functools
import gzip
import io
import json
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from draw.data.download import RemoteFile, archive_members, check
from draw.data.house_numbers import cut_out, read_boxes
from draw.data.packed import unpack
from draw.data.picture_files import load_picture
from draw.errors import DrawError
from draw.model import DRAW, DRAWConfig
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.state import TrainState, read_config, restore_checkpoint, save_checkpoint
from draw.zoo import load
from tests.data.conftest import tar_gz
from tests.data.test_house_numbers import digit_struct

MAX_MEMORY_BYTES = 1 << 28  # for reading a small file
THOROUGH = settings.default.max_examples > 100
EXAMPLES = settings.default.max_examples if THOROUGH else 25
NETWORK = DRAWConfig(height=6, width=5, glimpses=2, hidden_size=4, latent_size=2)
CONFIG = TrainConfig(model=NETWORK, data="folder", data_dir=Path("pictures"))
NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)

EXTREMES = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
JUNK: tuple[Any, ...] = (
    *(None, True, 0, 2, -1, 8192, 2**31, 2**53 + 1, 2**64, 10**400, 0.5, 1e308, 5e-324),
    *(float("nan"), float("inf"), "", "x", "7", "F64", "\0", "two\nlines", "\ud800", "../x"),
    *("x" * 999, [], {}, [[]], [2**63], [2**32, 2**32], {"": 0}, {"x": {}}, [None] * 50),
)


@st.composite
def damaged(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """A good file with up to four changes to its bytes."""
    data = bytearray(draw(st.sampled_from(files)))
    changes = st.sampled_from(("flip", "insert", "delete", "truncate", "repeat", "number"))
    for change in draw(st.lists(changes, max_size=4)):
        at, to = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        match change:
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del data[at:to]
            case "truncate":
                del data[at:]
            case "repeat":
                data[at:at] = data[at:to]
            case "number":
                order = draw(st.sampled_from("<>"))
                data[at : at + 4] = struct.pack(f"{order}I", draw(st.sampled_from(EXTREMES)))
    return bytes(data)


@st.composite
def distorted(draw: st.DrawFn, value: Any) -> bytes:
    """A JSON value with up to four changes to its structure."""
    root = [copy.deepcopy(value)]
    for _ in range(draw(st.integers(1, 4))):
        inside, key = draw(st.sampled_from(list(places(root))))
        match draw(st.sampled_from(("replace", "wrap", "remove", "add"))):
            case "replace":
                inside[key] = copy.deepcopy(draw(st.sampled_from(JUNK)))
            case "wrap":
                inside[key] = draw(st.sampled_from(([inside[key]], {"x": inside[key]})))
            case "remove" if inside is not root:
                del inside[key]
            case "add" if isinstance(inside, dict):
                inside[draw(st.sampled_from([x for x in JUNK if isinstance(x, str)]))] = 0
    return json.dumps(root[0]).encode()


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key or index) of a JSON tree."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from places(tree[key])


class Reader(NamedTuple):
    """A function that reads a file, and a strategy for files, made in an empty folder."""

    read: Callable[[Path], object]
    files: Callable[[Path], st.SearchStrategy[bytes]]
    name: str = "file"


def bytes_of(*good: bytes) -> Callable[[Path], st.SearchStrategy[bytes]]:
    return lambda _: damaged(good)


def pictures() -> list[bytes]:
    encoded = []
    for kind, picture in (
        *((kind, Image.fromarray(NOISE[..., :3])) for kind in ("PNG", "JPEG", "WEBP", "GIF")),
        *((kind, Image.fromarray(NOISE)) for kind in ("PNG", "WEBP", "GIF")),
        ("PNG", Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)),
    ):
        file = io.BytesIO()
        picture.save(file, kind)
        encoded.append(file.getvalue())
    return encoded


def read_archive(path: Path) -> object:
    return list(archive_members(path, ["set/a"], max_bytes=100))


def read_tar(path: Path) -> object:
    """Read an archive that was damaged before it was compressed."""
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return read_archive(path)


@functools.cache
def good_run() -> Callable[[Path], None]:
    """A function that writes a run with one checkpoint and a model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DRAW(NETWORK)
    state = TrainState.create(CONFIG)
    sum(parameter.sum() for parameter in state.model.parameters()).backward()
    for optimizer in state.optimizers:
        optimizer.step()
    state.step = 1

    def write(folder: Path) -> None:
        RunFolder(folder).create(CONFIG.to_dict(), {"training": "0" * 64, "binarisation": "none"})
        save_checkpoint(RunFolder(folder), state)
        model.save(folder)

    return write


def good_file(folder: Path, name: str) -> bytes:
    good_run()(folder)
    content = (folder / name).read_bytes()
    (folder / "run.json").unlink()
    return content


def header_length(file: bytes) -> int:
    return int(struct.unpack("<Q", file[:8])[0])


def with_header(file: bytes, text: bytes) -> bytes:
    """Replace the header of a safetensors file."""
    return struct.pack("<Q", len(text)) + text + file[8 + header_length(file) :]


def distorted_header(file: bytes) -> st.SearchStrategy[bytes]:
    header = json.loads(file[8 : 8 + header_length(file)])
    return distorted(header).map(functools.partial(with_header, file))


def read_model(path: Path) -> object:
    return load(path.parent)


def read_run(path: Path) -> object:
    run = RunFolder.open(path.parent)
    return read_config(run), run.read()


def read_checkpoint(path: Path) -> object:
    return restore_checkpoint(RunFolder(path.parent.parent), TrainState.create(CONFIG))


def read_log(path: Path) -> object:
    RunFolder(path.parent).rewind(60)
    return RunFolder(path.parent).records()


MODEL, RUN = ("model.safetensors", "config.json"), "run.json"
CHECKPOINT = "checkpoints/000000001.safetensors"
LOG_LINE = {"step": 50, "train_elbo_nats": -1.5, "gradient_norm": float("inf"), "stderr": None}
TAR = gzip.decompress(tar_gz({"set/a": b"1st", "other": bytes(2000)}))

READERS: dict[str, Reader] = {
    "gzip": Reader(
        lambda path: check(RemoteFile("file", 100, None), path, "it"),
        bytes_of(gzip.compress(bytes(100))),
        "file.gz",
    ),
    "archive": Reader(read_archive, bytes_of(gzip.compress(TAR))),
    "tar": Reader(read_tar, bytes_of(TAR)),
    "boxes": Reader(
        lambda path: read_boxes(path.read_bytes(), "it"),
        bytes_of(digit_struct({"1.png": [(7, 5, 10, 20)] * 2})),
    ),
    "photograph": Reader(
        lambda path: cut_out(path.read_bytes(), (1.0, 1.0, 5.0, 6.0), "it"), bytes_of(*pictures())
    ),
    "picture": Reader(lambda path: load_picture(path, (3, 4, 4)), bytes_of(*pictures())),
    "packed": Reader(lambda path: unpack(path, (1, 2, 2), record_bytes=3), bytes_of(bytes(46))),
    **{
        name: Reader(read_model, lambda folder, name=name: damaged([good_file(folder, name)]), name)
        for name in MODEL
    },
    "config.json, structure": Reader(
        read_model, lambda folder: distorted(json.loads(good_file(folder, MODEL[1]))), MODEL[1]
    ),
    "model.safetensors, header": Reader(
        read_model, lambda folder: distorted_header(good_file(folder, MODEL[0])), MODEL[0]
    ),
    "run.json": Reader(read_run, lambda folder: damaged([good_file(folder, RUN)]), RUN),
    "run.json, structure": Reader(
        read_run, lambda folder: distorted(json.loads(good_file(folder, RUN))), RUN
    ),
    "log": Reader(
        read_log,
        lambda _: st.lists(distorted(LOG_LINE), max_size=3).map(b"\n".join),
        "metrics.jsonl",
    ),
    "checkpoint": Reader(
        read_checkpoint, lambda folder: damaged([good_file(folder, CHECKPOINT)]), CHECKPOINT
    ),
    "checkpoint, header": Reader(
        read_checkpoint, lambda folder: distorted_header(good_file(folder, CHECKPOINT)), CHECKPOINT
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_in_one_line(name, tmp_path):
    reader = READERS[name]

    @settings(
        max_examples=EXAMPLES,
        derandomize=not THOROUGH,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=reader.files(tmp_path))
    def try_one(data: bytes) -> None:
        path = tmp_path / reader.name
        path.write_bytes(data)
        before = peak_memory(reset=True)
        message = ""
        try:
            reader.read(path)
        except DrawError as error:
            message = str(error)
        assert len(message.splitlines()) <= 1
        assert len(message) < 10_000
        assert peak_memory() < before + MAX_MEMORY_BYTES

    try_one()


def peak_memory(*, reset: bool = False) -> int:
    """Read the peak of the resident memory, including that of C libraries, in bytes."""
    if sys.platform != "linux":
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
