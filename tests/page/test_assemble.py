"""The page's folder: complete, small, and nothing of anybody else's."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from draw import DRAW, page
from draw.errors import ConfigError

from .conftest import CONFIGS, wild

TINY_MODELS = {name: wild(CONFIGS[name]) for name in ("plain", "attentive")}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_it_holds_the_page_and_each_model_in_order(tmp_path):
    page.assemble(tmp_path / "site", TINY_MODELS)
    files = contents(tmp_path / "site")
    index = json.loads(files["models.json"])
    names = [*TINY_MODELS, *zoo.names("DRAW")]
    assert [entry["name"] for entry in index] == names
    for entry in index:
        name = entry["name"]
        assert json.loads(files[f"models/{name}/config.json"]) == entry["config"]
        assert f"models/{name}/model.safetensors" in files
        assert json.loads(files[f"traces/{name}.json"])["config"] == entry["config"]
    for name, network in TINY_MODELS.items():
        again = DRAW.from_pretrained(tmp_path / "site/models" / name)
        for ours, theirs in zip(network.parameters(), again.parameters(), strict=True):
            assert (ours == theirs).all()
    assert {name for name in files if not name.startswith(("models", "traces"))} == set(
        contents(page.ASSETS)
    )


def test_the_same_models_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        page.assemble(tmp_path / name, TINY_MODELS)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_page_of_before_is_replaced(tmp_path):
    site = tmp_path / "site"
    page.assemble(site, TINY_MODELS)
    page.assemble(site, {"plain": TINY_MODELS["plain"]})
    assert not (site / "models/attentive").exists()
    assert not (site / "traces/attentive.json").exists()
    assert contents(site).keys() >= {"index.html", "models/plain/config.json"}


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="holds something other than a page; name a new folder"):
        page.assemble(tmp_path, TINY_MODELS)
    assert contents(tmp_path) == {"thesis.tex": b"mine"}


@pytest.mark.parametrize(
    "theirs", ["{}x", "3", '["a"]', '[{"name": "a"}]', '{"name": "a"}', "[" * 50_000]
)
def test_a_list_of_models_that_is_not_ours_makes_no_page(tmp_path, theirs):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").write_text("mine")
    (tmp_path / "models.json").write_text(theirs)
    with pytest.raises(ConfigError, match="holds something other than a page"):
        page.assemble(tmp_path, TINY_MODELS)
    assert (tmp_path / "models" / "weights").exists()


def test_a_model_of_another_likelihood_is_refused_and_the_page_of_before_stays(tmp_path):
    page.assemble(tmp_path, TINY_MODELS)
    before = contents(tmp_path)
    levels = wild(replace(CONFIGS["colour"], likelihood="logistic"))
    with pytest.raises(ConfigError, match="the likelihood of mine is 'logistic'"):
        page.assemble(tmp_path, {"mine": levels})
    assert contents(tmp_path) == before


def test_bundled_models_are_copied_as_they_are(tmp_path):
    name, *_ = zoo.names("DRAW")
    source = zoo.find(name) / "model"
    page.assemble(tmp_path / "a", {})
    files = contents(tmp_path / "a" / "models" / name)
    assert files.keys() == {"config.json", "model.safetensors"}
    assert files["model.safetensors"] == (source / "model.safetensors").read_bytes()
    page.assemble(tmp_path / "b", {name: TINY_MODELS["plain"]})  # the one named goes before
    index = json.loads((tmp_path / "b" / "models.json").read_text())
    assert [entry["name"] for entry in index] == zoo.names("DRAW")
    assert index[0]["config"]["height"] == 14


@pytest.mark.parametrize("name", zoo.names("DRAW"))
def test_what_a_visitor_loads_is_small(tmp_path, name):
    """The page, and one model with its trace: under 5 MB."""
    page.assemble(tmp_path / "site", {})
    files = contents(tmp_path / "site")
    loaded = {file for file in files if not file.startswith(("models/", "traces/"))}
    loaded |= {f"models/{name}/config.json", f"models/{name}/model.safetensors"}
    loaded |= {f"traces/{name}.json"}
    assert sum(len(files[file]) for file in loaded) < 5_000_000


def test_traces_of_large_pictures_are_shorter(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MAX_PIXELS", 6 * 14 * 14 * 5)
    page.assemble(tmp_path / "site", TINY_MODELS)
    trace = json.loads((tmp_path / "site/traces/plain.json").read_text())
    assert len(trace["samples"]) == 5


def test_the_page_is_small_and_names_nothing_from_elsewhere():
    files = contents(page.ASSETS)
    assert sum(map(len, files.values())) < 200_000
    allowed = {"https://arxiv.org/abs/1502.04623", "http://www.w3.org/2000/svg"}
    for name, data in files.items():
        assert set(re.findall(r"https?://[^\s\"'<>)`]+", data.decode())) <= allowed, name
