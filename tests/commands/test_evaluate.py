"""draw evaluate, and damaged models, which all commands refuse in the same way."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import draw as package
from draw.data import load as load_data

from .conftest import change_run


def parse(text: str) -> dict:
    """Parse standard JSON, without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def untrained(**config: object) -> str:
    config = {"glimpses": 1, "hidden_size": 4, "latent_size": 2} | config
    package.DRAW(package.DRAWConfig(**config)).save_pretrained("untrained")
    return "untrained"


def test_table(run, draw):
    result = draw("evaluate", run, "--split", "train")
    assert (result.status, result.err) == (0, "")
    assert "folder train, 10 images, seed 0: Bernoulli, intensities as probabilities" in result.out
    assert "ELBO, 1 sample per image" in result.out
    assert "in nats per image; ± is the standard error" in result.out
    assert "IWAE" not in result.out
    assert "bits per dimension" not in result.out.replace("(no bits per dimension)", "")
    values = parse(draw("evaluate", run, "--split", "train", "--json").out)
    for key in ("elbo_nats", "elbo_stderr", "log_likelihood_nats"):
        assert f"{values[key]:.2f}" in result.out
    with_iwae = draw("evaluate", run, "--importance-samples", 7, 3, "--samples", 2)
    assert with_iwae.out.index("IWAE, k = 3") < with_iwae.out.index("IWAE, k = 7")
    assert "ELBO, 2 samples per image" in with_iwae.out


def test_json(run, draw):
    out = draw("evaluate", run, "--split", "train", "--json").out
    result = parse(out)
    assert out == json.dumps(result, indent=2) + "\n"
    assert set(result) == {
        *("model", "data", "split", "binarisation", "seed", "images_in_split"),
        *package.Evaluation.__dataclass_fields__,
    }
    assert (result["model"], result["data"], result["split"]) == ("run", "folder", "train")
    assert (result["binarisation"], result["seed"], result["images"]) == ("none", 0, 10)
    assert result["images_in_split"] == 10
    assert result["likelihood"].startswith("Bernoulli, intensities as probabilities")
    assert len(result["kl_nats_by_step"]) == 3
    assert result["kl_nats"] == pytest.approx(sum(result["kl_nats_by_step"]))
    assert result["elbo_nats"] == pytest.approx(result["log_likelihood_nats"] - result["kl_nats"])
    assert result["bits_per_dim"] is None
    assert result["iwae"] == []


def test_json_has_null_for_values_that_are_not_finite(workplace, draw):
    model = package.DRAW(package.DRAWConfig(glimpses=1, hidden_size=4, latent_size=2))
    with torch.no_grad():
        model.canvas_0.fill_(math.inf)
    model.save_pretrained("infinite")
    result = draw("evaluate", "infinite", "--data", "digits5k", "--images", 4, "--json")
    assert result.status == 0
    assert parse(result.out)["elbo_nats"] is None


def test_single_image_has_no_standard_error(run, draw):
    result = parse(draw("evaluate", run, "--json", "--importance-samples", 2).out)
    assert result["images"] == 1
    assert result["elbo_stderr"] is None
    assert result["iwae"][0]["stderr"] is None
    assert "nan" not in draw("evaluate", run).out


def test_results_equal_those_of_the_library(run, pictures, draw):
    images = load_data("folder", "train", shape=(1, 12, 12), data_dir=pictures).subset(4, seed=5)
    expected = package.evaluate(package.load(run), images, samples=2, seed=5)
    arguments = "--split train --samples 2 --images 4 --seed 5 --json".split()
    for engine in ("plain", "fused"):
        result = parse(draw("evaluate", run, *arguments, "--engine", engine).out)
        assert result["elbo_nats"] == pytest.approx(expected.elbo_nats, rel=1e-5)


def test_images_selects_a_random_subset(run, draw):
    def evaluate(*options: object) -> dict:
        return parse(draw("evaluate", run, "--split", "train", "--json", *options).out)

    four = evaluate("--images", 4)
    assert four["images"] == 4
    assert ", 4 of 10 images, seed 0" in draw("evaluate", run, "--split=train", "--images=4").out


def test_saved_model_needs_data(run, pictures, draw, refused):
    line = refused("evaluate", run / "model")
    assert "name a data set with --data, and for 'folder' also" in line
    named = draw("evaluate", run / "model", "--data", "folder", "--data-dir", pictures, "--json")
    of_run = draw("evaluate", run, "--json")
    assert parse(named.out)["elbo_nats"] == parse(of_run.out)["elbo_nats"]


def test_bits_per_dim_of_binary_images(workplace, draw):
    arguments = ["evaluate", untrained(), "--data", "digits5k", "--images", 4]
    out = draw(*arguments).out
    assert ", 4 of 500 images, seed 0: Bernoulli, dynamic binarisation" in out
    assert "bits per dimension" not in out
    values = parse(draw(*arguments, "--json").out)
    bits = -values["elbo_nats"] / (28 * 28 * math.log(2))
    assert values["bits_per_dim"] == pytest.approx(bits)


def test_bits_per_dim_of_256_levels(pictures, draw):
    name = untrained(likelihood="logistic", channels=3, height=12, width=12)
    arguments = ["evaluate", name, "--data", "folder", "--data-dir", pictures, "--split", "train"]
    result = draw(*arguments)
    assert "folder train, 10 images, seed 0: 256 levels, discretised logistic" in result.out
    values = parse(draw(*arguments, "--json").out)
    bits = -values["elbo_nats"] / (3 * 12 * 12 * math.log(2))
    assert values["bits_per_dim"] == pytest.approx(bits)
    stderr = values["elbo_stderr"] * bits / -values["elbo_nats"]
    assert f"{bits:.3f} ± {stderr:.3f} bits per dimension" in result.out


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "MODEL"),
        ("run --bogus", "--bogus"),
        ("run --imagess 2", "did you mean --images? see draw evaluate --help"),
        ("run --split nope", "'nope'"),
        ("run --engine steam", "steam"),
        ("run --data nope", "unknown data set 'nope'; choose from digits5k, "),
        ("run --data-dir nowhere", "nowhere is not a folder"),
        ("run --data digits5k", "digits5k has images of 28 x 28 pixels"),
        ("run --device nope", "the device 'nope' cannot be used here; try --device cpu"),
        ("run --samples 0", "--samples is 0; it must be from 1 to 1,000,000,000"),
        ("run --importance-samples 10 -1", "--importance-samples is -1; it must be from 1"),
        ("run --seed -1", "--seed is -1; it must be from 0"),
        ("nowhere", "nowhere is neither a run folder, nor"),
        ("run/samples", "it holds no config.json"),
        ("x" * 300, "File name too long"),
    ],
)
def test_argument_errors(run, refused, arguments, message):
    assert message in refused("evaluate", *arguments.split())


def test_run_without_a_model(run, refused):
    shutil.rmtree(run / "model")
    for command in (["evaluate", run], ["sample", run], ["reconstruct", run, "x.png"]):
        line = refused(*command)
        assert "run has no model yet" in line
        assert "draw train --resume --out run" in line


def test_missing_data_folder_is_named(run, refused):
    gone = str(Path("gone").absolute())
    change_run(run, data_dir=gone)
    assert f"{gone} is not a folder" in refused("evaluate", run)
