"""Every trained model that comes with the package, whichever there are."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import draw
from draw import zoo
from draw.data import load as load_data
from draw.errors import DataError, ModelError
from draw.model import DRAW
from draw.storage.run_folder import RunFolder

NAMES, PAINTERS = zoo.names(), zoo.names("DRAW")


def test_there_is_one():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_its_files_are_those_of_a_run_with_a_card_and_results_and_are_small(name):
    files = sorted(p for p in (zoo.BUNDLED / name).rglob("*") if p.is_file())
    assert [str(p.relative_to(zoo.BUNDLED / name)) for p in files] == [
        "model/README.md",
        "model/config.json",
        "model/model.safetensors",
        "results.json",
        "run.json",
    ]
    assert sum(p.stat().st_size for p in files) < 4_000_000 + 20_000  # weights, and text


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_widened_to_the_network_that_was_trained(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = draw.load(name)
    results = zoo.results(name)
    config = read_config(RunFolder.open(zoo.BUNDLED / name))
    assert model.config == config.model
    assert config.data_dir is None  # no folder of the machine that trained it
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in model.parameters()) == results["parameters"]
    stored = (zoo.BUNDLED / name / "model/model.safetensors").read_bytes()
    assert hashlib.sha256(stored).hexdigest() == results["weights_sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_its_stated_results_are_measured_again_on_a_few_images(name):
    """A bound within five standard errors of so few images, an error within 95 %, as always."""
    config = read_config(RunFolder.open(zoo.BUNDLED / name))
    results = zoo.results(name)
    [stated] = [one for one in results["measured"] if one["split"] == "valid"]
    try:
        whole = load_data(config.data, "valid", shape=config.model.image_shape, fetch=False)
    except DataError:
        pytest.skip(f"{config.data} is not at hand")
    assert len(whole) == stated["images_in_split"]
    model, few = draw.load(name), whole.subset(64)
    if results["kind"] == "GlimpseClassifier":
        low, high = draw.classify(model, few).error_interval
        assert low <= stated["error"] <= high
        return
    few = draw.evaluate(model, few, samples=2)
    assert abs(few.elbo_nats - stated["elbo_nats"]) < 5 * few.elbo_stderr
    assert few.elbo_stderr == pytest.approx(
        stated["elbo_stderr"] * math.sqrt(stated["images"] / 64), rel=0.5
    )


# ---------------------------------------------------------------------- by which name


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_of_that_name_goes_before_it(elsewhere):
    model = DRAW(draw.DRAWConfig(height=4, width=4, glimpses=2, hidden_size=4))
    model.save_pretrained(PAINTERS[0])
    assert draw.load(PAINTERS[0]).config.height == 4
    shutil.rmtree(PAINTERS[0])
    assert draw.load(PAINTERS[0]).config.height == 28


def test_a_folder_of_that_name_that_holds_no_model_is_not_passed_over_in_silence(elsewhere):
    Path(PAINTERS[0]).mkdir()
    with pytest.raises(ModelError, match=r"holds no config\.json, yet goes before"):
        draw.load(PAINTERS[0])


def test_its_own_folder_can_be_named_too():
    folder = zoo.BUNDLED / PAINTERS[0]
    assert draw.load(folder).config == draw.load(folder / "model").config


def test_an_unknown_name_is_told_those_that_there_are(elsewhere):
    with pytest.raises(ModelError, match=f"nowhere is not .* trained models: .*{PAINTERS[0]}"):
        draw.load("nowhere")


def test_results_are_plain_json():
    for name in NAMES:
        text = (zoo.BUNDLED / name / "results.json").read_text()
        assert text == json.dumps(zoo.results(name), indent=2) + "\n"


def test_a_stated_figure_is_what_its_command_measures():
    """`quick` is of data that are always at hand; its noise is a function of the seed."""
    [stated] = [one for one in zoo.results("quick")["measured"] if one["split"] == "valid"]
    images = load_data("digits5k", "valid")
    result = draw.evaluate(draw.load("quick"), images, samples=stated["samples"], seed=0)
    assert result.elbo_nats == pytest.approx(stated["elbo_nats"], abs=2e-3)
    assert result.kl_nats == pytest.approx(stated["kl_nats"], abs=2e-3)
