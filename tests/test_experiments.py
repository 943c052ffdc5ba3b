"""Publishing a model, the pages that follow from it, and a rehearsal of what runs on a GPU."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pages
import provenance
import publish
import pytest
import torch
from safetensors.torch import load_file

import draw
from draw import cli, zoo
from draw.commands import evaluate
from draw.commands import train as train_command
from draw.errors import RunError
from draw.evaluation import bounds
from draw.model import DRAW, DRAWConfig, Trace
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.presets import PRESETS

ROOT = Path(__file__).parent.parent
SHOW = publish.show
TINY = (
    "--steps 4 --batch-size 4 --eval-every 2 --eval-images 8 --checkpoint-every 2 --device cpu "
    "--model.glimpses 2 --model.hidden-size 8 --model.latent-size 3"
).split()


# ---------------------------------------------------------------------- the pages


def test_every_page_shows_the_figures_that_were_measured():
    """If this fails: python experiments/pages.py."""
    for path, text in pages.pages().items():
        assert path.read_text() == text, path


def test_both_tables_are_where_they_are_looked_for():
    assert "draw sample " in pages.README.read_text().split("<!-- written by")[1]
    table = pages.TABLE.read_text().split("<!-- written by")[1].split("<!-- end -->")[0]
    assert [row["title"] in table for row in pages.ROWS] == [True] * len(pages.ROWS)
    assert table.count("no command yet") == sum("preset" not in row for row in pages.ROWS)


def test_every_row_with_a_preset_can_be_run_and_described():
    for row in pages.ROWS:
        assert {"title"} <= set(row) <= {"title", "preset", "about", "paper", "published"}
        if "preset" in row:
            assert row["preset"] in PRESETS
            assert row["about"]


def test_every_published_model_has_its_row():
    assert set(zoo.names()) <= {row.get("preset") for row in pages.ROWS}


def test_the_upcoming_experiment_is_the_first_that_is_not_published(monkeypatch):
    monkeypatch.setattr(bundled, "names", lambda: ["quick"])
    assert pages.upcoming() == "mnist"
    monkeypatch.setattr(bundled, "names", lambda: ["mnist", "quick"])
    assert pages.upcoming() == "mnist-no-attention"
    monkeypatch.setattr(bundled, "names", lambda: list(PRESETS))
    assert pages.upcoming() is None


# ---------------------------------------------------------------------- publishing


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "quick"
    assert cli.main(["train", "quick", *TINY, "--out", str(path)]) == 0
    return path


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A copy of the pages, and no model yet; no pictures, and measurements that end soon."""
    (tmp_path / "experiments").mkdir()
    for page in ("README.md", "experiments/README.md"):
        shutil.copy(ROOT / page, tmp_path / page)
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(pages, "README", tmp_path / "README.md")
    monkeypatch.setattr(pages, "TABLE", tmp_path / "experiments/README.md")
    monkeypatch.setattr(bundled, "HOME", tmp_path / "src/draw/assets/models")
    monkeypatch.setattr(publish, "show", lambda run, name: None)
    monkeypatch.setitem(publish.MEASURED, "DRAW", ("--split valid --samples 2",))
    tested = (
        "--split test --samples 2 --importance-samples 1",
        "--split test --importance-samples 3",
        "--split test --importance-samples 5 --images {subset}",
    )
    monkeypatch.setitem(publish.TESTED, "DRAW", tested)
    return tmp_path


def published(run: Path, *, test: bool = False) -> dict:
    publish.publish(run, "quick", hardware="a test")
    publish.measure("quick", test, subset=8, keep=pages.ROOT / "keep")
    return zoo.results("quick")


def test_a_published_model_is_the_run_in_half_precision_with_its_figures(run, project):
    results = published(run, test=True)
    trained, stored = draw.load(run), draw.load("quick")
    for name, value in trained.state_dict().items():
        assert torch.equal(stored.state_dict()[name], value.half().float())
    assert results["parameters"] == sum(p.numel() for p in trained.parameters())
    assert results["stored_as"] == "float16"
    assert (results["hardware"], results["step"]) == ("a test", 4)
    valid, test, harder, hard = results["measured"]
    assert (
        valid["elbo_nats"]
        == draw.evaluate(stored, draw.data.load("digits5k", "valid"), samples=2).elbo_nats
    )
    assert valid["command"] == "draw evaluate quick --split valid --samples 2"
    assert [bound["k"] for bound in test["iwae"] + harder["iwae"]] == [1, 3]
    assert (hard["images"], hard["images_in_split"], hard["iwae"][0]["k"]) == (8, 500, 5)
    assert RunFolder.open(zoo.BUNDLED / "quick").read() == RunFolder.open(run).read()


def test_every_page_follows_from_it(run, project, monkeypatch):
    monkeypatch.setattr(publish, "show", SHOW)
    published(run, test=True)
    test = zoo.results("quick")["measured"][1]
    bound = f"{test['elbo_nats']:.2f} +- {test['elbo_stderr']:.2f}"
    for page in ("README.md", "experiments/README.md", "experiments/quick/README.md"):
        assert bound in (project / page).read_text()
    assert f"{bound} nats**; IWAE, k = 3: **" in (project / "README.md").read_text()
    card = (zoo.BUNDLED / "quick/model/README.md").read_text()
    assert bound in card
    assert card.startswith("---\nlibrary_name: draw\n")
    assert re.search(rf"^{re.escape(test['command'])} +# CPU, 20\d\d-\d\d-\d\d$", card, re.M)
    assert "8 of 500 images, seed 0: Bernoulli, dynamic binarisation | IWAE, k = 5 |" in card
    assert "only by how much its IWAE is above its ELBO compares" in " ".join(card.split())
    for file in ("metrics.jsonl", "curves.png", "samples.png", "stages.png"):
        assert (project / "experiments/quick" / file).stat().st_size > 0


def test_a_card_tells_what_was_measured_on_a_gpu(run, project, monkeypatch):
    published(run)
    monkeypatch.setattr(publish, "device_name", lambda device: "NVIDIA H100")
    published(run, test=True)
    card = (zoo.BUNDLED / "quick/model/README.md").read_text()
    assert re.search(r"^draw evaluate quick --split valid .*# CPU", card, re.M)
    assert len(re.findall(r"^draw evaluate quick --split test .*# NVIDIA H100", card, re.M)) == 3
    assert "A GPU draws other noise than a CPU" in " ".join(card.split())


def test_a_device_by_its_name(monkeypatch):
    assert publish.device_name(torch.device("cpu")) == "CPU"
    monkeypatch.setattr(torch.cuda, "get_device_name", str)
    assert publish.device_name(torch.device("cuda", 1)) == "cuda:1"


def test_the_configuration_of_an_old_run_is_completed(run, project, tmp_path):
    """The page's list of models and their folders tell the same, whenever they were trained."""
    old = shutil.copytree(run, tmp_path / "old")
    values = json.loads((old / "model/config.json").read_text())
    whole = (run / "model/config.json").read_bytes()
    del values["likelihood"]
    (old / "model/config.json").write_text(json.dumps(values))
    published(old)
    assert (zoo.BUNDLED / "quick/model/config.json").read_bytes() == whole


def test_what_was_measured_is_not_measured_again(run, project, monkeypatch):
    first = published(run)
    assert [one["split"] for one in first["measured"]] == ["valid"]
    whole = published(run, test=True)
    assert whole["measured"][:1] == first["measured"]
    monkeypatch.setattr(evaluate, "measure", None)  # not to be called
    assert published(run, test=True) == whole


def test_an_interrupted_measurement_goes_on_where_it_stopped(run, project, monkeypatch):
    measure, asked = evaluate.measure, []

    def interrupted(options: evaluate.Options) -> dict:
        asked.append(options.split)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return measure(options)

    monkeypatch.setattr(evaluate, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        published(run, test=True)
    (measured,) = zoo.results("quick")["measured"]
    assert f"{measured['elbo_nats']:.2f}" in (project / "README.md").read_text()
    assert len(published(run, test=True)["measured"]) == 4
    assert asked == ["valid", "test", "test", "test", "test"]


def test_a_bound_that_was_being_measured_goes_on_in_the_middle(run, project, monkeypatch):
    """The finished parts of its images are not measured again."""
    monkeypatch.setattr(bounds, "ROWS", 100)  # of 500 images, each with two samples
    forward, ran = DRAW.forward, []

    def until_the_fourth_part(self: DRAW, x: torch.Tensor, **options: object) -> Trace:
        ran.append(len(x))
        if len(ran) == 8:
            raise KeyboardInterrupt
        return forward(self, x, **options)

    monkeypatch.setattr(DRAW, "forward", until_the_fourth_part)
    with pytest.raises(KeyboardInterrupt):
        published(run)
    publish.measure("quick", test=False, subset=8, keep=project / "keep")  # without the run
    assert zoo.results("quick")["measured"][0]["images"] == 500
    assert ran == 8 * [100] + 4 * [100]  # and the last two parts alone
    kept = list(project.glob("keep/quick/*/cpu/split-valid-samples-2/part-*.safetensors"))
    assert len(kept) == 5


@pytest.fixture
def other(run, tmp_path) -> Path:
    """The same run with other weights."""
    shutil.copytree(run, tmp_path / "other")
    model = draw.load(run)
    with torch.no_grad():
        model.canvas_0 -= 1
    model.save(tmp_path / "other/model")
    return tmp_path / "other"


def test_weights_with_test_figures_stay_and_others_are_replaced(run, other, project):
    published(run)
    assert published(other)["measured"] != published(run)["measured"]
    published(run, test=True)
    before = (zoo.BUNDLED / "quick/model/model.safetensors").read_bytes()
    with pytest.raises(RunError, match="quick has been measured on the test set"):
        published(other)
    assert (zoo.BUNDLED / "quick/model/model.safetensors").read_bytes() == before
    publish.publish(other, "quick", hardware="a test", replacing=True)
    assert (zoo.BUNDLED / "quick/model/model.safetensors").read_bytes() != before
    assert zoo.results("quick")["measured"] == []


def test_a_published_model_is_measured_further_without_its_run(run, project, monkeypatch, capsys):
    published(run)
    arguments = ["--test", "--subset", "8", "--keep", str(project / "keep")]
    monkeypatch.setattr("sys.argv", ["publish.py", "quick", *arguments])
    publish.main()
    splits = [one["split"] for one in zoo.results("quick")["measured"]]
    assert splits == ["valid", "test", "test", "test"]
    monkeypatch.setattr("sys.argv", ["publish.py", "quick", "--run", str(run)])
    with pytest.raises(SystemExit):
        publish.main()
    assert "--run and --hardware go together" in capsys.readouterr().err


def test_a_name_without_a_row_is_refused(run, project):
    with pytest.raises(RunError, match="nameless is no experiment"):
        publish.publish(run, "nameless", hardware="a test")
    with pytest.raises(RunError, match="quick is not published; name the run folder"):
        publish.measure("quick", test=True, subset=8, keep=project / "keep")


def test_the_folder_of_the_data_is_left_out(run, project, tmp_path):
    mine = shutil.copytree(run, tmp_path / "mine")
    values = json.loads((mine / "run.json").read_text())
    values["config"]["data_dir"] = "/home/me/data"
    (mine / "run.json").write_text(json.dumps(values))
    published(mine)
    assert RunFolder.open(zoo.BUNDLED / "quick").read()["config"]["data_dir"] is None


# ---------------------------------------------------------------------- half precision


@pytest.mark.parametrize("preset", ["mnist", "mnist-no-attention"])
def test_the_papers_networks_fit_and_load_strictly(preset, tmp_path):
    model = DRAW(PRESETS[preset]().model)
    data, stored_as = publish.half_precision(model.state_dict())
    assert len(data) <= publish.LIMIT
    assert ("encoder.weight_ih as float8_e4m3fn" in stored_as) == (preset != "mnist")
    model.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(data)
    stored, loaded = load_file(tmp_path / "model.safetensors"), DRAW.from_pretrained(tmp_path)
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, stored[name].float())
        tolerance = 2**-4 if stored[name].itemsize == 1 else 2**-11  # half a unit in the last place
        torch.testing.assert_close(value, model.state_dict()[name], rtol=tolerance, atol=2**-10)


def test_weights_that_cannot_be_stored_are_refused():
    with pytest.raises(RunError, match="4,000,000 may be"):
        publish.half_precision({"a": torch.zeros(2_000, 1_000), "b": torch.zeros(2_000, 1_000)})
    with pytest.raises(RunError, match="beyond the range of float16"):
        publish.half_precision({"a": torch.tensor([70_000.0])})


# ---------------------------------------------------------------------- the command of a run


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PRESETS["quick"](), "draw train quick"),
        (replace(PRESETS["mnist"](), steps=9, seed=3), "draw train mnist --steps 9 --seed 3"),
        (
            replace(PRESETS["mnist"](), batch_size=50, antithetic=True, optimizer="muon"),
            "draw train mnist --batch-size 50 --antithetic --optimizer muon",
        ),
        (
            replace(
                PRESETS["mnist"](),
                model=DRAWConfig(write_size=None, glimpses=32),
                learning_rate=0.0025,
            ),
            "draw train mnist --learning-rate 0.0025 --model.glimpses 32 --model.write-size None",
        ),
    ],
)
def test_the_command_of_a_run_trains_exactly_so(config, expected):
    command = provenance.train_command(config)
    assert command == expected
    preset, *arguments = command.removeprefix("draw train ").split()
    _, parsed = train_command._parse(preset, arguments, PRESETS[preset]())
    assert parsed == TrainConfig(**vars(config))


@pytest.fixture
def continued(run, project, tmp_path) -> Path:
    """A run that starts from the published model, which it is to replace."""
    published(run, test=True)
    tiny = [*TINY[: TINY.index("--model.glimpses")], "--start-from", "quick"]
    assert cli.main(["train", "quick", *tiny, "--out", str(tmp_path / "again")]) == 0
    return tmp_path / "again"


def test_a_continued_run_tells_of_all_trainings_and_of_no_folder_of_this_machine(
    continued, project, monkeypatch
):
    monkeypatch.setattr(provenance, "training_seconds", lambda run: 1000.4)
    before = zoo.results("quick") | {"training_seconds": 500}
    (zoo.BUNDLED / "quick/results.json").write_text(json.dumps(before))
    publish.publish(continued, "quick", hardware="another", replacing=True)
    publish.measure("quick", test=False, subset=8, keep=project / "keep")
    results, command = zoo.results("quick"), before["command"]
    last = command.replace("draw train quick", "draw train quick --start-from runs/quick-1")
    assert results["command"] == f"{command} --out runs/quick-1 && {last}"
    config = RunFolder.open(zoo.BUNDLED / "quick").read()["config"]
    assert config["start_from"] == "runs/quick-1"
    assert results["training_seconds"] == 1500
    assert results["hardware"] == "a test; then another"
    third = provenance.describe(RunFolder.open(continued), "quick", "a third", results)["command"]
    assert third.startswith(f"{results['command']} --out runs/quick-2 && draw train quick ")
    assert "--start-from runs/quick-2" in third
    page = (zoo.BUNDLED / "quick/model/README.md").read_text().replace("\n", " ")
    assert "weights of minibatch 4 of 4 of the last training" in page
    given_up = f"{before['measured'][1]['elbo_nats']:.2f} +-"
    assert f"given up for these had on the test images ELBO, 2 samples an image: {given_up}" in page


def test_a_run_that_started_from_what_is_not_published_is_not_published(continued, run, project):
    def refused(start: str, told: str) -> None:
        values = json.loads((continued / "run.json").read_text())
        values["config"]["start_from"] = start
        (continued / "run.json").write_text(json.dumps(values))
        with pytest.raises(RunError, match=told):
            publish.publish(continued, "quick", hardware="a test", replacing=True)

    refused("elsewhere/run", "started from elsewhere/run, which is not published")
    model = draw.load(zoo.BUNDLED / "quick")
    with torch.no_grad():
        model.canvas_0 += 1
    model.save(zoo.BUNDLED / "quick/model")
    refused("quick", "started from a quick that is published no more")
    shutil.rmtree(zoo.BUNDLED / "quick")
    refused("quick", "started from quick, which is not published")


def test_a_run_that_has_not_ended_is_not_published(run, project, tmp_path):
    stopped = shutil.copytree(run, tmp_path / "stopped")
    log = (stopped / "metrics.jsonl").read_text().splitlines(keepends=True)
    for begun in (log[0], ""):
        (stopped / "metrics.jsonl").write_text(begun)
        with pytest.raises(RunError, match=f"in {stopped} has not ended; draw train --resume"):
            publish.publish(stopped, "quick", hardware="a test")


@pytest.mark.parametrize("name", zoo.names())
def test_the_command_on_a_card_trains_that_model(name):
    """Also where a preset was changed after it was published."""
    *_, command = zoo.results(name)["command"].split(" && ")
    preset, *arguments = command.removeprefix("draw train ").split()
    _, parsed = train_command._parse(preset, arguments, PRESETS[preset]())
    trained = read_config(RunFolder(zoo.BUNDLED / name))
    assert parsed.to_dict() == trained.to_dict()


# ---------------------------------------------------------------------- a rehearsal of gpu.sh


def gpu(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", ROOT / "experiments/gpu.sh", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=300,
    )


def kept(run: Path) -> list[str]:
    return sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file())


def whole(checkpoints: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(checkpoints.iterdir()))


@pytest.fixture(scope="module")
def chunk(tmp_path_factory) -> Path:
    """The run folder that a chunk left which had time for a single step."""
    folder = tmp_path_factory.mktemp("borrowed")
    (folder / "wheels").mkdir()
    with zipfile.ZipFile(folder / "wheels/extra-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("sitecustomize.py", "import sys; print('extra is here', file=sys.stderr)")
        about = "Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n"
        wheel.writestr("extra-1.0.dist-info/METADATA", about)
        wheel.writestr("extra-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("extra-1.0.dist-info/RECORD", "")
    result = gpu(folder, "--rehearse", "--wheels", "wheels", "--minutes", 1e-4, "one")
    assert result.returncode == 0, result.stderr
    assert "extra is here" in result.stderr
    name = pages.upcoming()
    assert f"to be continued with: experiments/gpu.sh ANOTHER_OUT one/{name}" in result.stdout
    return folder / "one" / name


def test_a_chunk_leaves_its_configuration_and_its_checkpoint_in_parts(chunk):
    *parts, config = kept(chunk)
    assert config == "run.json"
    assert len(parts) >= 2
    assert {file[:-2] for file in parts} == {"checkpoints/000000001.safetensors.part"}
    assert max((chunk / file).stat().st_size for file in parts) == 60_000


def test_two_chunks_end_like_one_training(chunk, tmp_path):
    before = kept(chunk)
    result = gpu(tmp_path, "--rehearse", "two", chunk)
    assert result.returncode == 0, result.stderr
    two = tmp_path / "two" / chunk.name
    publish_it = f"python experiments/publish.py {two.name} --run two/{two.name} --hardware"
    assert f"finished; publish it with: {publish_it}" in result.stdout
    assert kept(chunk) == before  # it went on in a copy
    assert {file.split("/")[0] for file in kept(two)} == {
        *("checkpoints", "metrics.jsonl", "model", "run.json")
    }

    torch.set_flush_denormal(True)  # as the command line does
    config = read_config(RunFolder.open(two))
    alone = RunFolder(tmp_path / "alone")
    images = [config.load_images(split) for split in ("train", "valid")]
    for _ in draw.train(config, alone, *images):
        pass
    stored = [(run / "model/model.safetensors").read_bytes() for run in (two, alone.path)]
    assert stored[0] == stored[1]
    newest = alone.checkpoints / f"{config.steps:09d}.safetensors"
    assert whole(two / "checkpoints") == newest.read_bytes()


@pytest.mark.parametrize("preset", ["cifar10", "svhn", "two-digits"])
def test_every_kind_of_row_can_be_rehearsed(preset, tmp_path):
    result = gpu(tmp_path, "--rehearse", "--preset", preset, "--minutes", 1e-4, "one")
    assert result.returncode == 0, result.stderr
    assert f"to be continued with: experiments/gpu.sh ANOTHER_OUT one/{preset}" in result.stdout


def test_a_chunk_may_go_on_in_its_own_folder_but_touches_no_other(chunk, tmp_path):
    shutil.copytree(chunk.parent, tmp_path / "one")
    refused = gpu(tmp_path, "--rehearse", "one", chunk)
    assert refused.returncode == 2
    assert "is there already" in refused.stderr
    here = tmp_path / "one" / chunk.name
    assert kept(here) == kept(chunk)
    result = gpu(tmp_path, "--rehearse", "--minutes", 1e-4, "one", f"one/{chunk.name}/")
    assert result.returncode == 0, result.stderr
    assert "checkpoints/000000002.safetensors.part00" in kept(here)


@pytest.mark.parametrize("arguments", [[], ["--bogus", "out"]])
def test_what_gpu_sh_does_not_understand_is_refused(tmp_path, arguments):
    result = gpu(tmp_path, *arguments)
    assert result.returncode != 0
    assert "gpu.sh" in result.stderr
    assert list(tmp_path.iterdir()) == []
