"""What the README tells a newcomer to type works."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw import cli, zoo

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHORT = {
    "--steps": "2",
    "--batch-size": "2",
    "--eval-images": "4",
    "--model.glimpses": "2",
    "--model.hidden-size": "8",
}
TINY = SHORT | {"--data": "folder", "--data-dir": "my_pictures", "--model.latent-size": "3"}
AS_TRAINED = {name: value for name, value in SHORT.items() if not name.startswith("--model")}
LABELLED = SHORT | {"--data": "digits5k", "--image-size": "28"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def tiny(arguments: list[str]) -> list[str]:
    """The same training, but small, short and on the pictures at hand."""
    options = LABELLED if arguments[1].startswith("cluttered") else TINY
    if "--start-from" in arguments:
        options = AS_TRAINED
    words, kept = iter(arguments), []
    for word in words:
        if word in options:
            next(words)  # its value
        else:
            kept.append(word)
    return kept + [word for option in options.items() for word in option]


@pytest.fixture
def newcomer(tmp_path, monkeypatch):
    """A folder with some pictures and two tiny trained models, at the paths the README names."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("my_pictures").mkdir()
    for index in range(6):
        pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"my_pictures/{index}.png")
    for name in ("digit.png", "another.png"):
        Image.fromarray(rng.integers(0, 256, (28, 28), dtype=np.uint8)).save(name)
    assert cli.main(tiny(["train", "quick", "--out", "out/demo"])) == 0
    return tmp_path


@pytest.mark.parametrize("snippet", blocks("python"))
def test_python_snippets_run(newcomer, snippet):
    exec(compile(snippet, "README.md", "exec"), {})


def test_the_first_snippet_paints(newcomer):
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    with Image.open("digits.png") as picture:
        assert picture.size == (8 * 86 - 2, 8 * 86 - 2)  # 8 x 8 tiles of 84 pixels, gaps of 2


def test_commands_run(newcomer, monkeypatch):
    """In the order of the README, each made tiny; a resumed run takes no options."""
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    monkeypatch.setattr("draw.page.PageServer.serve_forever", lambda _: None)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("draw ")]
    assert len(commands) >= 9
    for _, *arguments in commands:
        if arguments[0] == "train" and "--resume" not in arguments:
            arguments = tiny(arguments)
        if arguments[0] == "evaluate" and arguments[1] in zoo.names():
            arguments += ["--data", "digits5k", "--images", "2"]  # its own may not be at hand
        assert cli.main(arguments) == 0, arguments


def test_the_demo_prints_what_the_published_training_logged():
    log = (ROOT / "experiments/quick/metrics.jsonl").read_text()
    validations = [r for r in map(json.loads, log.splitlines()) if "valid_elbo_nats" in r]
    assert len(validations) == 6
    for r in validations:
        loss = f"{-r['valid_elbo_nats']:.2f} +- {r['valid_elbo_stderr']:.2f} nats"
        assert f"step {r['step']:>6,}   validation loss {loss}   best so far\n" in README


def test_the_files_that_it_names_exist():
    named = re.findall(r"^(\S+/)?(src/draw/\S+|docs/\S+|tests/|experiments/)", README, re.MULTILINE)
    linked = re.findall(r"\]\(((?!http)[^)]+)\)", README)
    paths = [part for _, part in named] + linked
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path
