"""A classifier from the command line: trained, judged, asked, drawn, and refused elsewhere."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import draw as package
from draw.data import load
from draw.figures.grid import GREEN, RED

from .conftest import Run, frame_count

TINY = [
    *"train cluttered-60 --data digits5k --image-size 28 --steps 4 --batch-size 8".split(),
    *"--eval-every 2 --eval-images 50 --model.glimpses 3 --model.hidden-size 8".split(),
    *"--model.read-size 4 --device cpu --out".split(),
]


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a tiny classifier on the embedded digits, finished."""
    import contextlib
    import io

    from draw import cli

    path, printed = tmp_path_factory.mktemp("classifier") / "run", io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        assert cli.main([*TINY, str(path)]) == 0
    return Run(path, printed.getvalue())


@pytest.fixture
def digit(workplace: Path) -> Path:
    """A picture of 28 x 28 pixels."""
    shades = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(shades).save("digit.png")
    return Path("digit.png")


def test_its_training_tells_loss_and_error_and_draws_where_it_looks(classifier):
    lines = classifier.out.splitlines()
    assert lines[0].startswith("training on 4,000 images of digits5k: 4 minibatches of 8, 3 glim")
    assert lines[1].startswith("step      2   validation loss ")
    assert " nats, error " in lines[1]
    pictures = {path.name for path in classifier.path.glob("*.png")}
    assert pictures == {"glimpses.png", "curves.png"}
    assert len(list((classifier.path / "samples").iterdir())) == 2


def test_its_log_names_what_it_measures(classifier):
    lines = (classifier.path / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    keys = {key for record in records for key in record}
    assert {"train_log_likelihood_nats", "valid_log_likelihood_nats", "valid_error"} <= keys
    assert not any("elbo" in key or "kl" in key for key in keys)


def test_an_interrupted_training_goes_on(classifier, draw):
    assert draw(*TINY, "run", "--max-minutes", "1e-9").out.endswith("--resume --out run\n")
    assert draw("train", "--resume", "--out", "run").status == 0
    assert Run(Path("run"), "").weights() == classifier.weights()


def test_evaluate_gives_the_error_with_its_interval(classifier, draw):
    measured = json.loads(draw("evaluate", classifier.path, "--json").out)
    assert measured["images"] == 500
    assert measured["error"] == measured["errors"] / 500 == measured["error_by_glimpse"][-1]
    low, high = measured["error_interval"]
    assert low < measured["error"] < high
    shown = draw("evaluate", classifier.path).out
    assert f"{measured['error']:.2%} (95 %: {low:.2%} to {high:.2%})" in shown
    assert "digits5k test" in shown


def test_classify_says_the_digit_and_how_surely(classifier, digit, draw):
    Image.new("RGB", (40, 30), (90, 30, 10)).save("red.jpg")
    Image.new("L", (20, 10), 255).save("small.png")
    result = draw(
        *("classify", classifier.path, digit, "red.jpg", "small.png", "--film", "film.gif")
    )
    first, second, third, *written = result.out.splitlines()
    name, answer, probability = first.split()
    assert (name, answer) in {("digit.png:", str(c)) for c in range(10)}
    assert 10 <= float(probability.strip("(%)")) <= 100
    assert second.endswith("40 x 30 RGB converted to 28 x 28 L")
    assert "invert it" not in third  # white, but on the black around it
    assert written == ["out/glimpses.png", "film.gif"]
    with Image.open("out/glimpses.png") as picture:
        shown = np.asarray(picture)
    assert (shown == GREEN).all(-1).any()
    small = shown[-12 - 84 : -12, 12 : 12 + 84, 0]  # in tiles of three pixels for one
    assert 0 < (small == 255).sum() <= 20 * 10 * 9  # as large as it was, on black
    assert frame_count(Path("film.gif")) == 3
    Image.new("L", (28, 28), 255).save("paper.png")
    assert "invert it" in draw("classify", classifier.path, "paper.png").out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_picture_whose_name_is_no_text_is_named_in_quotes(classifier, digit, draw):
    digit.rename(os.fsdecode(b"\xff\x1b.png"))
    result = draw("classify", classifier.path, os.fsdecode(b"\xff\x1b.png"))
    assert result.out.startswith(r"'\udcff\x1b.png': ")


def test_figure_5_is_its_glimpses(classifier, draw):
    assert draw("figure", "5", classifier.path).out == "out/figure-5.png\n"
    made = draw("figure", "all", classifier.path, "--out", "all").out.split()
    assert made == [f"all/figure-{name}.png" for name in (3, 4, 5, 11)]


def test_only_where_the_labels_are_known_are_wrong_answers_red(classifier, draw):
    """Trained for four steps, it errs on most of eight digits."""
    draw("figure", "5", classifier.path)
    chosen = load("digits5k", "test").subset(8, 0)
    answers = package.load(classifier.path)(chosen.first(8)).logits[-1].argmax(-1)
    wrong = answers != chosen.labels
    assert wrong.any()
    with Image.open("out/figure-5.png") as picture:
        red = (np.asarray(picture) == RED).all(-1).any(1)
    rows = red[12 + 18 : -12]  # without margins and headings
    assert [bool(part.any()) for part in np.array_split(rows, 8)] == wrong.tolist()
    Image.fromarray(chosen.pixels[0, 0].numpy()).save("digit.png")
    assert draw("classify", classifier.path, "digit.png").status == 0
    with Image.open("out/glimpses.png") as picture:
        assert not (np.asarray(picture) == RED).all(-1).any()


@pytest.mark.parametrize(
    "command",
    ["sample {}", "reconstruct {} digit.png", "figure 1 {}", "page {}", "export {} --onnx x"],
)
def test_what_wants_a_model_that_paints_refuses_it(classifier, digit, refused, command):
    line = refused(*command.format(classifier.path).split())
    assert "classifies pictures; this asks for a model that paints pictures" in line


@pytest.mark.parametrize("command", ["classify quick digit.png", "figure 5 quick"])
def test_what_wants_a_classifier_refuses_a_model_that_paints(digit, refused, command):
    line = refused(*command.split())
    assert "quick paints pictures; this asks for a model that classifies pictures" in line


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("classify {}", "name 1 to 1,024 pictures, not 0"),
        ("classify {} missing.png", "missing.png: no such picture"),
        ("classify {} digit.png --film x.avi", "x.avi is no film"),
        ("evaluate {} --samples 2", "it has no bound to measure with --samples"),
        ("evaluate {} --importance-samples 2", "it has no bound"),
        ("evaluate {} --out kept", "or to keep with --out"),
        ("evaluate {} --engine fused", "the fused engine cannot run a classifier"),
        ("figure 1 {}", "classifies pictures"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(classifier, digit, refused, command, reason):
    assert reason in refused(*command.format(classifier.path).split())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--model.classes", "9"], "the labels are from 0 to 9, but model.classes is 9"),
        (["--model.latent-size", "9"], "model.latent-size"),
        (["--model.classes", "1"], "model.classes is 1; it must be from 2"),
    ],
)
def test_a_training_that_cannot_be_is_refused(refused, options, reason):
    assert reason in refused(*TINY, "run", *options)


def test_images_without_labels_are_refused(pictures, draw):
    result = draw(*TINY, "run", "--data", "folder", "--data-dir", pictures)
    assert result.status == 2
    last = result.err.splitlines()[-1]
    assert last == "draw: a classifier needs labels, and these images have none"
    assert not Path("run").exists()
