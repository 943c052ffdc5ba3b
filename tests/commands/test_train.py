"""draw train: output, figures, resuming, and errors."""

import json
import os
import pty
import resource
import shlex
import shutil
import signal
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from draw import load
from draw.commands import train as train_command
from draw.commands.main import main
from draw.commands.train_options import read_arguments
from draw.data.folder import split_pictures
from draw.errors import ConfigError
from draw.storage.run_folder import RunFolder

from .conftest import TINY, change_run, checkpoints, contents, frame_count, train, weights

FIGURES = ["curves.png", "drawing.gif", "reconstructing.gif", "reconstructions.png", "samples.png"]


@pytest.fixture
def no_figures(monkeypatch) -> None:
    """Save no images while and after training, for tests of something else."""
    monkeypatch.setattr(train_command, "_save_samples", lambda *_: None)
    monkeypatch.setattr(train_command, "_save_figures", lambda *_: None)


def validations(run: Path) -> list[dict]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if "valid_elbo_nats" in record]


# ---------------------------------------------------------------------- output of a run


def test_run_folder_contents(finished):
    assert sorted(str(p.relative_to(finished.path)) for p in contents(finished.path)) == sorted(
        [
            *FIGURES,
            ".lock",
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
    for film in ("drawing.gif", "reconstructing.gif"):
        assert frame_count(finished.path / film) == 3 + 1  # the glimpses and the finished images


def test_printed_lines(finished):
    lines = finished.out.splitlines()
    assert lines[0].startswith(
        "12 image files: grey photographs, typically 12 pixels on the shorter side; settings"
    )
    assert (
        lines[1].split()
        == (
            "--model.height 12 --model.width 12 --model.channels 1 --model.likelihood bernoulli "
            "--model.glimpses 3 --model.read-size 2 --model.write-size 3 --steps 4 --batch-size 4 "
            "--mirror no --shift 1"
        ).split()
    )
    assert lines[2] == (
        f"training on 10 images of folder: 4 steps, batch size 4, 3 glimpses, about 1 minute on "
        f"this machine; saving to {finished.path}"
    )
    assert [line.split()[:2] for line in lines[3:5]] == [["step", "2"], ["step", "4"]]
    loss = -validations(finished.path)[0]["valid_elbo_nats"]
    assert lines[3].endswith(f"   validation loss {loss:.2f} nats   best so far")
    assert str(finished.path / "model") in finished.out
    assert all(str(finished.path / name) in finished.out for name in FIGURES)
    assert "\x1b" not in finished.out  # no progress bar unless the output is a terminal
    assert "\r" not in finished.out
    assert "±" not in finished.out  # a single validation image has no standard error


def test_quick_preset_trains_on_bundled_digits(draw):
    small = "--steps 2 --batch-size 4 --eval-images 8 --model.glimpses 2 --model.hidden-size 8"
    result = draw("train", "quick", *small.split())
    assert (result.status, result.err) == (0, "")
    assert "training on 4,000 images of digits5k: 2 steps" in result.out
    assert " ± " in result.out
    assert load("runs/quick").config.image_shape == (1, 28, 28)
    assert {*FIGURES, "metrics.jsonl", "run.json"} <= {p.name for p in Path("runs/quick").iterdir()}


def test_training_on_the_validation_images_as_well(draw):
    options = "--model.glimpses 2 --model.hidden-size 8 --steps 2 --eval-every 1 --eval-images 8"
    result = draw("train", "quick", "--train-on", "train+valid", *options.split())
    assert "training on 4,500 images of digits5k: 2 steps" in result.out
    assert "batch size 64, 2 glimpses" in result.out
    assert result.out.count("nats (on training images)") == 2
    assert "done; the last model is in runs/quick/model" in result.out


@pytest.mark.usefixtures("no_figures")
def test_seed_determines_the_weights(training, finished, draw):
    assert draw(*training, "--seed", 1, "--out", "other").status == 0
    assert weights(Path("other")) != finished.weights()


@pytest.mark.parametrize(
    ("options", "shape", "likelihood"),
    [
        ("--model.channels 3 --image-size 9", (3, 9, 9), "coupled-logistic"),
        ("--model.height 16 --model.width 12", (1, 16, 12), "logistic"),
    ],
    ids=["colour", "not square"],
)
def test_image_shapes(pictures, draw, options, shape, likelihood):
    """Train on photographs, and use the model in every command that makes pictures."""
    arguments = ["train", "folder", "--data-dir", pictures, *TINY, *options.split()]
    result = draw(*arguments, "--out", "run")
    assert result.status == 0
    C, H, W = shape
    cropped = " and cropped" if H != W else ""
    assert (
        f"10 training images: 10 resized{cropped} to {W} x {H} (originals: 12 x 12)" in result.err
    )
    config = load("run").config
    assert (config.image_shape, config.likelihood) == (shape, likelihood)
    with Image.open("run/samples/000000004.png") as opened:
        samples = np.asarray(opened)
    scale = 84 // max(H, W)
    assert samples.shape == (8 * (H * scale + 2) - 2, 8 * (W * scale + 2) - 2, 3)
    assert (np.ptp(samples, axis=2) > 0).any() == (C == 3)
    for command in (
        "evaluate run --importance-samples 2",
        "sample run --count 2 --film film.webp --trace trace.json",
        f"reconstruct run {pictures / '00.png'} --film film.gif",
        "figure 1 run",
        "figure 6 run",
    ):
        assert draw(*command.split()).status == 0, command
    assert frame_count(Path("film.webp")) == frame_count(Path("film.gif")) == 3 + 1
    assert json.loads(Path("trace.json").read_text())["config"]["likelihood"] == likelihood


@pytest.fixture
def settings(draw, pictures, monkeypatch):
    """Return a function that starts a run on a folder and returns the settings it prints."""

    def stop(*_, **__):
        raise ConfigError("training starts here")

    monkeypatch.setattr(train_command, "train", stop)

    def call(*arguments) -> str:
        options = "--model.glimpses 2 --model.hidden-size 8 --batch-size 2".split()
        result = draw("train", "folder", "--data-dir", pictures, *options, *arguments)
        assert result.err.splitlines()[-1] == "draw: training starts here"
        return result.out.splitlines()[1]

    return call


def test_folder_settings_adapt_to_the_images_and_options_take_precedence(settings):
    chosen = settings()
    assert "--model.height 16 --model.width 16 --model.channels 1 " in chosen
    assert "--model.likelihood logistic --model.glimpses 2 " in chosen
    assert "--model.channels 1 --model.likelihood bernoulli" in settings(
        "--model.channels", "1", "--model.likelihood", "bernoulli"
    )
    adapted = settings("--model.channels", "3", "--image-size", "32", "--steps", "7")
    assert "--model.height 32 --model.width 32 --model.channels 3 " in adapted
    assert "--model.likelihood coupled-logistic" in adapted
    assert "--steps 7 --batch-size 2" in adapted


def test_start_from_determines_the_settings_of_the_network(settings, finished):
    options = ["--start-from", finished.path, "--model.glimpses", 3, "--image-size", 12]
    chosen = settings(*options)
    assert "--model.height 12 --model.width 12 --model.channels 1 " in chosen
    assert "--model.likelihood bernoulli --model.glimpses 3 --model.read-size 2" in chosen


@pytest.mark.usefixtures("no_figures")
def test_resuming_a_folder_by_name_uses_the_settings_of_the_run(pictures, training, draw):
    shutil.copytree(pictures, "mine")
    command = [*training[:2], "--data-dir", "mine", *TINY, "--out", "run", "--resume"]
    assert draw(*command).status == 0
    assert draw(*command).status == 0
    for number in range(40):
        Image.new("RGB", (80, 80), (number, 200, 0)).save(f"mine/new{number}.png")
    result = draw(*command)
    assert result.status == 2
    message = result.err.splitlines()[-1]
    assert "run was started on different data (training, validation changed)" in message
    assert message.endswith("new run with --out; --start-from run continues from its weights")
    assert draw(*command[:-3], "--start-from", "run", "--out", "more").status == 0


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_undecodable_image_of_any_split_is_named_before_training(
    training, draw, monkeypatch, split
):
    for number in range(100):
        path = Path(f"mine/cats/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 12), number).save(path)
    bad = split_pictures(Path("mine"), Counter())[split][0].path
    bad.write_bytes(b"no picture")

    def fail(*_, **__):
        raise ConfigError("training starts here")

    monkeypatch.setattr(train_command, "train", fail)
    result = draw(*training, "--data-dir", "mine", "--out", "run")
    skipped, error = result.err.splitlines()
    assert skipped.startswith(f"draw: skipped: {bad} cannot be decoded")
    assert error == "draw: training starts here"


def test_a_test_split_without_readable_images_is_an_error_before_training(pictures, training, draw):
    shutil.copytree(pictures, "mine")
    [bad] = split_pictures(Path("mine"), Counter())["test"]
    bad.path.write_bytes(b"no picture")
    result = draw(*training, "--data-dir", "mine", "--out", "run")
    assert result.status == 2
    error = "draw: none of the 1 test images in mine could be decoded; replace or delete them"
    assert result.err.splitlines()[-1] == error
    assert not Path("run").exists()


def test_captions_mention_windows_only_with_attention(finished, unattentive):
    assert "write window in orange" in finished.out
    assert "read window in blue" in finished.out
    assert "window" not in unattentive.out


@pytest.mark.usefixtures("no_figures")
def test_tensorboard_logs_each_step_once_after_resume(training, draw):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert draw(*training, "--tensorboard", "--out", "run").status == 0
    Path("run/checkpoints/000000004.safetensors").unlink()
    assert draw("train", "--resume", "--out", "run", "--tensorboard").status == 0
    events = EventAccumulator("run/tensorboard")
    events.Reload()
    assert [event.step for event in events.Scalars("train/nats")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("valid/nats")] == [2, 4]


def test_missing_tensorboard(training, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    line = refused(*training, "--tensorboard", "--out", "run")
    assert "pip install 'draw[tensorboard]'" in line


@pytest.mark.usefixtures("no_figures")
def test_a_function_logs_each_event(training, draw):
    Path("my_log.py").write_text(
        "lines = []\n\n"
        "def log(event):\n    lines.append((type(event).__name__, event.step, event.scalars))\n"
    )
    assert draw(*training, "--log", "my_log:log", "--out", "run").status == 0
    lines = sys.modules.pop("my_log").lines
    steps = [(step, values) for name, step, values in lines if name == "StepResult"]
    validations = [(step, values) for name, step, values in lines if name == "Validation"]
    assert [step for step, _ in steps] == [1, 2, 3, 4]
    assert [step for step, _ in validations] == [2, 4]
    assert set(steps[0][1]) == {"train/nats", "train/gradient_norm", "train/learning_rate"}
    assert set(validations[0][1]) == {"valid/nats", "valid/kl_nats"}
    logged = [r["valid_elbo_nats"] for r in RunFolder("run").records() if "valid_elbo_nats" in r]
    assert [values["valid/nats"] for _, values in validations] == logged


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_log", "it must be MODULE:FUNCTION"),
        ("no_such_module:log", "cannot import no_such_module: No module named"),
        ("json:no_such_function", "json has no function no_such_function"),
    ],
)
def test_an_unusable_log_function(training, refused, name, message):
    assert message in refused(*training, "--log", name, "--out", "run")


def test_help_lists_presets_and_defaults(capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", "mnist", "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "usage: draw train [PRESET]" in out
    assert "the defaults below are those of mnist" in out.lower()
    assert "--model.glimpses" in out
    assert "default: 64" in out
    assert "mnist-no-attention  Table 2" in out
    assert "adapt to your images" not in out
    with pytest.raises(SystemExit):
        main(["train", "folder", "--help"])
    assert "Some defaults adapt to your images: --steps" in capsys.readouterr().out


def test_closed_output_pipe_does_not_stop_training(training, monkeypatch, capsys):
    """As in `draw train ... | head -1`."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with monkeypatch.context() as patch, open(write_end, "w") as pipe:  # noqa: PTH123
        patch.setattr(sys, "stdout", pipe)
        assert main([*training, "--out", "piped"]) == 0
    assert capsys.readouterr().err == ""
    assert Path("piped/curves.png").exists()


# ---------------------------------------------------------------------- --start-from


@pytest.fixture
def from_model(training) -> list[str]:
    """The training arguments without options for the network, ending in --start-from."""
    return [*training[: training.index("--model.glimpses")], "--start-from"]


@pytest.mark.usefixtures("no_figures")
def test_start_from_takes_network_and_weights(from_model, finished, draw):
    almost_no_change = ["--learning-rate", "1e-9", "--checkpoint-every", 100, "--out", "again"]
    assert draw(*from_model, finished.path, *almost_no_change).status == 0
    before, after = load(finished.path), load("again")
    assert after.config == before.config
    for a, b in zip(after.parameters(), before.parameters(), strict=True):
        assert (a - b).abs().max() < 1e-7
    first_and_last = ["000000001.safetensors", "000000004.safetensors"]
    assert checkpoints(Path("again")) == first_and_last


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("repeat_command", [False, True])
def test_start_from_resumes_without_the_model(from_model, draw, run, repeat_command):
    command = [*from_model, run, "--resume", "--out", "started"]
    assert draw(*command).status == 0
    expected = weights(Path("started"))
    shutil.rmtree(run)
    Path("started/checkpoints/000000004.safetensors").unlink()
    resume = command if repeat_command else ["train", "--resume", "--out", "started"]
    assert draw(*resume).status == 0
    assert weights(Path("started")) == expected


@pytest.mark.usefixtures("no_figures")
def test_start_from_without_checkpoint_starts_again(from_model, draw, run, monkeypatch):
    assert draw(*from_model, run, "--out", "started").status == 0
    expected = weights(Path("started"))
    shutil.rmtree("started/checkpoints")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")  # the path of the model was recorded as absolute
    assert draw("train", "--resume", "--out", "../started").status == 0
    assert weights(Path("../started")) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --model.hidden-size 5", "start_from needs the same network; run has hidden_size 8"),
        ("nothing", "nothing is neither a run folder"),
        ("cluttered-100 --model.read-size 3", "start_from needs the same network"),
    ],
)
def test_start_from_errors(from_model, run, refused, arguments, message):
    assert message in refused(*from_model, *arguments.split())


@pytest.mark.usefixtures("no_figures")
def test_start_from_takes_another_number_of_glimpses(from_model, draw, run):
    assert draw(*from_model, run, "--model.glimpses", "5", "--out", "started").status == 0
    before, after = load(run), load("started")
    assert after.config == replace(before.config, glimpses=5)


def test_the_preset_with_four_glimpses_starts_from_eight():
    _, config, _ = read_arguments(["cluttered-100-4", "--start-from", "cluttered-100"])
    assert config.model == replace(load("cluttered-100").config, glimpses=4)


# ---------------------------------------------------------------------- stopping and resuming


LONG = [*"--steps 20 --eval-every 10 --checkpoint-every 1000".split()]


@pytest.fixture(scope="module")
def uninterrupted(training, tmp_path_factory) -> Path:
    return train([*training, *LONG], tmp_path_factory.mktemp("uninterrupted") / "run").path


def assert_same_result(run: Path, expected: Path) -> None:
    """Check that two finished runs agree bit by bit."""
    assert weights(run) == weights(expected)
    assert checkpoints(run)[-1] == checkpoints(expected)[-1]
    name = f"checkpoints/{checkpoints(run)[-1]}"
    assert (run / name).read_bytes() == (expected / name).read_bytes()
    assert validations(run) == validations(expected)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),  # the terminal was closed
        (signal.SIGUSR1, 138),  # Slurm's warning before the time limit
    ],
)
def test_signal_saves_a_checkpoint(training, draw, monkeypatch, number, status):
    """The signal arrives at the first validation."""
    monkeypatch.setattr(train_command, "_save_samples", lambda *_: os.kill(os.getpid(), number))
    stopped = draw(*training, *LONG, "--out", "run")
    assert (stopped.status, stopped.err) == (status, "")
    assert checkpoints(Path("run")) == ["000000010.safetensors"]
    hint = "checkpoint of step 10 of 20 saved; resume with: draw train --resume --out run"
    assert "first validation" not in stopped.out
    assert stopped.out.splitlines()[-1] == hint


@pytest.mark.usefixtures("no_figures")
def test_nohup_keeps_a_run_alive_when_the_terminal_is_closed(training, draw, monkeypatch):
    monkeypatch.setattr(
        train_command, "_save_samples", lambda *_: os.kill(os.getpid(), signal.SIGHUP)
    )
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert draw(*training, "--out", "run").status == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_closing_the_terminal_saves_a_checkpoint(training):
    pid, terminal = pty.fork()
    if pid == 0:  # the child, whose standard streams are the terminal
        command = [sys.executable, "-m", "draw", *training, "--steps", "1000000", "--out", "run"]
        os.execv(sys.executable, command)
    printed = b""
    while b"validation loss" not in printed:
        printed += os.read(terminal, 1 << 16)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    saved = [int(name.removesuffix(".safetensors")) for name in checkpoints(Path("run"))]
    logged = validations(Path("run"))[-1]["step"]
    assert saved[-1] >= logged


def test_max_minutes_stops_after_a_step_and_the_run_resumes(training, uninterrupted, draw):
    result = draw(*training, *LONG, "--max-minutes", 1e-6, "--out", "run")
    assert result.status == 0
    assert result.out.splitlines()[-2:] == [
        "the first validation, at step 10, will save a model and samples",
        "checkpoint of step 1 of 20 saved; resume with: draw train --resume --out run",
    ]
    assert checkpoints(Path("run")) == ["000000001.safetensors"]
    resumed = draw("train", "--resume", "--out", "run", "--max-minutes", 10)
    assert "done" in resumed.out
    assert "3 glimpses, about 1 minute left on this machine; saving to run" in resumed.out
    assert_same_result(Path("run"), uninterrupted)
    for name in FIGURES[1:]:
        assert (Path("run") / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_max_minutes_at_the_last_step_finishes_the_run(training, draw):
    result = draw(*training, "--steps", 1, "--max-minutes", 1e-6, "--out", "run")
    assert "done" in result.out
    assert "resume with" not in result.out
    assert Path("run/curves.png").exists()


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("lost", ["last checkpoint", "all checkpoints"])
def test_killed_run_resumes_bit_exactly(run, finished, draw, lost):
    if lost == "all checkpoints":
        shutil.rmtree(run / "checkpoints")
    else:
        (run / "checkpoints" / "000000004.safetensors").unlink()
    shutil.rmtree(run / "model")
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"step": 4, "valid_el')  # an incomplete line
    assert draw("train", "--resume", "--out", run).status == 0
    assert_same_result(run, finished.path)


def test_resuming_a_finished_run_only_redraws_its_figures(run, draw):
    before = contents(run)
    for name in FIGURES:
        (run / name).unlink()
    result = draw("train", "--resume", "--out", run)
    assert result.status == 0
    assert "3 glimpses; saving to run" in result.out
    assert contents(run) == before


@pytest.mark.usefixtures("no_figures")
def test_resume_accepts_the_original_options(training, run, finished, draw, monkeypatch):
    (run / "checkpoints" / "000000004.safetensors").unlink()
    monkeypatch.chdir(run)
    assert draw(*training, "--resume", "--out", ".").status == 0
    assert weights(Path()) == finished.weights()


@pytest.mark.usefixtures("no_figures")
def test_a_run_resumes_after_its_images_moved(pictures, run, finished, draw, refused):
    (run / "checkpoints" / "000000004.safetensors").unlink()
    change_run(run, data_dir="gone")
    assert "gone is not a folder" in refused("train", "--resume", "--out", run)
    shutil.copytree(pictures, "moved")
    assert draw("train", "--resume", "--out", run, "--data-dir", "moved").status == 0
    assert weights(run) == finished.weights()
    recorded = json.loads((run / "run.json").read_text())["config"]["data_dir"]
    assert recorded == str(Path("moved").absolute())
    assert draw("train", "--resume", "--out", run).status == 0


@pytest.mark.usefixtures("no_figures")
def test_resume_with_a_preset_starts_a_new_run(training, finished, draw):
    assert draw(*training, "--resume", "--out", "run").status == 0
    assert weights(Path("run")) == finished.weights()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--out run --steps 9", "steps was 4"),
        ("--out run --image-size 24", "model.height was 12"),
        ("mnist-no-attention --out run", "model.read_size was 2"),
        ("cluttered-60 --out run", "model.latent_size was 3"),
        ("--out nowhere", "nowhere is not a run folder: it holds no run.json"),
    ],
)
def test_resume_errors(run, refused, arguments, message):
    preset = [] if arguments.startswith("-") else [arguments.split()[0]]
    line = refused("train", *preset, "--resume", *arguments.split()[len(preset) :])
    assert message in line
    if "run.json" not in line:
        assert "draw train --resume --out run, or start a new run" in line


@pytest.mark.usefixtures("no_figures")
def test_worse_validation_keeps_the_best_model(run, draw):
    before, newest = (run / "checkpoints" / name for name in checkpoints(run))
    with safe_open(before, framework="pt") as file:
        counters = json.loads(file.metadata()["draw"]) | {"best_score": 0.0}  # cannot be beaten
    save_file(load_file(before), before, metadata={"draw": json.dumps(counters)})
    newest.unlink()
    (run / "model" / "model.safetensors").write_bytes(b"the best")
    draw("train", "--resume", "--out", run)
    assert weights(run) == b"the best"


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "nope",
            "there is no preset 'nope'; the presets are quick, mnist, mnist-no-attention, omniglot",
        ),
        ("quick --data nope", "there is no data set 'nope'; the data sets are digits5k, "),
        ("runs", "preset 'runs'; to train on its images, use draw train folder --data-dir runs"),
        ("quick --stepz 3", "options: --stepz (did you mean --steps? see draw train quick --help"),
        ("quick --epochs 3", "options: --epochs (did you mean --steps?"),
        ("quick --stepz 3 --model.glimpsez 3", "--stepz, --model.glimpsez (did you mean --"),
        ("quick extra", "extra"),
        ("quick --steps", "--steps"),
        ("quick --steps many", "--steps: "),
        ("quick --model.read-size wide", "--model.read-size: "),
        ("quick --model.likelihood gauss", "'gauss'"),
        ("quick --model.likelihood logistic", "these images have dynamic binarisation"),
        ("quick --device nope", "the device 'nope' cannot be used here; try --device cpu"),
        ("quick --device cuda:99", "the device 'cuda:99' cannot be used here"),
        ("quick --device hpu", "the device 'hpu' cannot be used here"),
        ("quick --device meta", "the device 'meta' cannot be used here"),
        ("quick --max-minutes nan", "--max-minutes is nan; it must be positive"),
        ("quick --image-size 1", "height is 1; it must be from 2"),
        ("folder", "--data-dir"),
        ("folder --data-dir nowhere", "nowhere is not a folder"),
        ("folder --data-dir .", ". has 0 images"),
    ],
)
def test_argument_errors(refused, arguments, message):
    Path("runs").mkdir()
    assert message in refused("train", *arguments.split())


def test_network_too_large_for_memory(training, refused):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, hard))
    try:
        line = refused(*training, "--model.hidden-size", 8192, "--out", "run")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert "out of memory" in line


def test_run_folder_is_not_overwritten(training, run, refused):
    line = refused(*training, "--out", run)
    assert "already holds a run; resume it with --resume --out run" in line
    run.rename("my run")
    assert shlex.quote("my run") in refused(*training, "--out", "my run").split("--out ")[1]
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("all my work")
    assert "mine exists and is not empty" in refused(*training, "--out", "mine")
    assert "thesis.txt exists" in refused(*training, "--out", "mine/thesis.txt")
    line = refused(*training, "--out", "mine/thesis.txt/run")
    assert line == "draw: Not a directory: mine/thesis.txt/run"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "run.json is not JSON"),
        ('{"config": {}}', "run.json must have exactly the keys config and data"),
        ('{"config": {"model": {"type": "DRAW", "glimpsez": 3}}, "data": {}}', "key 'glimpsez'"),
    ],
)
def test_damaged_run_json(run, refused, text, message):
    (run / "run.json").write_text(text)
    assert message in refused("train", "--resume", "--out", run)
    assert message in refused("evaluate", run)
