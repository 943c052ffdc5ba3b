"""Trained models by name, and the bundled models."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import draw
from draw import zoo
from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.data import load as load_data
from draw.errors import DataError, ModelError, RunError
from draw.model import DRAW, DRAWConfig
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.state import read_config

NAMES = zoo.names()


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_is_a_small_run_folder_with_a_card_and_results(name):
    folder = zoo.BUNDLED / name
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [str(path.relative_to(folder)) for path in files] == [
        "model/README.md",
        "model/config.json",
        "model/model.safetensors",
        "results.json",
        "run.json",
    ]
    assert sum(path.stat().st_size for path in files) < 8_020_000
    assert (folder / "results.json").read_text() == json.dumps(zoo.results(name), indent=2) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_is_the_network_of_its_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = draw.load(name)
    results = zoo.results(name)
    config = read_config(RunFolder.open(zoo.BUNDLED / name))
    assert model.config == config.model
    assert config.data_dir is None  # no path of the machine that trained it
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in model.parameters()) == results["parameters"]
    stored = (zoo.BUNDLED / name / "model/model.safetensors").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == results["weights_sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_model_reproduces_its_results_on_a_few_images(name):
    """The tolerance is five standard errors of the bound, or the error's confidence interval."""
    config = read_config(RunFolder.open(zoo.BUNDLED / name))
    results = zoo.results(name)
    [stated] = [one for one in results["measured"] if one["split"] == "valid"]
    try:
        whole = load_data(config.data, "valid", shape=config.model.image_shape, fetch=False)
    except DataError:
        pytest.skip(f"{config.data} is not available")
    assert len(whole) == stated["images_in_split"]
    model, few = draw.load(name), whole.subset(64)
    if results["kind"] == "GlimpseClassifier":
        low, high = draw.classify(model, few).error_interval
        assert low <= stated["error"] <= high
        return
    result = draw.evaluate(model, few)
    assert abs(result.elbo_nats - stated["elbo_nats"]) < 5 * result.elbo_stderr
    assert result.elbo_stderr == pytest.approx(
        stated["elbo_stderr"] * math.sqrt(stated["images"] / 64), rel=0.5
    )


def test_the_stated_bound_of_quick_is_exactly_reproducible():
    """Its data come with the package, and its noise is a function of the seed."""
    [stated] = [one for one in zoo.results("quick")["measured"] if one["split"] == "valid"]
    images = load_data("digits5k", "valid")
    result = draw.evaluate(draw.load("quick"), images, samples=stated["samples"], seed=0)
    assert result.elbo_nats == pytest.approx(stated["elbo_nats"], abs=2e-3)
    assert result.kl_nats == pytest.approx(stated["kl_nats"], abs=2e-3)


def test_loading_and_listing_models_reads_no_results(tmp_path, monkeypatch):
    shutil.copytree(zoo.BUNDLED / "quick", tmp_path / "copy")
    (tmp_path / "copy" / "results.json").write_text("damaged")
    monkeypatch.setattr(zoo, "BUNDLED", tmp_path)
    assert zoo.names() == zoo.names("DRAW") == ["copy"]
    assert zoo.names("GlimpseClassifier") == []
    assert draw.load("copy").config.glimpses == 16


# ---------------------------------------------------------------------- what a name means


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tiny(**changes) -> DRAW:
    return DRAW(DRAWConfig(height=4, width=4, glimpses=2, hidden_size=4, **changes))


def test_a_local_folder_takes_precedence_over_a_bundled_model(elsewhere):
    tiny().save_pretrained("quick")
    assert draw.load("quick").config.height == 4
    shutil.rmtree("quick")
    assert draw.load("quick").config.height == 28
    Path("quick").mkdir()
    with pytest.raises(ModelError, match=r"holds no config\.json, but takes precedence"):
        draw.load("quick")


def test_a_tilde_is_the_home_folder(elsewhere, monkeypatch):
    monkeypatch.setenv("HOME", str(elsewhere / "home"))
    tiny().save_pretrained("~/mine")
    assert (elsewhere / "home" / "mine" / "config.json").is_file()
    assert draw.load("~/mine").config.height == 4
    assert draw.load(Path("~/mine")).config.height == 4
    assert DRAW.from_pretrained("~/mine").config.height == 4
    assert RunFolder("~/run").path == elsewhere / "home" / "run"
    assert TrainConfig(data_dir=Path("~/x")).data_dir == elsewhere / "home" / "x"
    assert sorted(path.name for path in elsewhere.iterdir()) == ["home"]


def test_the_folder_of_a_bundled_model_is_a_name_as_well():
    folder = zoo.BUNDLED / "quick"
    assert draw.load(folder).config == draw.load(folder / "model").config


def test_an_unknown_name_lists_the_bundled_models(elsewhere):
    with pytest.raises(ModelError, match=r"nowhere is neither .* bundled models are .*quick"):
        draw.load("nowhere")


def test_a_run_without_a_validation_has_no_model(elsewhere):
    RunFolder("run").create(TrainConfig().to_dict(), {})
    with pytest.raises(RunError, match="run has no model yet, because no validation has run"):
        draw.load("run")


def test_the_saved_type_selects_the_class(elsewhere):
    config = ClassifierConfig(height=9, width=9, glimpses=2, hidden_size=4, read_size=2)
    GlimpseClassifier(config).save_pretrained("classifier")
    tiny().save_pretrained("draw")
    loaded = draw.load("classifier")
    assert type(loaded) is GlimpseClassifier
    assert loaded.config == config
    assert type(draw.load("draw")) is DRAW
    assert type(zoo.load("classifier", GlimpseClassifier)) is GlimpseClassifier
    (elsewhere / "classifier" / "model.safetensors").write_bytes(b"")  # not read
    message = "classifier classifies images; a model that generates images is required"
    with pytest.raises(ModelError, match=message):
        zoo.load("classifier", DRAW)
    with pytest.raises(ModelError, match="type is 'GlimpseClassifier'; it must be 'DRAW'"):
        DRAW.from_pretrained("classifier")


def test_a_hub_id_keeps_its_slash(elsewhere, monkeypatch):
    """On Windows, `str(Path("owner/name"))` has a backslash."""
    given = []
    monkeypatch.setattr(zoo, "saved_type", given.append)
    monkeypatch.setattr(DRAW, "from_pretrained", given.append)
    draw.load("someone/digits")
    assert given == ["someone/digits"] * 2
