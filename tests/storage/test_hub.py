"""Saving and loading models: what is written, what is read, what is refused."""

import http.server
import json
import os
import pickle
import threading
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

import draw
from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.errors import ModelError
from draw.model import DRAW, DRAWConfig
from draw.zoo import load

CONFIG = DRAWConfig(height=6, width=5, glimpses=2, hidden_size=4, latent_size=2, read_size=None)


@pytest.fixture
def model() -> DRAW:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DRAW(CONFIG)


@pytest.fixture
def saved(model, tmp_path) -> Path:
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def paint(model: DRAW) -> torch.Tensor:
    return model.generate(3, generator=torch.Generator().manual_seed(0)).canvas


def test_what_was_saved_is_what_is_loaded(model, saved):
    loaded = DRAW.from_pretrained(saved)
    assert loaded.config == CONFIG
    for (name, given), (same_name, got) in zip(
        model.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert name == same_name
        assert torch.equal(given, got)
    assert torch.equal(paint(loaded), paint(model))


def test_a_loaded_model_is_in_evaluation_mode_and_its_folder_may_be_named_by_a_string(saved):
    assert not DRAW.from_pretrained(str(saved)).training


def test_three_files_are_written_and_the_card_names_the_library_the_licence_and_the_paper(saved):
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    card = (saved / "README.md").read_text()
    assert "library_name: draw" in card
    assert "license: mit" in card
    assert "https://arxiv.org/abs/1502.04623" in card
    config = json.loads((saved / "config.json").read_text())
    assert config == {name: getattr(CONFIG, name) for name in DRAWConfig.__dataclass_fields__}


def test_a_model_saved_before_there_was_a_choice_of_likelihood_is_bernoulli(model, saved):
    values = json.loads((saved / "config.json").read_text())
    del values["likelihood"]
    (saved / "config.json").write_text(json.dumps(values))
    assert DRAW.from_pretrained(saved).config == CONFIG


def test_saving_again_replaces_the_weights(model, saved):
    with torch.no_grad():
        model.canvas_0 += 1
    model.save_pretrained(saved)
    assert torch.equal(paint(DRAW.from_pretrained(saved)), paint(model))


def test_nothing_is_printed(model, tmp_path, capfd):
    model.save_pretrained(tmp_path / "saved")
    DRAW.from_pretrained(tmp_path / "saved")
    with pytest.raises(ModelError):
        DRAW.from_pretrained(tmp_path / "nowhere")
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------------- what is refused


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is not a run folder or a saved model's folder"):
        DRAW.from_pretrained(tmp_path / "nowhere")


def test_a_file_is_refused(saved):
    with pytest.raises(ModelError, match="is not a run folder or a saved model's folder"):
        DRAW.from_pretrained(saved / "config.json")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(saved, name):
    (saved / name).unlink()
    with pytest.raises(ModelError, match=f"it holds no {name}"):
        DRAW.from_pretrained(saved)


class Trap:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "config.json"])
def test_no_pickle_is_ever_read(saved, tmp_path, name):
    (saved / "model.safetensors").unlink()
    (saved / name).write_bytes(pickle.dumps(Trap(tmp_path / "trap")))
    with pytest.raises(ModelError):
        DRAW.from_pretrained(saved)
    assert not (tmp_path / "trap").exists()
    pickle.loads((saved / name).read_bytes())
    assert (tmp_path / "trap").exists()  # it would have sprung


def test_a_surplus_key_a_missing_tensor_and_a_damaged_file_name_the_file_at_fault(saved):
    config = saved / "config.json"
    good = config.read_text()
    config.write_text(json.dumps(json.loads(good) | {"depth": 3}))
    with pytest.raises(ModelError, match=r"config\.json .*unknown key 'depth'"):
        DRAW.from_pretrained(saved)
    config.write_text(json.dumps(json.loads(good) | {"read_size": 2}))
    with pytest.raises(ModelError, match=r"model\.safetensors does not fit .*read_window"):
        DRAW.from_pretrained(saved)
    config.write_text(good)
    (saved / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        DRAW.from_pretrained(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(saved, name):
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(ModelError, match=f"it holds no {name}"):
        draw.load(saved)


def test_a_configuration_takes_no_memory_that_its_weights_do_not_fill(saved):
    """This one asks for 800 GiB; the header of the weights tells that they are others."""
    config = json.loads((saved / "config.json").read_text())
    config |= {"height": 1024, "width": 1024, "hidden_size": 8192, "channels": 3}
    (saved / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"canvas_0 is \[1, 6, 5\] instead of \[3, 1024, 10"):
        draw.load(saved)


def test_loading_leaves_the_random_state_alone(saved):
    before = torch.get_rng_state()
    DRAW.from_pretrained(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_can_be_trained(saved):
    loaded = DRAW.from_pretrained(saved).train()
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    loaded.generate(2).canvas.sum().backward()
    assert loaded.canvas_0.grad is not None


# ---------------------------------------------------------------------- the hub


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download asks for: one model, `someone/digits`."""

    folder: Path

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        prefix = "/someone/digits/resolve/main/"
        file = self.folder / self.path.removeprefix(prefix)
        if not self.path.startswith(prefix) or not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        data = file.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{file.name}-{len(data)}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return data

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(saved, monkeypatch):
    """A hub on this machine that has the saved model; `hub()` switches it off."""
    Hub.folder = saved
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    def switch_off() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    yield switch_off
    if thread.is_alive():
        switch_off()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder for the hub's cache; the current one has no folder `someone`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def test_a_model_of_the_hub_is_fetched_and_kept(model, hub, elsewhere, capfd):
    fetched = DRAW.from_pretrained("someone/digits", cache_dir=elsewhere)
    assert torch.equal(paint(fetched), paint(model))
    hub()  # no network any more
    kept = DRAW.from_pretrained("someone/digits", cache_dir=elsewhere)
    assert torch.equal(paint(kept), paint(model))
    assert capfd.readouterr().out == ""


def test_a_name_that_the_hub_does_not_have_is_refused(hub, elsewhere):
    with pytest.raises(ModelError, match="the hub has no such model"):
        DRAW.from_pretrained("someone/else", cache_dir=elsewhere)


def test_without_a_network_a_name_that_was_never_fetched_is_refused(hub, elsewhere):
    hub()
    with pytest.raises(ModelError, match="cannot be reached"):
        DRAW.from_pretrained("someone/digits", cache_dir=elsewhere)


def test_a_connection_that_breaks_is_told_in_one_line(hub, elsewhere, monkeypatch):
    class ReadError(Exception):
        """What httpx raises, which is no OSError."""

    def broken(*_, **__):
        raise ReadError("the peer closed the connection")

    monkeypatch.setattr("draw.storage.hub.hf_hub_download", broken)
    with pytest.raises(ModelError, match="cannot be reached"):
        DRAW.from_pretrained("someone/digits", cache_dir=elsewhere)


@pytest.mark.parametrize("name", ["a/b/c", "some one/digits", "some--one/digits"])
def test_what_cannot_be_a_name_on_the_hub_is_refused(name, elsewhere):
    with pytest.raises(ModelError, match="no folder here"):
        DRAW.from_pretrained(name, cache_dir=elsewhere)


# ---------------------------------------------------------------------- several kinds of network


def test_a_saved_network_is_loaded_as_what_its_configuration_describes(tmp_path):
    config = ClassifierConfig(height=9, width=9, glimpses=2, hidden_size=4, read_size=2)
    classifier = GlimpseClassifier(config)
    classifier.save_pretrained(tmp_path / "a")
    DRAW(CONFIG).save_pretrained(tmp_path / "b")
    loaded = draw.load(tmp_path / "a")
    assert type(loaded) is GlimpseClassifier
    assert loaded.config == config
    assert type(draw.load(tmp_path / "b")) is DRAW
    assert type(load(tmp_path / "a", GlimpseClassifier)) is GlimpseClassifier
    with pytest.raises(ModelError, match="classifies pictures; this asks for a model that paints"):
        load(tmp_path / "a", DRAW)
    with pytest.raises(ModelError, match="unknown key 'classes'"):
        DRAW.from_pretrained(tmp_path / "a")


def test_a_configuration_that_fits_no_network_is_told_against_the_first(tmp_path):
    DRAW(CONFIG).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"colour": 3}')
    with pytest.raises(ModelError, match="unknown key 'colour'"):
        draw.load(tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ModelError, match="does not describe a model"):
        draw.load(tmp_path)
