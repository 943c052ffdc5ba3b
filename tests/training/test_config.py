"""The training configuration."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from draw.classifier import ClassifierConfig
from draw.data import Images
from draw.data.transforms import RandomCrop
from draw.errors import ConfigError
from draw.model import DRAWConfig
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.state import read_config
from tests.training.tiny import CONFIG

INVALID = {
    "shift": (-1, 5),  # at most half of the 8 x 8 pixels
    "steps": (0, 10**30),
    "batch_size": (0, 100_001),
    "microbatches": (0, 5),
    "learning_rate": (0.0, 1.1, float("nan")),
    "warmup_steps": (-1, 10**30),
    "weight_decay": (-0.1, 1e3, float("nan")),
    "clip_norm": (0.0, float("inf")),
    "ema_decay": (-0.1, 1.0, float("nan")),
    "eval_every": (0, 10**30),
    "eval_images": (0, 10**30),
    "checkpoint_every": (0, 10**30),
    "seed": (-1, 10**30),
    "optimizer": ("sgd",),
    "data": ("imagenet",),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in INVALID.items() for value in values]
)
def test_an_invalid_value_names_its_field_and_value(name, value, untyped):
    with pytest.raises(
        ConfigError, match=f"{name} is {value!r}; it must be|no data set 'imagenet'"
    ):
        replace(CONFIG, **{name: value})


def test_antithetic_sampling_of_a_classifier_is_an_error():
    with pytest.raises(ConfigError, match="antithetic sampling needs latent noise"):
        TrainConfig(model=ClassifierConfig(), data="cluttered-100", antithetic=True)


@pytest.mark.parametrize("model", [CONFIG.model, ClassifierConfig(glimpses=2)])
def test_a_configuration_survives_the_run_folder(tmp_path, model):
    config = replace(CONFIG, model=model, data_dir=tmp_path, learning_rate=0.1 + 0.2)
    run = RunFolder(tmp_path / "run")
    run.create(config.to_dict(), {})
    assert read_config(run) == config
    assert run.read()["config"]["model"]["type"] == model.network


def test_saved_paths_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "before").mkdir()
    config = replace(CONFIG, data_dir=tmp_path.relative_to(tmp_path), start_from="before")
    values = config.to_dict()
    assert (values["data_dir"], values["start_from"]) == (str(tmp_path), str(tmp_path / "before"))
    assert replace(CONFIG, start_from="quick").to_dict()["start_from"] == "quick"


def test_whole_floats_numpy_scalars_and_strings_are_converted(untyped):
    config = TrainConfig(
        steps=1e1,
        batch_size=np.int64(3),
        learning_rate=np.float32(0.5),
        data_dir="pictures",
        model=DRAWConfig(glimpses=np.int32(4), read_size=2.0),
    )
    assert [type(v) for v in (config.steps, config.batch_size, config.learning_rate)] == [
        int,
        int,
        float,
    ]
    assert type(config.model.glimpses) is type(config.model.read_size) is int
    assert config.data_dir == Path("pictures")
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())), "it").steps == 10
    assert type(ClassifierConfig(classes=np.int64(7), read_size=3.0).classes) is int


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 1.5}, "steps is 1.5; it must be an integer"),
        ({"antithetic": 1}, "antithetic is 1; it must be true or false"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd'; it must be adam or muon"),
        ({"data_dir": 3}, "data_dir is 3; it must be a path or null"),
        ({"model": None}, "model is None; it must be a DRAWConfig or ClassifierConfig"),
    ],
)
def test_other_types_are_errors_before_any_work_starts(values, message, untyped):
    with pytest.raises(ConfigError, match=re.escape(message)):
        TrainConfig(**values)


# ---------------------------------------------------------------------- mirrored images


def pictures(folder: Path, mode: str, low: int, high: int) -> Path:
    """Save images of random intensities."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        shape = (8, 8, 3) if mode == "RGB" else (8, 8)
        Image.fromarray(rng.integers(low, high, shape).astype(np.uint8)).save(
            folder / f"{number}.png"
        )
    return folder


@pytest.mark.parametrize(
    ("mirror", "mode", "high", "is_mirrored"),
    [
        ("auto", "L", 256, True),  # a photograph
        ("auto", "L", 20, False),  # a drawing
        ("auto", "RGB", 20, True),
        ("yes", "L", 20, True),
        ("no", "RGB", 256, False),
    ],
)
def test_training_images_are_mirrored(tmp_path, caplog, mirror, mode, high, is_mirrored):
    folder = pictures(tmp_path / "mine", mode, 0, high)
    model = replace(CONFIG.model, channels=3 if mode == "RGB" else 1)
    config = replace(CONFIG, model=model, data_dir=folder, mirror=mirror)
    with caplog.at_level(logging.INFO, "draw"):
        images = config.load_images("train")
    decision = [m for m in caplog.messages if m.startswith("training images are")]
    assert len(decision) == (mirror == "auto")
    assert all(("at random" in message) == is_mirrored for message in decision)
    x = images.batch(torch.zeros(40, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert len(x.unique(dim=0)) == (2 if is_mirrored else 1)
    assert config.load_images("valid").transform is None


def test_images_that_are_random_already_cannot_be_mirrored(monkeypatch):
    images = Images(
        pixels=torch.zeros(2, 1, 9, 9, dtype=torch.uint8), transform=RandomCrop((1, 8, 8))
    )
    monkeypatch.setattr("draw.data.load", lambda *_, **__: images)
    config = replace(CONFIG, data="two-digits", mirror="yes")
    with pytest.raises(ConfigError, match="two-digits cannot be mirrored; use --mirror no"):
        config.load_images("train")
    assert replace(config, mirror="auto").load_images("train") is images
