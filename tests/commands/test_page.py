"""draw page."""

import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from draw import zoo
from draw.page import PageServer


def test_export_writes_the_page_and_prints_the_folder(run, draw):
    result = draw("page", run, "--export", "site")
    assert "python -m http.server -d site" in result.out
    assert result.status == 0
    assert result.out.startswith("site: ")
    index = json.loads(Path("site/models.json").read_text())
    names = [entry["name"] for entry in index if entry["config"]["type"] == "DRAW"]
    assert names[:2] == ["run", "mnist"]
    assert sorted(names) == sorted(["run", *zoo.names("DRAW")])
    weights = Path("site/models/run/model.safetensors").read_bytes()
    assert weights == (run / "model/model.safetensors").read_bytes()


def test_it_serves_until_it_is_stopped(run, draw, monkeypatch):
    """Even if the shell ignores Ctrl-C for background processes."""
    answers = []

    def use(url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                answers.append(answer.read())
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("webbrowser.open", use)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = draw("page", run)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("http://127.0.0.1:")
    assert b"<title>DRAW" in answers[0]


def test_it_opens_the_browser_by_default(run, draw, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(PageServer, "serve_forever", lambda _: None)
    result = draw("page", run)
    assert result.status == 0
    assert opened == [result.out.split()[0]]
    assert draw("page", run, "--no-browser").status == 0
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere", "nowhere is neither a run folder, nor a saved model folder"),
        ("run run", "run"),
        ("run --port 70000", "--port is 70000; it must be from 0 to 65,535"),
        ("run --export run", "run contains files that are not a page; choose a new folder"),
        ("run --export run/run.json", "run/run.json"),
    ],
)
def test_invalid_arguments_are_rejected(run, refused, arguments, message):
    assert message in refused("page", *arguments.split())
