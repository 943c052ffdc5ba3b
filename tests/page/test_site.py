"""The folder of the page is complete, small and self-contained."""

import json
import math
import re
from pathlib import Path

import pytest

from draw import DRAW, zoo
from draw.errors import ConfigError
from draw.page import build_site, site

from .conftest import CONFIGS, wild

TINY_MODELS = {name: wild(CONFIGS[name]) for name in ("plain", "attentive")}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def only_tiny(monkeypatch):
    """No bundled models."""
    monkeypatch.setattr(zoo, "names", lambda kind: [])


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def generated(monkeypatch) -> list[DRAW]:
    """The models that generate samples, in order."""
    models = []
    generate = DRAW.generate

    def recorded(self, *args, **options):
        models.append(self)
        return generate(self, *args, **options)

    monkeypatch.setattr(DRAW, "generate", recorded)
    return models


def test_it_contains_the_page_and_each_model_in_order(tmp_path):
    build_site(tmp_path / "site", TINY_MODELS)
    files = contents(tmp_path / "site")
    index = json.loads(files["models.json"])
    classifiers = ["cluttered-100", "cluttered-100-4"]
    bundled = sorted(zoo.names("DRAW"), key=lambda name: (name != site.DEFAULT, name))
    assert [entry["name"] for entry in index] == [*TINY_MODELS, *bundled, *classifiers]
    for entry in index:
        name = entry["name"]
        assert json.loads(files[f"models/{name}/config.json"]) == entry["config"]
        assert (entry["costs"] is None) == (name in (*TINY_MODELS, *classifiers))
        assert f"models/{name}/model.safetensors" in files
        if name in classifiers:
            assert json.loads(files[f"models/{name}/results.json"]) == zoo.results(name)
            continue
        trace = json.loads(files[f"traces/{name}.json"])
        assert trace["model"] == name
        assert trace["steps"] == entry["config"]["glimpses"]
    for name, network in TINY_MODELS.items():
        again = DRAW.from_pretrained(tmp_path / "site/models" / name)
        for ours, theirs in zip(network.parameters(), again.parameters(), strict=True):
            assert (ours == theirs).all()
    others = {name for name in files if not name.startswith(("models", "traces"))}
    assert others == {*contents(site.STATIC), "files.json"}
    assert set(json.loads(files["files.json"])) == files.keys() - {"files.json"}


def test_a_second_build_runs_no_model_and_gives_the_same_bytes(
    tmp_path, cache, generated, monkeypatch
):
    monkeypatch.setattr(zoo, "names", lambda kind: ["quick"])
    build_site(tmp_path / "a", TINY_MODELS)
    assert len(generated) == len(TINY_MODELS) + 1
    generated.clear()
    build_site(tmp_path / "b", TINY_MODELS)
    assert generated == []
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.usefixtures("only_tiny")
def test_changed_weights_and_a_new_trace_version_are_not_served_from_the_cache(
    tmp_path, cache, generated, monkeypatch
):
    build_site(tmp_path, {"one": TINY_MODELS["plain"]})
    build_site(tmp_path, {"one": wild(CONFIGS["plain"], seed=1)})
    assert len(generated) == 2
    monkeypatch.setattr(site, "TRACE_VERSION", -1)
    build_site(tmp_path, {"one": TINY_MODELS["plain"]})
    assert len(generated) == 3


@pytest.mark.usefixtures("only_tiny")
def test_a_cache_that_cannot_be_written_is_not_needed(tmp_path, cache):
    cache.write_text("a file, not a folder")
    build_site(tmp_path / "site", {"one": TINY_MODELS["plain"]})
    assert (tmp_path / "site/traces/one.json").is_file()


@pytest.mark.usefixtures("only_tiny")
def test_an_earlier_page_is_replaced(tmp_path):
    build_site(tmp_path, TINY_MODELS)
    build_site(tmp_path, {"plain": TINY_MODELS["plain"]})
    assert not (tmp_path / "models/attentive").exists()
    assert not (tmp_path / "traces/attentive.json").exists()
    assert contents(tmp_path).keys() >= {"index.html", "models/plain/config.json"}


def test_hidden_files_may_be_in_the_folder(tmp_path, only_tiny):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".DS_Store").touch()
    build_site(tmp_path, {})
    assert (tmp_path / "index.html").is_file()


@pytest.mark.parametrize(
    "index", [None, "{}x", "3", '["a"]', '[{"name": "a"}]', '{"name": "a"}', "[" * 50_000]
)
def test_a_folder_with_other_files_is_left_alone(tmp_path, index):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "weights").write_text("mine")
    if index is not None:
        (tmp_path / "models.json").write_text(index)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match="contains files that are not a page; choose a new fold"):
        build_site(tmp_path, TINY_MODELS)
    assert contents(tmp_path) == before


def test_a_given_model_replaces_the_bundled_model_of_the_same_name(tmp_path):
    name, *others = zoo.names("DRAW")
    build_site(tmp_path, {name: TINY_MODELS["plain"]})
    index = json.loads((tmp_path / "models.json").read_text())
    assert [entry["name"] for entry in index][: len(others) + 1] == [name, *others]
    assert index[0]["config"]["height"] == 14
    source = zoo.find(others[0]) / "model"
    files = contents(tmp_path / "models" / others[0])
    assert files.keys() == {"config.json", "model.safetensors"}
    assert files["model.safetensors"] == (source / "model.safetensors").read_bytes()


def test_a_first_visit_loads_less_than_5_mb_and_another_model_less_than_10_mb(folder):
    """The page loads only its first model until the visitor chooses another one."""
    files = contents(folder)

    def size(*starts: str) -> int:
        return sum(len(file) for name, file in files.items() if name.startswith(starts))

    page = size("") - size("models/", "traces/")
    assert page + size(f"models/{site.DEFAULT}/", f"traces/{site.DEFAULT}.json") < 5_000_000
    for name in zoo.names("DRAW"):
        assert size(f"models/{name}/") < 8_500_000
        assert size(f"traces/{name}.json") < 1_500_000
    assert size("models/cluttered-100") < 2_000_000


@pytest.mark.usefixtures("only_tiny")
def test_traces_of_large_pictures_have_fewer_samples(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(site, "MAX_TRACE_BYTES", 6 * 14 * 14 * 5)
    build_site(tmp_path / "site", TINY_MODELS)
    trace = json.loads((tmp_path / "site/traces/plain.json").read_text())
    assert len(trace["samples"]) == 5


def test_the_page_is_small_and_refers_to_no_other_site():
    files = contents(site.STATIC)
    assert sum(map(len, files.values())) < 350_000
    allowed = {"https://arxiv.org/abs/1502.04623", "http://www.w3.org/2000/svg"}
    for name, data in files.items():
        text = data.decode(errors="replace")  # kernel.wasm is binary
        assert set(re.findall(r"https?://[^\s\"'<>)`]+", text)) <= allowed, name


@pytest.mark.parametrize("name", [path.stem for path in sorted(site.COSTS.glob("*.json"))])
def test_the_costs_of_validation_images_belong_to_the_bundled_weights(name):
    costs = json.loads((site.COSTS / f"{name}.json").read_text())
    assert costs["weights_sha256"] == zoo.results(name)["weights_sha256"]
    assert costs["split"] == "valid"
    assert sum(costs["counts"]) == costs["images"] >= 500
    middles = [(i + 0.5) * costs["bin"] for i in range(len(costs["counts"]))]
    pairs = zip(costs["counts"], middles, strict=True)
    mean = sum(count * middle for count, middle in pairs) / costs["images"]
    error = costs["bin"] / math.sqrt(12 * costs["images"])  # if costs are uniform within a bar
    assert mean == pytest.approx(costs["mean"], abs=4 * error)
