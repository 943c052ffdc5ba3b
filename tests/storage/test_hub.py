"""Saved models: what is written and read, locally and on a Hugging Face Hub, and errors."""

import http.server
import json
import logging
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch

import draw
from draw.errors import ConfigError, ModelError, RunError
from draw.model import DRAW, DRAWConfig
from draw.storage.hub import saved_type
from draw.storage.run_folder import RunFolder

CONFIG = DRAWConfig(height=6, width=5, glimpses=2, hidden_size=4, latent_size=2, read_size=None)


@pytest.fixture
def model() -> DRAW:
    torch.manual_seed(0)
    return DRAW(CONFIG)


@pytest.fixture
def saved(model: DRAW, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def generate(model: DRAW) -> torch.Tensor:
    return model.generate(3, generator=torch.Generator().manual_seed(0)).canvas


def change_config(saved: Path, **changes: object) -> None:
    values = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(values | changes))


def test_a_loaded_model_equals_the_saved_one(model, saved):
    loaded = DRAW.from_pretrained(str(saved))
    assert loaded.config == CONFIG
    assert not loaded.training
    saved_weights, weights = model.state_dict(), loaded.state_dict()
    assert saved_weights.keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in saved_weights.items())
    assert torch.equal(generate(loaded), generate(model))


def test_a_saved_model_has_three_files(saved):
    names = sorted(path.name for path in saved.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    card = (saved / "README.md").read_text()
    for line in ("library_name: draw", f"# {saved.name}\n", "https://arxiv.org/abs/1502.04623"):
        assert line in card
    assert "license" not in card  # the user chooses one
    values = json.loads((saved / "config.json").read_text())
    assert values == {"type": "DRAW"} | asdict(CONFIG)
    assert saved_type(saved) == "DRAW"


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Collect the text of the cards that would be uploaded, by the id of the model."""
    cards: list[dict[str, str]] = []

    def upload(self: object, *, repo_id: str, folder_path: Path, **_: object) -> str:
        assert sorted(p.name for p in folder_path.iterdir()) == [
            *("README.md", "config.json", "model.safetensors")
        ]
        cards.append({repo_id: (folder_path / "README.md").read_text()})
        return f"https://huggingface.co/{repo_id}"

    def create(self: object, repo_id: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(repo_id=repo_id)

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", create)
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", upload)
    return cards


def test_a_pushed_card_shows_how_to_use_the_model(model, uploads):
    assert model.push_to_hub("me/digits", private=True) == "https://huggingface.co/me/digits"
    [card] = [cards["me/digits"] for cards in uploads]
    assert "# me/digits\n" in card
    assert 'draw.load("me/digits")' in card
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in card
    assert '"read_size": null' in card
    assert "## Training" not in card


def test_a_failed_upload_is_one_line(model, monkeypatch):
    def fail(self: object, repo_id: str, **_: object) -> None:
        raise OSError("no such\nhost")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", fail)
    with pytest.raises(ModelError, match="not uploaded to the Hugging Face Hub: no such; host"):
        model.push_to_hub("me/digits")
    with pytest.raises(TypeError, match="wrong"):
        model.push_to_hub("me/digits", wrong=1)


@pytest.mark.parametrize("train_on", ["train", "train+valid"])
def test_a_card_describes_the_run(model, uploads, tmp_path, train_on):
    run = RunFolder(tmp_path / "run")
    config = {"data": "digits5k", "train_on": train_on, "data_dir": "/home/me", "steps": 300}
    run.create(config, {})
    for step, nats in ((100, -120.0), (200, -100.5), (300, -101.0)):
        valid = {"valid_elbo_nats": nats, "valid_elbo_stderr": 0.25, "valid_images": 500}
        run.log({"step": step} | valid)
    model.push_to_hub("me/digits", run=run)
    model.save_pretrained(tmp_path / "saved", run=str(run.path))
    for card in (uploads[0]["me/digits"], (tmp_path / "saved" / "README.md").read_text()):
        assert "a run on `digits5k`" in card
        assert '"steps": 300' in card
        assert "/home/me" not in card
        nats, step = ("-100.50", 200) if train_on == "train" else ("-101.00", 300)
        assert f"ELBO of {nats} ± 0.25 nats per image on 500 validation images" in card
        assert f"at step {step}" in card
        assert ("on which the run also trained" in card) == (train_on != "train")


def test_a_card_needs_an_existing_run(model, uploads, tmp_path):
    for save in (model.push_to_hub, model.save_pretrained):
        with pytest.raises(RunError, match="missing is not a run folder: it holds no run"):
            save("me/digits", run=tmp_path / "missing")
    assert not uploads


def test_values_of_the_card_can_be_given(model, uploads):
    model.push_to_hub("me/digits", model_card_kwargs={"training": "By hand."})
    assert "## Training\n\nBy hand.\n" in uploads[0]["me/digits"]


def test_saving_again_replaces_the_weights(model, saved):
    with torch.no_grad():
        model.canvas_0 += 1
    model.save_pretrained(saved)
    assert torch.equal(generate(DRAW.from_pretrained(saved)), generate(model))


def test_saving_and_loading_print_nothing(model, tmp_path, capfd):
    model.save_pretrained(tmp_path / "saved")
    DRAW.from_pretrained(tmp_path / "saved")
    with pytest.raises(ModelError):
        DRAW.from_pretrained(tmp_path / "missing")
    assert capfd.readouterr() == ("", "")


def test_loading_does_not_change_the_global_random_state(saved):
    before = torch.get_rng_state()
    DRAW.from_pretrained(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_can_be_trained(saved):
    loaded = DRAW.from_pretrained(saved).train()
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    loaded.generate(2, requires_grad=True).canvas.sum().backward()
    assert loaded.canvas_0.grad is not None


def test_map_location_is_the_device_of_the_model(model, saved):
    for device in ("cpu", torch.device("cpu")):
        assert DRAW.from_pretrained(saved, map_location=device).device == torch.device("cpu")
    assert DRAW.from_pretrained(saved, map_location="meta").device == torch.device("meta")
    for device in ("cuda:99", "gpu"):
        with pytest.raises(ConfigError, match=f"map_location is '{device}': "):
            DRAW.from_pretrained(saved, map_location=device)


def test_without_strict_unknown_tensors_are_ignored_and_missing_ones_random(model, saved, caplog):
    weights = safetensors.torch.load_file(saved / "model.safetensors")
    weights["extra"] = weights.pop("patch.bias")
    safetensors.torch.save_file(weights, saved / "model.safetensors")
    with pytest.raises(ModelError, match=r"patch\.bias is missing; 'extra' is unknown"):
        DRAW.from_pretrained(saved)
    with caplog.at_level(logging.WARNING, "draw"):
        loaded = DRAW.from_pretrained(saved, strict=False)
    unknown, missing = (record.getMessage() for record in caplog.records)
    assert "ignoring the unknown tensors 'extra'" in unknown
    assert missing.endswith("missing tensors keep random values: patch.bias")
    assert not loaded.training
    assert loaded.patch.bias.abs().max() > 0
    saved_weights = model.state_dict()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, saved_weights[name]) == (name != "patch.bias"), name
    change_config(saved, hidden_size=5)
    with pytest.raises(ModelError, match="has shape"):
        DRAW.from_pretrained(saved, strict=False)


# ---------------------------------------------------------------------- errors


def test_a_missing_folder_and_a_file_are_errors(saved):
    with pytest.raises(ModelError, match="does not exist and is not a Hugging Face Hub id"):
        DRAW.from_pretrained(saved / "missing")
    with pytest.raises(ModelError, match=r"is not a saved model: it holds no config\.json"):
        DRAW.from_pretrained(saved / "config.json")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("replacement", [lambda path: None, os.mkfifo], ids=["missing", "pipe"])
def test_a_missing_file_or_a_pipe_is_an_error(saved, name, replacement):
    (saved / name).unlink()
    replacement(saved / name)
    with pytest.raises(ModelError, match=f"it holds no {name}"):
        draw.load(saved)


class Trap:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "config.json"])
def test_pickles_are_never_read(saved, tmp_path, name):
    (saved / "model.safetensors").unlink()
    (saved / name).write_bytes(pickle.dumps(Trap(tmp_path / "trap")))
    with pytest.raises(ModelError):
        DRAW.from_pretrained(saved)
    assert not (tmp_path / "trap").exists()
    pickle.loads((saved / name).read_bytes())
    assert (tmp_path / "trap").exists()  # the trap works


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 3}, r"config\.json does not describe a DRAW: .*unknown key 'depth'"),
        ({"type": "VAE"}, r"config\.json does not describe a DRAW: .*type is 'VAE'; it must be"),
        ({"read_size": 2}, r"model\.safetensors does not fit .*read_window"),
    ],
)
def test_a_config_that_does_not_fit_names_the_file(saved, changes, message):
    change_config(saved, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        draw.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"), [("config.json", "is not JSON"), ("model.safetensors", "is damaged")]
)
def test_a_damaged_file_is_named(saved, name, message):
    (saved / name).write_bytes(b"")
    with pytest.raises(ModelError, match=f"{name} .*{message}"):
        draw.load(saved)


def test_a_config_takes_no_memory_before_its_weights_are_checked(saved):
    """This network would take 800 GiB."""
    change_config(saved, height=1024, width=1024, hidden_size=8192, channels=3)
    with pytest.raises(
        ModelError, match=r"canvas_0 has shape \[1, 6, 5\] instead of \[3, 1024, 10"
    ):
        draw.load(saved)


# ---------------------------------------------------------------------- the hub


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the Hugging Face Hub that a download needs, with one model, `someone/digits`."""

    folder: Path
    failure: tuple[int, str] | None = None  # the status and the error code of every answer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        prefix = "/someone/digits/resolve/main/"
        file = self.folder / self.path.removeprefix(prefix)
        failure = self.failure
        if not self.path.startswith(prefix):
            failure = failure or (404, "RepoNotFound")
        elif not file.is_file():
            failure = failure or (404, "EntryNotFound")
        if failure:
            self.send_response(failure[0])
            self.send_header("X-Error-Code", failure[1])
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
def stop_hub(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Serve the saved model from a local hub; the fixture's value is a function that stops it."""
    Hub.folder = saved
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    yield stop
    if thread.is_alive():
        stop()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with an empty cache of the hub."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_model_of_the_hub_is_downloaded_and_cached(model, stop_hub, cache, capfd, is_hidden):
    if is_hidden:  # a local folder of the owner's name does not hide the model
        (Path("someone") / "else").mkdir(parents=True)
    downloaded = draw.load("someone/digits")
    assert torch.equal(generate(downloaded), generate(model))
    stop_hub()
    assert cache.exists()
    cached = draw.load("someone/digits")
    assert torch.equal(generate(cached), generate(model))
    assert capfd.readouterr().out == ""


def test_a_local_folder_takes_precedence_over_the_hub(model, stop_hub, cache):
    with torch.no_grad():
        model.canvas_0 += 1
    model.save_pretrained("someone/digits")
    assert torch.equal(generate(DRAW.from_pretrained("someone/digits")), generate(model))


def test_a_model_that_is_not_cached_needs_a_network(stop_hub, cache):
    stop_hub()
    with pytest.raises(ModelError, match="cannot be reached"):
        DRAW.from_pretrained("someone/digits")


def test_a_broken_connection_is_a_model_error(stop_hub, cache, monkeypatch):
    class ReadError(Exception):
        """The error of httpx, which is not an OSError."""

    def fail(*_, **__):
        raise ReadError("the peer closed the connection")

    monkeypatch.setattr("draw.storage.hub.hf_hub_download", fail)
    with pytest.raises(ModelError, match="cannot be reached"):
        DRAW.from_pretrained("someone/digits")


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_hub_is_replaced_by_its_cache(model, stop_hub, cache, monkeypatch, status):
    draw.load("someone/digits")
    monkeypatch.setattr(Hub, "failure", (status, ""))
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client retries after status 429
    assert torch.equal(generate(draw.load("someone/digits")), generate(model))
    shutil.rmtree(cache)
    message = f"nor cached, and the Hugging Face Hub cannot be reached: .*{status}"
    with pytest.raises(ModelError, match=message):
        draw.load("someone/digits")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ((401, "GatedRepo"), "is a gated model: accept its terms"),
        ((404, "RepoNotFound"), "neither a local folder nor a model on the Hugging Face Hub"),
        ((404, "RevisionNotFound"), "has no revision main on the Hub"),
        ((404, "EntryNotFound"), "neither a local folder nor a model on the Hugging Face Hub"),
    ],
)
def test_a_model_that_the_hub_refuses_is_an_error(stop_hub, cache, monkeypatch, failure, message):
    DRAW.from_pretrained("someone/digits")
    monkeypatch.setattr(Hub, "failure", failure)
    with pytest.raises(ModelError, match=message):
        DRAW.from_pretrained("someone/digits", revision="main")


def test_a_model_of_the_hub_without_weights_is_an_error(saved, stop_hub, cache):
    (saved / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"it holds no model\.safetensors"):
        DRAW.from_pretrained("someone/digits")


def test_local_files_only_uses_the_cache(stop_hub, cache):
    with pytest.raises(ModelError, match="neither a local folder nor in the cache"):
        DRAW.from_pretrained("someone/digits", local_files_only=True)
    DRAW.from_pretrained("someone/digits")
    DRAW.from_pretrained("someone/digits", local_files_only=True)


@pytest.mark.parametrize("name", ["a/b/c", "some one/digits", "some--one/digits"])
def test_an_invalid_hub_id_is_an_error(name, stop_hub, cache):
    with pytest.raises(ModelError, match=r"is (not|neither) a (local folder|Hugging Face)"):
        DRAW.from_pretrained(name)
