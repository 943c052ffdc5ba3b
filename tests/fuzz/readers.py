"""Every reader of files that strangers may have written, with good files to begin from."""

import functools
import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from draw.data import cifar, house_numbers
from draw.data.archive import members
from draw.data.download import read_bounded
from draw.data.mnist import parse_amat, parse_idx
from draw.data.packed import unpack
from draw.data.svhn import read_mat
from draw.decoding import decode
from draw.figures import load_recording, save_recording
from draw.model import DRAW, DRAWConfig
from draw.storage.run_folder import RunFolder, TrainState
from draw.training.config import TrainConfig
from draw.training.step import TrainState
from draw.zoo import load
from tests.data.conftest import tar_gz
from tests.data.test_house_numbers import digit_struct
from tests.figures.test_recording import recorded
from tests.fuzz.mutations import damaged, distorted

NETWORK = DRAWConfig(height=6, width=5, glimpses=2, hidden_size=4, latent_size=2)
TRAINING = TrainConfig(model=NETWORK, data="folder", data_dir=Path("pictures"))
NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)


class Reader(NamedTuple):
    """What reads a file, and files for it, more bad than good."""

    read: Callable[[Path], object]
    files: Callable[[Path], st.SearchStrategy[bytes]]  # made from good ones in an empty folder
    name: str = "file"  # what the file must be called


def of_bytes(*good: bytes) -> Callable[[Path], st.SearchStrategy[bytes]]:
    return lambda _: damaged(good)


# ---- data


def idx() -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + bytes(range(24))


def amat() -> bytes:
    return (b"0 1 " * 392)[:-1] + b"\n"


def batch(path: Path) -> np.ndarray:
    with mock.patch.object(cifar, "RECORDS", 2):
        return cifar.parse_batch(path.read_bytes(), "the batch")


def tars() -> list[bytes]:
    """Archives, unpacked, in the formats that there are."""
    made = [gzip.decompress(tar_gz({"set/a": b"1st", "other": bytes(2000)}))]
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as tar:
            for name, kind in (("x" * 99, b"2"), ("set/a", b"1"), ("set/a", b"0"), ("set/a", b"S")):
                member = tarfile.TarInfo(name)
                member.type, member.linkname, member.uname = kind, "/etc/hostname", "\u00e9"
                if form != tarfile.USTAR_FORMAT:
                    member.name += "y" * 150 * (kind == b"2")
                tar.addfile(member)
        made.append(file.getvalue())
    return made


def archive(path: Path) -> list[bytes]:
    return [file.read() for _, file in members(path, ["set/a"], largest=100)]


def unpacked_archive(path: Path) -> list[bytes]:
    """An archive that was damaged before it was compressed."""
    path.write_bytes(gzip.compress(path.read_bytes(), 1))
    return archive(path)


def mats() -> list[bytes]:
    made = []
    for compressed in (False, True):
        file = io.BytesIO()
        arrays = {"X": np.ones((32, 32, 3, 2), np.uint8), "y": np.array([[1], [10]], np.uint8)}
        savemat(file, arrays, do_compression=compressed)
        made.append(file.getvalue())
    return made


def boxes(path: Path) -> object:
    with path.open("rb") as file:
        return house_numbers.read_boxes(file, "the boxes")


def pictures() -> list[bytes]:
    made = []
    shades = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    for kind, picture in (
        *((kind, Image.fromarray(NOISE[..., :3])) for kind in ("PNG", "JPEG", "WEBP", "GIF")),
        *((kind, Image.fromarray(NOISE)) for kind in ("PNG", "WEBP", "GIF")),
        *(("PNG", shades), ("PNG", Image.fromarray(NOISE[..., 0]).convert("1"))),
    ):
        file = io.BytesIO()
        picture.save(file, kind)
        made.append(file.getvalue())
    return made


def photograph(path: Path) -> np.ndarray:
    return house_numbers.cut_out(path.read_bytes(), (1.0, 1.0, 5.0, 6.0), "the photograph")


# ---- models, runs, traces


@functools.cache
def good_model() -> DRAW:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DRAW(NETWORK)


@functools.cache
def good_learner() -> TrainState:
    """After one step."""
    state = TrainState.create(TRAINING)
    sum(parameter.sum() for parameter in state.model.parameters()).backward()
    for optimizer in state.optimizers:
        optimizer.step()
    state.step = 1
    return state


def model_file(folder: Path, name: str) -> bytes:
    good_model().save(folder)
    return (folder / name).read_bytes()


def run_file(folder: Path) -> bytes:
    RunFolder(folder).create(TRAINING.to_dict(), {"training": "0" * 64, "binarisation": "none"})
    return (folder / "run.json").read_bytes()


def run(path: Path) -> object:
    found = RunFolder.open(path.parent)
    return read_config(found), found.read()


def log(path: Path) -> object:
    RunFolder(path.parent).trim_log(60)
    return RunFolder(path.parent).records()


def log_line(step: int) -> dict[str, object]:
    return {"step": step, "train_elbo_nats": -1.5, "gradient_norm": float("inf"), "stderr": None}


def checkpoint_file(folder: Path) -> bytes:
    RunFolder(folder).save(good_learner())
    return (folder / "checkpoints" / "000000001.safetensors").read_bytes()


def checkpoint(path: Path) -> object:
    return RunFolder(path.parent.parent).restore(TrainState.create(TRAINING))


def trace_file(folder: Path) -> bytes:
    save_recording(folder / "file", recorded(encode=True)[0])
    return (folder / "file").read_bytes()


def header_of(file: bytes) -> dict[str, Any]:
    """That of a safetensors file."""
    return dict(json.loads(file[8 : 8 + struct.unpack("<Q", file[:8])[0]]))


def with_header(file: bytes, text: bytes) -> bytes:
    """A safetensors file with another header."""
    start = 8 + struct.unpack("<Q", file[:8])[0]
    return struct.pack("<Q", len(text)) + text + file[start:]


def with_distorted_header(file: bytes) -> st.SearchStrategy[bytes]:
    """A safetensors file whose header is JSON as ever, but tells something else."""
    return distorted([header_of(file)]).map(functools.partial(with_header, file))


def with_counters(file: bytes, counters: bytes) -> bytes:
    """A checkpoint that has come as far as this JSON says."""
    header = header_of(file) | {"__metadata__": {"draw": counters.decode()}}
    return with_header(file, json.dumps(header).encode())


WEIGHTS, CONFIG = "model.safetensors", "config.json"
CHECKPOINT = "checkpoints/000000001.safetensors"

READERS: dict[str, Reader] = {
    "IDX": Reader(lambda path: parse_idx(path.read_bytes(), 3, "the images"), of_bytes(idx())),
    "amat": Reader(lambda path: parse_amat(path.read_bytes(), "the text"), of_bytes(amat())),
    "CIFAR": Reader(batch, of_bytes(bytes(2 * cifar.RECORD))),
    "gzip": Reader(
        lambda path: read_bounded(path, 100), of_bytes(gzip.compress(bytes(100))), name="file.gz"
    ),
    "archive": Reader(archive, of_bytes(*map(gzip.compress, tars()))),
    "archive within": Reader(unpacked_archive, of_bytes(*tars())),
    "SVHN digits": Reader(read_mat, of_bytes(*mats())),
    "SVHN boxes": Reader(boxes, of_bytes(digit_struct({"1.png": [(7, 5, 10, 20)] * 2}))),
    "SVHN photograph": Reader(photograph, of_bytes(*pictures())),
    "picture": Reader(lambda path: decode(path, (3, 4, 4)), of_bytes(*pictures())),
    "packed": Reader(lambda path: unpack(path, (1, 2, 2), record=3), of_bytes(bytes(14 + 32))),
    "config": Reader(
        lambda path: load(path.parent),
        lambda folder: damaged([model_file(folder, CONFIG)]),
        name=CONFIG,
    ),
    "config, as JSON": Reader(
        lambda path: load(path.parent),
        lambda folder: distorted([json.loads(model_file(folder, CONFIG))]),
        name=CONFIG,
    ),
    "weights": Reader(
        lambda path: load(path.parent),
        lambda folder: damaged([model_file(folder, WEIGHTS)]),
        name=WEIGHTS,
    ),
    "weights, the header": Reader(
        lambda path: load(path.parent),
        lambda folder: with_distorted_header(model_file(folder, WEIGHTS)),
        name=WEIGHTS,
    ),
    "run": Reader(run, lambda folder: damaged([run_file(folder)]), name="run.json"),
    "run, as JSON": Reader(
        run, lambda folder: distorted([json.loads(run_file(folder))]), name="run.json"
    ),
    "log": Reader(
        log,
        lambda _: st.lists(distorted([log_line(50), log_line(100)]), max_size=3).map(b"\n".join),
        name="metrics.jsonl",
    ),
    "checkpoint": Reader(
        checkpoint, lambda folder: damaged([checkpoint_file(folder)]), name=CHECKPOINT
    ),
    "checkpoint, the header": Reader(
        checkpoint, lambda folder: with_distorted_header(checkpoint_file(folder)), name=CHECKPOINT
    ),
    "checkpoint, the counters": Reader(
        checkpoint,
        lambda folder: distorted(
            [{"step": 1, "best_nats": -1.5, "skipped": 0, "skipped_in_row": 0}]
        ).map(functools.partial(with_counters, checkpoint_file(folder))),
        name=CHECKPOINT,
    ),
    "trace": Reader(load_recording, lambda folder: damaged([trace_file(folder)])),
    "trace, as JSON": Reader(
        load_recording, lambda folder: distorted([json.loads(trace_file(folder))])
    ),
}
