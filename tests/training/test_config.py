"""The training configuration."""

from dataclasses import replace

import jaxtyping
import pytest

from draw.classifier import ClassifierConfig
from draw.errors import ConfigError
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.state import read_config
from tests.training.tiny import CONFIG


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", -1),
        ("batch_size", 10**6),
        ("microbatches", 5),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("weight_decay", 1e3),
        ("weight_decay", float("nan")),
        ("clip_norm", 0.0),
        ("clip_norm", float("inf")),
        ("ema_decay", 1.0),
        ("seed", -1),
        ("optimizer", "sgd"),
        ("data", "imagenet"),
    ],
)
def test_an_invalid_value_names_its_field_and_value(name, value, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside the tests
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
