"""draw train, from its first line to its last picture, and every way to go wrong on the way."""

import errno
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from draw import cli, load

from .conftest import TINY, checkpoints, contents, frame_count, weights

PICTURES = [
    "curves.png",
    "drawing.gif",
    "reconstructing.gif",
    "reconstructions.png",
    "samples.png",
]


# ---------------------------------------------------------------------- what a training leaves


def test_a_finished_run_holds_its_configuration_log_states_model_and_pictures(finished):
    assert sorted(str(p.relative_to(finished.path)) for p in contents(finished.path)) == sorted(
        [
            *PICTURES,
            "checkpoints",
            "checkpoints/000000002.safetensors",
            "checkpoints/000000004.safetensors",
            "metrics.jsonl",
            "model",
            "model/config.json",
            "model/model.safetensors",
            "run.json",
            "samples",
            "samples/000000002.png",
            "samples/000000004.png",
        ]
    )
    config = json.loads((finished.path / "run.json").read_text())["config"]
    assert (config["steps"], config["model"]["glimpses"], config["data"]) == (4, 3, "folder")
    records = [json.loads(s) for s in (finished.path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if "valid_elbo_nats" in r] == [2, 4]
    assert [r["step"] for r in records if "train_elbo_nats" in r] == [4]
    assert load(finished.path).config.hidden_size == 8


def test_the_training_tells_its_data_its_bound_in_nats_and_where_things_are(finished):
    lines = [line for line in finished.out.splitlines() if line]
    assert lines[0] == (
        f"training on 10 images of folder: 4 minibatches of 4, 3 glimpses, into {finished.path}"
    )
    validations = [line for line in lines if line.startswith("step ")]
    assert len(validations) == 2
    assert all("validation" in line and "nats" in line for line in validations)
    assert validations[0].endswith("best so far")
    records = (finished.path / "metrics.jsonl").read_text().splitlines()
    bound = -json.loads(records[0])["valid_elbo_nats"]
    assert f" {bound:.2f} " in validations[0]
    assert str(finished.path / "model") in finished.out
    assert all(str(finished.path / name) in finished.out for name in PICTURES)


def test_nothing_is_printed_but_lines_when_no_terminal_is_there(finished):
    assert "\x1b" not in finished.out
    assert "\r" not in finished.out


def test_a_single_validation_picture_claims_no_standard_error(finished):
    assert "+- 0.00" not in finished.out


def test_films_have_a_frame_for_each_glimpse_and_one_for_the_finished_pictures(finished):
    assert frame_count(finished.path / "drawing.gif") == 3 + 1
    assert frame_count(finished.path / "reconstructing.gif") == 3 + 1


def test_at_most_two_checkpoints_are_kept(training, draw):
    result = draw(*training, "--steps", 5, "--checkpoint-every", 1, "--out", "run")
    assert result.status == 0
    assert checkpoints(Path("run")) == ["000000004.safetensors", "000000005.safetensors"]


def test_quick_trains_on_the_digits_that_need_no_network_into_a_folder_of_its_name(draw):
    small = "--steps 2 --batch-size 4 --eval-images 8 --model.glimpses 2 --model.hidden-size 8"
    result = draw("train", "quick", *small.split())
    assert result.status == 0
    assert result.err == ""
    assert "training on 4,000 images of digits5k: 2 minibatches" in result.out
    assert load("runs/quick").config.image_shape == (1, 28, 28)
    assert sorted(p.name for p in Path("runs/quick").iterdir() if p.is_file()) == sorted(
        [*PICTURES, "metrics.jsonl", "run.json"]
    )
    assert frame_count(Path("runs/quick/drawing.gif")) == 2 + 1


def test_the_seed_decides_the_training(training, finished, draw):
    assert draw(*training, "--out", "same").status == 0
    assert draw(*training, "--seed", 1, "--out", "other").status == 0
    assert weights(Path("same")) == finished.weights()
    assert weights(Path("other")) != finished.weights()


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ("--model.channels 3 --image-size 12", (3, 12, 12)),
        ("--model.height 16 --model.width 12", (1, 16, 12)),
        ("--image-size 9 --model.read-size 1 --model.write-size 1", (1, 9, 9)),
        ("--image-size 12 --model.read-size None --model.write-size None", (1, 12, 12)),
    ],
    ids=["colour", "not square", "another size", "no attention"],
)
def test_pictures_of_any_shape_can_be_learned(pictures, draw, options, shape):
    arguments = ["train", "folder", "--data-dir", pictures, *TINY, *options.split()]
    result = draw(*arguments, "--out", "run")
    assert result.status == 0
    assert ("in red" in result.out) == ("(green)" in result.out) == ("None" not in options)
    C, H, W = shape
    assert load("run").config.image_shape == shape
    with Image.open("run/samples/000000004.png") as opened:
        samples = np.asarray(opened)
    scale = 84 // max(H, W)
    assert samples.shape == (8 * (H * scale + 2) - 2, 8 * (W * scale + 2) - 2, 3)
    assert (np.ptp(samples, axis=2) > 0).any() == (C == 3)
    assert draw("evaluate", "run").status == 0


def test_a_run_in_bf16_says_so_and_its_pictures_are_made(training, draw):
    result = draw(*training, "--precision", "bf16", "--out", "run")
    assert result.status == 0
    assert "LSTMs multiply in bfloat16, by the plain path" in result.out
    assert json.loads(Path("run/run.json").read_text())["config"]["precision"] == "bf16"
    assert all(Path("run", name).exists() for name in PICTURES)


def test_the_fused_engine_does_not_train_in_bf16(training, refused):
    line = refused(*training, "--precision", "bf16", "--engine", "fused", "--out", "run")
    assert "the fused engine cannot run this: its encoder is a BFloat16LSTMCell; auto or" in line


def test_tensorboard_gets_the_measurements(training, draw):
    assert draw(*training, "--tensorboard", "--out", "run").status == 0
    [events] = Path("run/tensorboard").iterdir()
    data = events.read_bytes()
    assert b"train/elbo_nats" in data
    assert b"valid/elbo_nats" in data


def test_without_tensorboard_installed_its_option_says_what_to_install(
    training, refused, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # what `import` then sees
    line = refused(*training, "--tensorboard", "--out", "run")
    assert "pip install 'draw[tensorboard]'" in line


# ---------------------------------------------------------------------- from a trained model


def from_finished(training, finished):
    """The same training as `finished`, but from its weights, and with no word on the network."""
    given = training[: training.index("--model.glimpses")]
    return [*given, "--start-from", finished.path]


def test_a_training_can_start_from_a_trained_model_whose_network_it_takes(training, finished, draw):
    still = ["--learning-rate", "1e-9", "--out", "again"]
    assert draw(*from_finished(training, finished), *still).status == 0
    before, after = load(finished.path), load("again")
    assert after.config == before.config
    for ours, theirs in zip(after.parameters(), before.parameters(), strict=True):
        assert (ours - theirs).abs().max() < 1e-7


def test_a_started_run_resumes_without_the_model_it_started_from(training, finished, draw, run):
    begin = [*from_finished(training, finished), "--out"]
    assert draw(*begin, "whole").status == 0
    begin[begin.index(finished.path)] = run
    assert draw(*begin, "part").status == 0
    shutil.rmtree(run)
    Path("part/checkpoints/000000004.safetensors").unlink()
    assert draw("train", "--resume", "--out", "part").status == 0
    assert weights(Path("part")) == weights(Path("whole"))


def test_the_same_line_resumes_a_started_run_without_that_model_too(training, finished, draw, run):
    line = [*from_finished(training, finished), "--resume", "--out", "started"]
    line[line.index(finished.path)] = run
    assert draw(*line).status == 0
    expected = weights(Path("started"))
    shutil.rmtree(run)
    Path("started/checkpoints/000000004.safetensors").unlink()
    assert draw(*line).status == 0
    assert weights(Path("started")) == expected


def test_a_started_run_without_any_checkpoint_starts_there_again_from_wherever(
    training, finished, draw, run, monkeypatch
):
    begin = [*from_finished(training, finished), "--out", "started"]
    begin[begin.index(finished.path)] = run
    assert draw(*begin).status == 0
    expected = weights(Path("started"))
    shutil.rmtree("started/checkpoints")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert draw("train", "--resume", "--out", "../started").status == 0
    assert weights(Path("../started")) == expected


def test_a_started_run_has_a_checkpoint_from_its_first_step_on(training, finished, draw):
    late = ["--checkpoint-every", "100", "--out", "started"]
    assert draw(*from_finished(training, finished), *late).status == 0
    assert checkpoints(Path("started")) == ["000000001.safetensors", "000000004.safetensors"]


def test_another_network_than_that_of_the_model_to_start_from_is_refused(
    training, finished, refused
):
    line = refused(*from_finished(training, finished), "--model.glimpses", "5")
    assert f"starts from {finished.path} is of the same network, with glimpses 3" in line


@pytest.mark.parametrize(
    ("name", "told"),
    [("nothing", "nothing"), ("cluttered-100", "asks for a model that paints pictures")],
)
def test_a_model_that_cannot_be_started_from_is_refused(training, refused, name, told):
    assert told in refused(*training, "--start-from", name)


# ---------------------------------------------------------------------- stop and go on


LONG = [*"--steps 100 --eval-every 10 --checkpoint-every 1000".split()]


@pytest.fixture(scope="module")
def uninterrupted(training, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert cli.main([*training, *LONG, "--out", str(path)]) == 0
    return path


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_stopped_by_a_signal_and_resumed_ends_like_one_never_stopped(
    training, uninterrupted, draw, number, status
):
    process = subprocess.Popen(
        [sys.executable, "-m", "draw", *training, *LONG, "--out", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not process.stdout.readline().startswith("step "):
        assert process.poll() is None
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert len(checkpoints(Path("run"))) == 1
    assert checkpoints(Path("run")) < ["000000100.safetensors"]

    hint = "stopped and saved; continue with: draw "
    [told] = [line.removeprefix(hint) for line in out.splitlines() if line.startswith(hint)]
    resumed = draw(*shlex.split(told))
    assert resumed.status == 0
    assert weights(Path("run")) == weights(uninterrupted)
    name = "checkpoints/000000100.safetensors"
    assert Path("run", name).read_bytes() == (uninterrupted / name).read_bytes()
    assert validations(Path("run")) == validations(uninterrupted)
    for picture in ("samples.png", "drawing.gif", "reconstructions.png", "reconstructing.gif"):
        assert Path("run", picture).read_bytes() == (uninterrupted / picture).read_bytes()


def test_a_run_whose_time_is_up_and_that_is_resumed_ends_like_one_never_stopped(
    training, uninterrupted, draw
):
    result = draw(*training, *LONG, "--max-minutes", 1e-6, "--out", "run")
    assert result.status == 0
    assert "stopped and saved; continue with: draw train --resume --out run" in result.out
    assert checkpoints(Path("run")) == ["000000001.safetensors"]  # never less than one step
    resumed = draw("train", "--resume", "--out", "run", "--max-minutes", 10)
    assert resumed.status == 0
    assert "done" in resumed.out
    assert weights(Path("run")) == weights(uninterrupted)


def test_a_run_that_ends_as_its_time_is_up_is_done(training, draw):
    result = draw(*training, "--steps", 1, "--max-minutes", 1e-6, "--out", "run")
    assert "done" in result.out
    assert "continue with" not in result.out
    assert Path("run/curves.png").exists()


@pytest.mark.parametrize("minutes", [0, -1, "nan", "inf"])
def test_a_time_limit_that_is_none_is_refused(refused, minutes):
    line = refused("train", "quick", "--max-minutes", minutes)
    assert f"--max-minutes is {float(minutes)}; it must be above 0" in line


def validations(run: Path) -> list[dict]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if "valid_elbo_nats" in record]


def test_a_run_killed_before_its_last_checkpoint_ends_the_same(run, finished, draw):
    (run / "checkpoints" / "000000004.safetensors").unlink()
    shutil.rmtree(run / "model")
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"step": 4, "valid_el')  # a line cut short
    assert draw("train", "--resume", "--out", run).status == 0
    assert weights(run) == finished.weights()
    assert validations(run) == validations(finished.path)


def test_a_run_without_any_checkpoint_resumes_from_the_start(run, finished, draw):
    shutil.rmtree(run / "checkpoints")
    shutil.rmtree(run / "model")
    assert draw("train", "--resume", "--out", run).status == 0
    assert weights(run) == finished.weights()
    assert validations(run) == validations(finished.path)


def test_resuming_a_finished_run_paints_its_pictures_again_and_changes_nothing(run, draw):
    before = contents(run)
    for name in PICTURES:
        (run / name).unlink()
    assert draw("train", "--resume", "--out", run).status == 0
    assert contents(run) == before


def test_options_given_again_unchanged_are_no_obstacle_to_resuming(
    training, run, finished, draw, monkeypatch
):
    (run / "checkpoints" / "000000004.safetensors").unlink()
    monkeypatch.chdir(run)  # data_dir is the same folder from wherever it is named
    assert draw(*training, "--resume", "--out", ".").status == 0
    assert weights(Path()) == finished.weights()


def test_resuming_under_the_name_of_another_preset_is_refused(run, refused):
    told = refused("train", "mnist-no-attention", "--resume", "--out", run)
    assert "model.read_size was" in told
    assert "go on with that by draw train --resume --out run, or begin another" in told


def test_resuming_under_the_name_of_a_preset_of_another_kind_is_refused(run, refused):
    told = refused("train", "cluttered-60", "--resume", "--out", run)
    assert "data was" in told
    assert "model.latent_size was" in told


def test_resuming_where_there_is_no_run_is_refused(refused):
    assert "nowhere is not a run folder: it holds no run.json" in refused(
        "train", "--resume", "--out", "nowhere"
    )


def test_resuming_a_preset_that_was_not_begun_begins_it(training, finished, draw):
    assert draw(*training, "--resume", "--out", "run").status == 0
    assert weights(Path("run")) == finished.weights()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("--steps 9", "steps was 4"),
        ("--learning-rate 0.5", "learning_rate was 0.001"),
        ("--data-dir .", "data_dir was "),
        ("--precision bf16", "precision was fp32"),
        ("--model.glimpses 9", "model.glimpses was 3"),
        ("--image-size 24", "model.height was 12"),
    ],
)
def test_resuming_with_another_option_is_refused_and_the_option_named(run, refused, change, told):
    line = refused("train", "--resume", "--out", run, *change.split())
    assert told in line


@pytest.mark.parametrize("size", [0, 100, -1], ids=["empty", "cut early", "cut late"])
def test_a_corrupt_newest_checkpoint_is_named_and_without_it_the_run_ends_the_same(
    run, finished, draw, refused, size
):
    newest = run / "checkpoints" / "000000004.safetensors"
    newest.write_bytes(newest.read_bytes()[:size])
    line = refused("train", "--resume", "--out", run)
    assert f"{newest} is not a checkpoint of this run" in line
    assert "delete it" in line
    newest.unlink()
    assert draw("train", "--resume", "--out", run).status == 0
    assert weights(run) == finished.weights()


def test_a_checkpoint_of_another_network_is_refused(run, refused):
    shutil.copy(run / "model/model.safetensors", run / "checkpoints/000000004.safetensors")
    assert "is not a checkpoint of this run" in refused("train", "--resume", "--out", run)


def test_a_full_disk_leaves_the_checkpoint_before_whole(training, finished, draw, monkeypatch):
    write_bytes = Path.write_bytes

    def write_until_full(path: Path, data: bytes) -> int:
        if "000000004.safetensors" in path.name:
            write_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write_until_full)
        result = draw(*training, "--out", "run")
    assert result.status == 2
    [line] = result.err.splitlines()
    assert line.startswith("draw: No space left on device: ")
    before = "000000002.safetensors"
    assert checkpoints(Path("run")) == [before]
    whole = finished.path / "checkpoints" / before
    assert Path("run/checkpoints", before).read_bytes() == whole.read_bytes()

    assert draw("train", "--resume", "--out", "run").status == 0
    assert weights(Path("run")) == finished.weights()


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            "nope",
            "there is no preset 'nope'; there are quick, mnist, mnist-no-attention, two-digits",
        ),
        ("quick --data nope", "there is no data set 'nope'; there are digits5k, "),
        ("quick --stepz 3", "--stepz"),
        ("quick --stepz 3", "perhaps you meant --steps"),
        ("quick --model.glimpsez 3", "perhaps you meant --model.glimpses"),
        ("quick --stepz 3 --model.glimpsez 3", "--model.glimpsez"),
        ("quick extra", "extra"),
        ("quick --steps", "--steps"),
        ("quick --steps many", "--steps: "),
        ("quick --steps 1.5", "--steps: "),
        ("quick --learning-rate fast", "--learning-rate: "),
        ("quick --model.read-size wide", "--model.read-size: "),
        ("quick --model.likelihood gauss", "'gauss'"),
        ("quick --model.likelihood logistic", "these images have dynamic binarisation"),
        ("quick --device nope", "the device 'nope' cannot be used here; try --device cpu"),
        ("quick --device cuda:99", "the device 'cuda:99' cannot be used here"),
        ("quick --device meta", "the device 'meta' cannot be used here"),
        ("quick --device hpu", "the device 'hpu' cannot be used here"),
        ("folder", "--data-dir"),
    ],
)
def test_what_cannot_be_understood_is_refused(refused, arguments, told):
    assert told in refused("train", *arguments.split())


HUGE = 10**30


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--steps", [0, -1, HUGE]),
        ("--batch-size", [0, -1, 100_001]),
        ("--learning-rate", [0, -0.1, 1.1, "nan", "inf"]),
        ("--warmup-steps", [-1, HUGE]),
        ("--clip-norm", [0, -1, "nan", "inf"]),
        ("--ema-decay", [-0.1, 1, "nan", "inf"]),
        ("--eval-every", [0, -1, HUGE]),
        ("--eval-images", [0, -1, HUGE]),
        ("--checkpoint-every", [0, -1, HUGE]),
        ("--seed", [-1, HUGE]),
        ("--model.height", [0, 1, -1, 1025, HUGE]),
        ("--model.width", [0, 1, -1, 1025]),
        ("--model.channels", [0, 2, -1, 4]),
        ("--model.glimpses", [0, -1, 4097]),
        ("--model.hidden-size", [0, -1, 8193]),
        ("--model.latent-size", [0, -1, 8193]),
        ("--model.read-size", [0, -1, 129]),
        ("--model.write-size", [0, -1, 129]),
    ],
)
def test_a_number_outside_its_range_is_refused_with_its_option_its_value_and_its_range(
    refused, option, values
):
    for value in values:
        line = refused("train", "quick", option, value)
        assert f"{option.removeprefix('--').replace('-', '_')} is " in line
        assert "it must be " in line


@pytest.mark.parametrize("size", [0, -1, 1, 1025])
def test_an_image_size_outside_its_range_is_refused(refused, size):
    assert f"is {size}; it must be " in refused("train", "quick", "--image-size", size)


def test_a_network_too_large_for_the_memory_is_refused(training, refused):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, hard))
    try:
        line = refused(*training, "--model.hidden-size", 8192, "--out", "run")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert "out of memory" in line


def test_a_folder_that_holds_another_run_is_refused(training, run, refused):
    line = refused(*training, "--out", run)
    assert "holds another run; continue it with --resume --out run" in line


def test_the_advice_to_continue_can_be_pasted_whatever_the_folder_is_called(training, run, refused):
    shutil.copytree(run, "my run")
    assert shlex.quote("my run") in refused(*training, "--out", "my run").split("--out ")[1]


def test_a_folder_that_holds_other_files_is_refused(training, refused):
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("all my work")
    assert "mine exists and is not empty" in refused(*training, "--out", "mine")


def test_a_file_in_place_of_the_run_folder_is_refused(training, refused):
    Path("file").write_text("all my work")
    assert "file exists" in refused(*training, "--out", "file")


def test_a_folder_that_cannot_be_made_is_refused(training, refused):
    Path("file").write_text("all my work")
    assert refused(*training, "--out", "file/run") == "draw: Not a directory: file/run"


def test_an_empty_folder_may_be_trained_into(training, draw):
    Path("empty").mkdir()
    assert draw(*training, "--out", "empty").status == 0


# ---------------------------------------------------------------------- pictures that are bad


def test_a_folder_without_pictures_is_refused(refused):
    Path("none").mkdir()
    Path("none/notes.txt").write_text("no picture")
    line = refused("train", "folder", "--data-dir", "none", "--out", "run")
    assert "none has 0 pictures" in line
    assert "nowhere is not a folder" in refused("train", "folder", "--data-dir", "nowhere")


@pytest.fixture
def with_bad(pictures) -> Path:
    """The pictures, one of those for training cut short."""
    folder = Path("pictures")
    shutil.copytree(pictures, folder)
    bad = folder / "05.png"
    bad.write_bytes(bad.read_bytes()[:60])
    return folder


def test_a_picture_that_cannot_be_decoded_is_skipped_with_a_warning(with_bad, training, draw):
    result = draw(*training, "--data-dir", with_bad, "--out", "run")
    assert result.status == 0
    assert "training on 9 images" in result.out
    [line] = result.err.splitlines()
    assert line.startswith(f"draw: skipped: {with_bad / '05.png'} cannot be decoded")
    assert draw("train", "--resume", "--out", "run").status == 0


def test_pictures_of_another_size_or_mode_are_converted_and_counted(pictures, draw):
    arguments = ["--data-dir", pictures, *TINY, "--model.channels", 3, "--image-size", 9]
    result = draw("train", "folder", *arguments, "--out", "run")
    assert result.status == 0
    assert result.err.splitlines() == [
        "draw: 10 of 10 train pictures resized, cropped or converted to 9 x 9 RGB",
        "draw: 1 of 1 valid pictures resized, cropped or converted to 9 x 9 RGB",
    ]


# ---------------------------------------------------------------------- run.json


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1, 2]", "must hold a JSON object, not list"),
        ('{"stepz": 3}', "unknown key 'stepz'"),
        ('{"model": {"glimpsez": 3}}', "unknown key 'glimpsez'"),
        ('{"steps": -1}', "steps is -1"),
        ('{"steps": 1e400}', "steps is inf"),
        ('{"steps": true}', "steps is True"),
        ('{"model": {"hidden_size": 1000000}}', "hidden_size is 1000000"),
        ('{"model": 3}', "must hold a JSON object, not int"),
        ('{"data": "nope"}', "there is no data set 'nope'"),
        ('{"learning_rate": NaN}', "learning_rate is nan"),
    ],
)
def test_a_damaged_configuration_is_refused(run, refused, text, told):
    (run / "run.json").write_text(f'{{"config": {text}, "data": {{}}}}')
    assert told in refused("train", "--resume", "--out", run)
    assert told in refused("evaluate", run)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "run.json is not JSON"),
        ("[" * 50_000, "run.json is not JSON"),
        ("[" * 100_000, "run.json has more than the 65,536 bytes that are read of it"),
        ("[1, 2]", "run.json must hold the keys config and data alone"),
        ('{"config": {}}', "run.json must hold the keys config and data alone"),
        ('{"config": {}, "data": 3}', "run.json must hold the keys config and data alone"),
    ],
)
def test_a_damaged_run_json_is_refused(run, refused, text, told):
    (run / "run.json").write_text(text)
    assert told in refused("train", "--resume", "--out", run)
    assert told in refused("evaluate", run)


def test_resuming_with_other_pictures_is_refused(run, pictures, refused):
    shutil.copytree(pictures, "fewer")
    next(Path("fewer").rglob("*.png")).unlink()
    values = json.loads((run / "run.json").read_text())
    values["config"]["data_dir"] = "fewer"
    (run / "run.json").write_text(json.dumps(values))
    assert "was started on other data" in refused("train", "--resume", "--out", run)


def test_a_reader_that_goes_away_does_not_end_the_training(pictures, tmp_path):
    """As in `draw train ... | head -1`."""
    arguments = ["train", "folder", "--data-dir", pictures, *TINY, "--out", tmp_path / "piped"]
    command = [sys.executable, "-m", "draw", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert b"Error" not in process.stderr.read()
    assert process.returncode == 0
    assert (tmp_path / "piped" / "curves.png").exists()


def test_tensorboard_has_each_step_once_after_a_resume(pictures, draw):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = ["--data-dir", pictures, *TINY, "--tensorboard", "--out", "run"]
    assert draw("train", "folder", *arguments).status == 0
    Path("run/checkpoints/000000004.safetensors").unlink()
    assert draw("train", "--resume", "--out", "run", "--tensorboard").status == 0
    events = EventAccumulator("run/tensorboard")
    events.Reload()
    assert [event.step for event in events.Scalars("train/elbo_nats")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("valid/elbo_nats")] == [2, 4]


def test_help_lists_the_options_of_the_preset(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "mnist", "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "draw train mnist" in out
    assert "--model.glimpses" in out
    assert "default: 64" in out


def test_a_validation_that_did_worse_leaves_the_best_model_in_place(run, draw):
    before, newest = (run / "checkpoints" / name for name in checkpoints(run))
    with safe_open(before, framework="pt") as file:
        counters = json.loads(file.metadata()["draw"]) | {"best_nats": 0.0}  # not to be beaten
    save_file(load_file(before), before, metadata={"draw": json.dumps(counters)})
    newest.unlink()
    (run / "model" / "model.safetensors").write_bytes(b"the best")
    draw("train", "--resume", "--out", run)
    assert weights(run) == b"the best"
