"""The code blocks in README.md and docs/ run, and their links lead somewhere."""

import http.server
import io
import json
import os
import re
import shlex
import shutil
import sys
import threading
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import draw
from draw import zoo
from draw.commands.main import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHORT = {
    "--steps": "2",
    "--batch-size": "2",
    "--eval-images": "4",
    "--model.glimpses": "2",
    "--model.hidden-size": "8",
}
TINY = SHORT | {"--data": "folder", "--data-dir": "my_images", "--model.latent-size": "3"}
CLASSIFIER = SHORT | {"--data": "digits5k", "--image-size": "28"}
CONTINUED = {name: value for name, value in SHORT.items() if not name.startswith("--model")}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def shrink(arguments: list[str]) -> list[str]:
    """Make a training command short and its network small, on local pictures."""
    options = CLASSIFIER if arguments[1].startswith("cluttered") else TINY
    if "--start-from" in arguments:  # the network is that of the model, so choose a small one
        options = CONTINUED
        arguments = ["quick" if word == "mnist" else word for word in arguments]
    words, kept = iter(arguments), []
    for word in words:
        if word in options:
            next(words)  # its value
        else:
            kept.append(word)
    return kept + [word for option in options.items() for word in option]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with a few pictures and a saved model."""
    folder = tmp_path_factory.mktemp("template")
    rng = np.random.default_rng(0)
    (folder / "my_images").mkdir()
    for index in range(6):
        pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"my_images/{index}.png")
    for name in ("digit.png", "another.png"):
        Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / name)
    config = draw.DRAWConfig(glimpses=2, hidden_size=8, latent_size=3)
    draw.DRAW(config).save_pretrained(folder / "my-draw")
    return folder


@pytest.fixture
def workspace(template, tmp_path, monkeypatch):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def services(monkeypatch):
    """Replace what sends data to a server by functions that accept what the server would."""
    created = SimpleNamespace(repo_id="me/model")
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda *_, **__: created)
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", lambda *_, **__: "address")
    logged = []

    def log(values: dict[str, float], *, step: int) -> None:
        logged.append((step, {name: float(value) for name, value in values.items()}))

    wandb = SimpleNamespace(init=lambda *, project: None, log=log)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(log_metrics=log))
    return logged


class Server(http.server.HTTPServer):
    """A server on a free port that answers one request instead of running forever."""

    def __init__(self, address, handler):
        super().__init__((address[0], 0), handler)

    def serve_forever(self, poll_interval=0.5):
        threading.Thread(target=self.handle_request).start()
        url = f"http://127.0.0.1:{self.server_port}/"
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert Image.open(io.BytesIO(answer.read())).size == (28, 28)
        self.server_close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_python_blocks_run(page, workspace, services, monkeypatch):
    """Run the commands of a page and then its Python code; training is shortened."""
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    monkeypatch.setattr("draw.page.PageServer.serve_forever", lambda _: None)
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for line in lines:
        if line.startswith("draw "):
            run_command(shlex.split(line, comments=True)[1:])
    if page.stem == "equations":
        return  # it quotes lines of the source
    monkeypatch.setattr("http.server.ThreadingHTTPServer", Server)
    monkeypatch.setattr("sys.path", [*sys.path])
    for block in blocks(page, "python"):
        short = re.sub(r"^steps = .*", "steps = 2", block, flags=re.MULTILINE)
        exec(compile(short, page.name, "exec"), {})
    if page.stem == "python":
        steps = [step for step, _ in services]
        assert len(steps) == 2 * (20 + 1)  # each step and validation, twice: for two services
        assert steps == sorted(steps)


def run_command(arguments: list[str]) -> None:
    if arguments[0] == "train" and "--resume" not in arguments:
        arguments = shrink(arguments)
    if arguments[0] in ("sample", "reconstruct", "complete") and arguments[1] in zoo.names():
        arguments += ["--data", "digits5k"]  # its own data may not be on this machine
    if arguments[0] == "evaluate" and arguments[1] in zoo.names():
        arguments += ["--data", "digits5k", "--images", "2"]
    if arguments[0] in ("sample", "reconstruct") and "--scale" not in arguments:
        arguments += ["--scale", "1"]
    if arguments[:2] == ["figure", "5"] and "DRAW_DATA" not in os.environ:
        return  # it shows test images of MNIST
    assert main(arguments) == 0, arguments


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(((?!http)[^)#\s]+)[^)]*\)", page.read_text())
    for link in links:
        assert (page.parent / link).exists(), link


def test_the_readme_quotes_the_validation_loss_of_the_demo():
    log = (ROOT / "experiments/quick/metrics.jsonl").read_text()
    loss = float(re.findall(r'"valid_elbo_nats": -([\d.]+)', log)[-1])
    assert f"validation loss reaches {loss:.1f} nats" in PAGES[0].read_text()


def test_the_page_of_file_formats_lists_every_key_of_the_log_and_every_file(workspace):
    page = (ROOT / "docs/files.md").read_text()
    log = page[page.index("A line of the log") : page.index("## Saved models")]
    names = re.findall(r"^\| `(\w+)` \|", log, re.MULTILINE)
    metrics = ("elbo", "log_likelihood")
    documented = {name.replace("METRIC", metric) for name in names for metric in metrics}
    keys: set[str] = set()
    for preset in ("quick", "cluttered-60"):
        assert main(shrink(["train", preset, "--out", preset])) == 0
        lines = Path(preset, "metrics.jsonl").read_text().splitlines()
        keys = keys.union(*map(json.loads, lines))
        for file in Path(preset).iterdir():
            name = f"{file.name}/" if file.is_dir() else file.name
            assert f"`{name}`" in page or f"`*{file.suffix}`" in page, name
    assert keys == documented


def test_the_layout_page_lists_every_module():
    layout = (ROOT / "docs/layout.md").read_text()
    for entry in (ROOT / "src/draw").iterdir():
        if entry.suffix == ".py" and not entry.name.startswith("_"):
            assert f"  {entry.name} " in layout, entry.name
        elif (entry / "__init__.py").exists():
            assert f"  {entry.name}/ " in layout, entry.name
