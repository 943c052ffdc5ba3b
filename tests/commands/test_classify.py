"""draw classify, and the other commands on a classifier."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import draw as package
from draw.data import load
from draw.figures.tiles import READ, WRONG

from .conftest import Run, frame_count, train

TINY = [
    *"train cluttered-60 --data digits5k --image-size 28 --steps 4 --batch-size 8".split(),
    *"--eval-every 2 --eval-images 50 --model.glimpses 3 --model.hidden-size 8".split(),
    *"--model.read-size 4 --device cpu".split(),
]


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a tiny classifier on the bundled digits once."""
    return train(TINY, tmp_path_factory.mktemp("classifier") / "run")


@pytest.fixture
def digit(workplace: Path) -> Path:
    """Create a 28 x 28 image."""
    shades = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(shades).save("digit.png")
    return Path("digit.png")


def test_training_reports_loss_and_error(classifier):
    lines = classifier.out.splitlines()
    assert lines[0].startswith("training on 4,000 images of digits5k: 4 steps, batch size 8, 3 gl")
    assert lines[1].startswith("step      2   validation loss ")
    assert " nats, error " in lines[1]
    pictures = {path.name for path in classifier.path.glob("*.png")}
    assert pictures == {"glimpses.png", "curves.png"}
    assert len(list((classifier.path / "samples").iterdir())) == 2
    lines = (classifier.path / "metrics.jsonl").read_text().splitlines()
    keys = {key for line in lines for key in json.loads(line)}
    assert {"train_log_likelihood_nats", "valid_log_likelihood_nats", "valid_error"} <= keys
    assert not any("elbo" in key or "kl" in key for key in keys)


def test_interrupted_training_resumes_bit_exactly(classifier, draw):
    stopped = draw(*TINY, "--max-minutes", "1e-9", "--out", "run")
    assert stopped.out.endswith("--resume --out run\n")
    assert draw("train", "--resume", "--out", "run").status == 0
    assert Run(Path("run"), "").weights() == classifier.weights()


def test_evaluate_reports_the_error_and_its_confidence_interval(classifier, draw):
    results = json.loads(draw("evaluate", classifier.path, "--json").out)
    assert results["images"] == 500
    assert results["error"] == results["errors"] / 500 == results["error_by_glimpse"][-1]
    low, high = results["error_interval"]
    assert low < results["error"] < high
    shown = draw("evaluate", classifier.path).out
    assert f"{results['error']:.2%} ({low:.2%} to {high:.2%})" in shown
    assert "95% confidence interval" in shown
    assert "digits5k test" in shown


def test_classify_prints_labels_and_probabilities(classifier, digit, draw):
    Image.new("RGB", (40, 30), (90, 30, 10)).save("red.jpg")
    Image.new("L", (20, 10), 255).save("small.png")
    result = draw(
        *("classify", classifier.path, digit, "red.jpg", "small.png", "--film", "film.gif")
    )
    first, second, third, *written = result.out.splitlines()
    name, label, probability = first.split()
    assert (name, label) in {("digit.png:", str(c)) for c in range(10)}
    assert 10 <= float(probability.strip("(%)")) <= 100
    assert "40 x 30 RGB converted to 28 x 28" in second
    assert "invert" not in third  # a white image, but on a black background
    assert written == ["out/glimpses.png", "film.gif"]
    with Image.open("out/glimpses.png") as picture:
        shown = np.asarray(picture)
    assert (shown == READ).all(-1).any()
    small = shown[-12 - 84 : -12, 12 : 12 + 84, 0]  # tiles have 3 screen pixels per image pixel
    assert 0 < (small == 255).sum() <= 20 * 10 * 9  # not enlarged
    assert frame_count(Path("film.gif")) == 3
    Image.new("L", (28, 28), 255).save("paper.png")
    assert "invert the image" in draw("classify", classifier.path, "paper.png").out


def test_classify_draws_glimpses_for_print(classifier, digit, draw):
    result = draw("classify", classifier.path, digit, "--picture", "figure.svg")
    assert result.out.splitlines()[1:] == ["figure.svg"]
    assert ">prediction</text>" in Path("figure.svg").read_text()
    assert not Path("out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_unprintable_file_name_is_quoted(classifier, digit, draw):
    digit.rename(os.fsdecode(b"\xff\x1b.png"))
    result = draw("classify", classifier.path, os.fsdecode(b"\xff\x1b.png"))
    assert result.out.startswith(r"'\udcff\x1b.png': ")


def test_figures_of_a_classifier(classifier, draw):
    made = draw("figure", "all", classifier.path, "--out", "all").out.split()
    assert made == [f"all/figure-{name}.png" for name in (3, 4, 5, 11)]


def test_wrong_predictions_are_red_where_labels_are_known(classifier, draw):
    assert draw("figure", "5", classifier.path).out == "out/figure-5.png\n"
    chosen = load("digits5k", "test").subset(8, 0)
    predictions = package.load(classifier.path)(chosen.first(8)).logits[-1].argmax(-1)
    wrong = predictions != chosen.labels
    assert wrong.any()
    with Image.open("out/figure-5.png") as picture:
        red = (np.asarray(picture) == WRONG).all(-1).any(1)
    rows = red[12 + 18 : -12]  # without margins and headings
    assert [bool(part.any()) for part in np.array_split(rows, 8)] == wrong.tolist()
    Image.fromarray(chosen.pixels[0, 0].numpy()).save("digit.png")
    assert draw("classify", classifier.path, "digit.png").status == 0
    with Image.open("out/glimpses.png") as picture:
        assert not (np.asarray(picture) == WRONG).all(-1).any()


GENERATIVE = "classifies images; a model that generates images is required"
CLASSIFIER = "generates images; a model that classifies images is required"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sample {}", GENERATIVE),
        ("reconstruct {} digit.png", GENERATIVE),
        ("figure 1 {}", GENERATIVE),
        ("page {}", GENERATIVE),
        ("export {} --onnx x", GENERATIVE),
        ("classify quick digit.png", CLASSIFIER),
        ("figure 5 quick", CLASSIFIER),
        ("classify {}", "pass 1 to 1,024 images, not 0"),
        ("classify {} missing.png", "missing.png: no such image"),
        ("classify {} digit.png --film x.avi", "x.avi is not a film"),
        ("classify {} digit.png --picture x.jpg", "x.jpg is not a picture"),
        ("evaluate {} --samples 2", "is a classifier; --samples, --importance-samples and --out"),
        ("evaluate {} --importance-samples 2", "are for models that generate images"),
        ("evaluate {} --out kept", "are for models that generate images"),
    ],
)
def test_command_errors(classifier, digit, refused, command, message):
    assert message in refused(*command.format(classifier.path).split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model.classes", "9"], "with 9 classes they must be from 0 to 8"),
        (["--model.latent-size", "9"], "model.latent-size"),
        (["--model.classes", "1"], "model.classes is 1; it must be from 2"),
    ],
)
def test_training_errors(refused, options, message):
    assert message in refused(*TINY, "--out", "run", *options)


def test_images_without_labels_are_refused(pictures, draw):
    result = draw(*TINY, "--out", "run", "--data", "folder", "--data-dir", pictures)
    assert result.status == 2
    last = result.err.splitlines()[-1]
    assert last.startswith("draw: a classifier needs labels, and these images have none; choose")
    assert not Path("run").exists()
