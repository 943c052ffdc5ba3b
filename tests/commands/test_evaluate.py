"""draw evaluate, and every way in which a model may be damaged (the same for all commands)."""

import json
import math
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import draw as package
from draw.data import load as load_data


def strictly(text: str) -> dict:
    """Parse JSON as the standard has it: without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_table_tells_the_bound_its_parts_and_the_data(run, draw):
    result = draw("evaluate", run, "--split", "train")
    assert result.status == 0
    assert result.err == ""
    assert "folder train, 10 images, seed 0: Bernoulli, intensities as probabilities" in result.out
    assert "ELBO, 1 sample an image" in result.out
    assert "nats an image" in result.out
    assert "standard error" in result.out
    assert "IWAE" not in result.out
    assert "bits a dimension" not in result.out  # intensities have none
    bound = strictly(draw("evaluate", run, "--split", "train", "--json").out)
    for key in ("elbo_nats", "elbo_stderr", "log_likelihood_nats"):
        assert f"{bound[key]:.2f}" in result.out
    with_iwae = draw("evaluate", run, "--importance-samples", 7, 3, "--samples", 2)
    assert with_iwae.out.index("IWAE, k = 3") < with_iwae.out.index("IWAE, k = 7")
    assert "ELBO, 2 samples an image" in with_iwae.out


def test_json_has_the_keys_of_an_evaluation_and_what_was_evaluated(run, draw):
    result = strictly(draw("evaluate", run, "--split", "train", "--json").out)
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


def test_json_is_printed_and_nothing_else(run, draw):
    out = draw("evaluate", run, "--json").out
    assert out == json.dumps(strictly(out), indent=2) + "\n"


def test_a_single_image_has_no_standard_error(run, draw):
    result = strictly(draw("evaluate", run, "--json", "--importance-samples", 2).out)
    assert result["images"] == 1
    assert result["elbo_stderr"] is None
    assert result["iwae"][0]["stderr"] is None
    assert "nan" not in draw("evaluate", run).out


def test_the_importance_weighted_bounds_are_there_only_if_asked_for(run, draw):
    assert strictly(draw("evaluate", run, "--json").out)["iwae"] == []
    asked = strictly(draw("evaluate", run, "--json", "--importance-samples", 50, 1).out)
    assert [bound["k"] for bound in asked["iwae"]] == [1, 50]
    assert asked["iwae"][1]["nats"] > asked["iwae"][0]["nats"]


def test_the_seed_decides_every_number(run, draw):
    arguments = ["evaluate", run, "--json", "--importance-samples", 2]
    first = draw(*arguments).out
    assert draw(*arguments).out == first
    other = strictly(draw(*arguments, "--seed", 1).out)
    assert other["elbo_nats"] != strictly(first)["elbo_nats"]
    assert other["iwae"] != strictly(first)["iwae"]


def test_the_numbers_are_those_of_the_library(run, pictures, draw):
    images = load_data("folder", "train", shape=(1, 12, 12), data_dir=pictures).subset(4, seed=5)
    expected = package.evaluate(package.load(run), images, samples=2, seed=5)
    arguments = "--split train --samples 2 --images 4 --seed 5 --json".split()
    assert strictly(draw("evaluate", run, *arguments).out)["elbo_nats"] == expected.elbo_nats


def test_images_takes_that_many_by_the_seed(run, draw):
    def bound(*options: object) -> dict:
        return strictly(draw("evaluate", run, "--split", "train", "--json", *options).out)

    assert bound("--images", 4)["images"] == 4
    assert ", 4 of 10 images, seed 0" in draw("evaluate", run, "--split=train", "--images=4").out
    assert bound("--images", 4) == bound("--images", 4)
    assert bound("--images", 1000)["images"] == 10
    assert bound("--images", 10)["elbo_nats"] == bound()["elbo_nats"]


def test_a_saved_model_needs_the_name_of_its_data(run, pictures, draw, refused):
    assert "name a data set with --data" in refused("evaluate", run / "model")
    named = draw("evaluate", run / "model", "--data", "folder", "--data-dir", pictures, "--json")
    assert (
        strictly(named.out)["elbo_nats"]
        == strictly(draw("evaluate", run, "--json").out)["elbo_nats"]
    )


def test_binary_digits_have_bits_a_dimension(workplace, draw):
    config = package.DRAWConfig(glimpses=1, hidden_size=4, latent_size=2)
    package.DRAW(config).save_pretrained("untrained")
    arguments = ["evaluate", "untrained", "--data", "digits5k", "--images", 4]
    result = draw(*arguments)
    assert "digits5k test, 4 of 500 images, seed 0: Bernoulli, dynamic binarisation" in result.out
    assert "bits a dimension" in result.out


def test_a_colour_model_of_256_levels_has_bits_a_dimension(training, draw):
    arguments = [*training, "--model.channels", 3, "--model.likelihood", "logistic"]
    assert draw(*arguments, "--out", "levels").status == 0
    result = draw("evaluate", "levels", "--split", "train")
    assert "folder train, 10 images, seed 0: 256 levels, discretised logistic" in result.out
    told = strictly(draw("evaluate", "levels", "--split", "train", "--json").out)
    assert told["likelihood"] == "256 levels, discretised logistic"
    assert told["bits_per_dim"] == pytest.approx(-told["elbo_nats"] / (3 * 12 * 12 * math.log(2)))
    assert f"the ELBO is {told['bits_per_dim']:.4f} bits a dimension" in result.out


def test_levels_of_binary_digits_are_refused(workplace, refused):
    config = package.DRAWConfig(glimpses=1, hidden_size=4, latent_size=2, likelihood="logistic")
    package.DRAW(config).save_pretrained("untrained")
    line = refused("evaluate", "untrained", "--data", "digits5k")
    assert "these images have dynamic binarisation, so it must be bernoulli" in line


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "MODEL"),
        ("run --bogus", "--bogus"),
        ("run --imagess 2", "perhaps you meant --images"),
        ("run --images few", "--images: "),
        ("run --images", "--images"),
        ("run --split nope", "'nope'"),
        ("run --data nope", "unknown data set 'nope'; choose from digits5k, "),
        ("run --data-dir nowhere", "nowhere is not a folder"),
        ("run --data digits5k", "digits5k has images of 28 x 28 pixels"),
        ("run --device nope", "the device 'nope' cannot be used here; try --device cpu"),
        ("run --device meta", "the device 'meta' cannot be used here"),
        ("run --samples 0", "--samples is 0; it must be from 1"),
        ("run --samples -1", "--samples is -1; it must be from 1"),
        (f"run --samples {10**30}", "it must be from 1"),
        ("run --importance-samples 0", "--importance-samples is 0; it must be from 1"),
        ("run --importance-samples 10 -1", "--importance-samples is -1; it must be from 1"),
        (f"run --importance-samples {10**30}", "it must be from 1"),
        ("run --images 0", "--images is 0; it must be from 1"),
        ("run --images -1", "--images is -1; it must be from 1"),
        (f"run --images {10**30}", "it must be from 1"),
        ("run --seed -1", "--seed is -1; it must be from 0"),
        (f"run --seed {10**30}", "it must be from 0"),
        ("nowhere", "nowhere is not a run folder or a saved model's folder"),
        ("run/run.json", "run/run.json is not a run folder or a saved model's folder"),
        ("run/samples", "run/samples is not a saved model: it holds no config.json"),
        ("a/b/c/d", "a/b/c/d is no folder here, and the hub has no such model"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_done_is_refused(run, refused, arguments, told):
    assert told in refused("evaluate", *arguments.split())


def test_a_run_that_was_never_validated_says_how_to_go_on(run, refused):
    shutil.rmtree(run / "model")
    for command in (["evaluate", run], ["sample", run], ["reconstruct", run, "x.png"]):
        line = refused(*command)
        assert "run holds no model yet" in line
        assert "draw train --resume --out run" in line


def test_pictures_that_have_gone_are_missed_by_name(run, refused):
    text = (run / "run.json").read_text()
    gone = str(Path("gone").absolute())
    values = json.loads(text)
    values["config"]["data_dir"] = gone
    (run / "run.json").write_text(json.dumps(values))
    assert f"{gone} is not a folder" in refused("evaluate", run)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: b"", "damaged"),
        (lambda data: data[:50], "damaged"),
        (lambda data: data[:-1], "damaged"),
        (lambda data: data + b"more", "damaged"),
        (lambda data: b"\xff" * 1000, "damaged"),
        (lambda data: pickle.dumps({"canvas_0": 0}), "damaged"),
    ],
    ids=["empty", "cut in its header", "cut at its end", "too long", "noise", "a pickle"],
)
def test_damaged_weights_are_refused(run, refused, damage, told):
    file = run / "model" / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    line = refused("evaluate", run)
    assert str(file) in line
    assert told in line


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("canvas_0"), ": canvas_0 is missing"),
        (lambda tensors: tensors.update(other=torch.zeros(2)), ": 'other' is unknown"),
        (
            lambda tensors: tensors.update(canvas_0=torch.zeros(1, 5, 5)),
            ": canvas_0 is [1, 5, 5] instead of [1, 12, 12]",
        ),
        (lambda tensors: tensors.clear(), ": canvas_0 is missing; "),
    ],
    ids=["one missing", "one too many", "another shape", "none"],
)
def test_weights_of_another_network_are_refused(run, refused, change, told):
    file = run / "model" / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    line = refused("evaluate", run)
    assert "model.safetensors does not fit its configuration" in line
    assert told in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "config.json does not describe a model"),
        ("{", "config.json does not describe a model"),
        ("[]", "must hold a JSON object, not list"),
        ("[" * 100_000, "config.json does not describe a model"),
        ("9" * 5000, "config.json does not describe a model"),
        ('{"glimpsez": 3}', "unknown key 'glimpsez'; known are height, width, "),
        ('{"glimpses": "3"}', "glimpses is '3'"),
        ('{"glimpses": 3.0}', "glimpses is 3.0"),
        ('{"glimpses": null}', "glimpses is None"),
        ('{"glimpses": true}', "glimpses is True"),
        ('{"glimpses": 0}', "glimpses is 0"),
        ('{"height": 1e99}', "height is 1e+99"),
        (f'{{"width": {10**30}}}', "it must be"),
        ('{"hidden_size": NaN}', "hidden_size is nan"),
        ('{"channels": -1}', "channels is -1"),
        ('{"height": 13}', "does not fit its configuration"),
        ('{"likelihood": "gauss"}', "likelihood is 'gauss'"),
    ],
)
def test_a_damaged_config_is_refused(run, refused, text, told):
    (run / "model" / "config.json").write_text(text)
    line = refused("evaluate", run)
    assert "run/model/" in line
    assert told in line


def test_a_config_that_is_no_text_is_refused(run, refused):
    (run / "model" / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "config.json does not describe a model" in refused("evaluate", run)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_model_without_one_of_its_files_is_refused(run, refused, name):
    shutil.copytree(run / "model", "model")
    Path("model", name).unlink()
    line = refused("evaluate", "model", "--data", "digits5k")
    assert f"model is not a saved model: it holds no {name}" in line


def test_both_engines_give_the_same_bound(run, draw):
    bounds = [
        json.loads(draw("evaluate", run, "--json", "--engine", engine).out)["elbo_nats"]
        for engine in ("plain", "fused")
    ]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)


def test_an_unknown_engine_is_refused(run, refused):
    assert "steam" in refused("evaluate", run, "--engine", "steam")
