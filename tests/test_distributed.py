"""Several processes over gloo: they train and evaluate like a single one, and survive a kill."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from draw.commands.main import main
from draw.data import Batches
from draw.distributed import SINGLE, World, _agree_on_name, is_main, process_group
from draw.errors import ConfigError, RunError
from draw.evaluation import evaluate
from draw.storage.run_folder import RunFolder
from draw.training.state import TrainState
from draw.training.step import Stepper
from tests.training.tiny import UNEVEN, random_images, run_to_end, take_steps

ROOT = Path(__file__).parent.parent


# ---------------------------------------------------------------------- a world


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shards_are_disjoint_complete_and_of_similar_size(size):
    shards = [range(10)[World(rank, size).shard(10)] for rank in range(size)]
    assert [row for shard in shards for row in shard] == list(range(10))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_gather_interleaves_the_parts(monkeypatch):
    parts = [["a", "d", "g"], ["b", "e"], ["c", "f"]]

    def all_gather(gathered: list, own: object) -> None:
        gathered[:] = parts

    monkeypatch.setattr(dist, "all_gather_object", all_gather)
    assert World(1, 3).gather(["b", "e"]) == list("abcdefg")


def test_a_single_process_communicates_with_nobody():
    value = torch.ones(2)
    SINGLE.all_reduce([value])
    assert value.tolist() == [1, 1]
    assert SINGLE.gather([3, 4]) == [3, 4]
    assert (SINGLE.any(True), SINGLE.any(False)) == (True, False)
    with process_group("cpu") as world, world.local_main_first():
        assert world == SINGLE


@pytest.mark.parametrize(("total", "expected"), [(0.0, False), (1.0, True), (3.0, True)])
def test_any_needs_one_number_and_no_pickled_object(monkeypatch, total, expected):
    """Every CPU step calls it."""

    def fail(*_: object) -> None:
        raise AssertionError("an object was pickled")

    monkeypatch.setattr(dist, "all_gather_object", fail)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.fill_(total))
    assert World(1, 3).any(False) == expected


@pytest.mark.parametrize("rank", [0, 1])
def test_local_main_first_reports_a_failure_to_the_other_processes(monkeypatch, rank):
    """The others raise an error instead of waiting forever."""
    sent = []

    def all_gather(gathered: list, own: object) -> None:
        sent.append(own)
        gathered[:] = [[False], [None]]

    def run() -> None:
        with World(rank, 2).local_main_first():
            raise OSError("no space left")

    monkeypatch.setattr(dist, "all_gather_object", all_gather)
    monkeypatch.setenv("LOCAL_RANK", str(rank))
    expected = (OSError, "no space left") if rank == 0 else (RunError, "first process .* failed")
    with pytest.raises(expected[0], match=expected[1]):
        run()
    assert sent == [[False] if rank == 0 else [None]]


def test_a_lost_process_is_a_run_error(monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "all_reduce", fail)
    monkeypatch.setattr(dist, "all_gather_object", fail)
    world = World(0, 2)
    for call in (lambda: world.all_reduce([torch.ones(1)]), lambda: world.gather([1])):
        with pytest.raises(
            RunError, match=r"communication .* failed \(Conn.*\); another process may have ended"
        ):
            call()


# ---------------------------------------------------------------------- starting


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "2"}, "environment variable RANK expected, but not set; start them with"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "'two'; start them with torchrun, or unset WORLD_"),
    ],
)
def test_invalid_variables_of_a_launcher_are_an_error(monkeypatch, variables, message):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message), process_group("cpu"):
        pass


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_does_not_start_in_time_is_an_error(monkeypatch, rank):
    store = dist.TCPStore("localhost", 0, is_master=True, timeout=timedelta(milliseconds=200))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("draw.distributed.START_TIMEOUT", timedelta(milliseconds=200))
    monkeypatch.setattr("draw.distributed.rendezvous", lambda *_, **__: iter([(store, rank, 2)]))
    with pytest.raises(RunError, match="another process may have ended"), process_group("cpu"):
        pass


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, True),
        ({"RANK": "1"}, True),  # WORLD_SIZE decides whether there are other processes
        ({"RANK": "1", "WORLD_SIZE": "1"}, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_one_process_prints_messages(monkeypatch, variables, expected):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main() == expected


def test_restarted_processes_ignore_the_store_entries_of_dead_ones():
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)

    def agree(rank: int) -> str:
        own = dist.TCPStore("localhost", store.port, is_master=False, timeout=timedelta(minutes=2))
        return _agree_on_name(own, rank, 3)

    names: set[str] = set()
    for _ in range(2):
        store.set("draw/here/1", "a dead process")  # rank 2 left its entry in the first round
        with ThreadPoolExecutor(3) as threads:
            [name] = set(threads.map(agree, (0, 2, 1)))
        assert name not in names
        names.add(name)


# ---------------------------------------------------------------------- real processes

SCRIPT = """
import os
import signal
import sys
import weakref
from pathlib import Path
import torch
import torch.distributed as dist
from draw.commands.main import main
from draw.data import Batches
from draw.distributed import process_group
from draw.evaluation import evaluate
from draw.storage.run_folder import RunFolder
from draw.training.loop import train
from draw.training.state import TrainState
from draw.training.step import Stepper
from tests.training.tiny import UNEVEN, random_images, take_steps

torch.set_num_threads(1)
folder, images, gathers = Path(sys.argv[1]), random_images(), []
all_gather_object = dist.all_gather_object

def count(*args):
    gathers.append(args)
    all_gather_object(*args)

with process_group("cpu") as world:
    early = "torch._dynamo" in sys.modules
    state = TrainState.create(UNEVEN)  # the optimizers import torch._dynamo
    late = "torch._dynamo" in sys.modules and not early
    alive = weakref.ref(dist.group.WORLD)
    for event in train(UNEVEN, RunFolder(folder / "killed"), images, images, world=world):
        if event.step == 4 and world.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    dist.all_gather_object = count
    list(train(UNEVEN, RunFolder(folder / "whole"), images, images, world=world))
    dist.all_gather_object = all_gather_object

    with world.local_main_first():
        found = (folder / "downloaded").exists()
        (folder / "downloaded").touch()
    [event] = take_steps(Stepper(state, UNEVEN, Batches(images, 5, 0), world))
    gradients = [p.grad for p in state.model.parameters()]
    weights = [p.detach() for p in state.model.parameters()]
    many = random_images(1_100)  # three batches
    result = evaluate(state.model, many, importance_samples=2, world=world, out=folder / "cache")
    everything = world.gather([(found, event.train_nats, gradients, weights, len(gathers), result)])
    if world.is_main:
        torch.save(everything, folder / "everything")
(folder / f"ended{world.rank}").write_text(f"late {late}, alive {alive() is not None}")

sys.exit(main([*sys.argv[2:], "--out", str(folder / "command")]))
"""

COMMAND = (
    "train quick --steps 6 --batch-size 5 --eval-every 3 --eval-images 600 --device cpu "
    "--model.glimpses 2 --model.hidden-size 8 --model.latent-size 3"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let torchrun run the script in two processes, and return the folder with its results.

    One of the processes kills itself, so that torchrun starts both again.
    """
    path = tmp_path_factory.mktemp("two")
    (path / "script.py").write_text(SCRIPT)
    launcher = "-m torch.distributed.run --standalone --nproc-per-node=2 --max-restarts=1".split()
    command = [sys.executable, *launcher, str(path / "script.py"), str(path), *COMMAND]
    python_path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": python_path}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            (path / "out").write_text(process.communicate(timeout=200)[0])
        finally:
            process.terminate()  # torchrun ends its processes
    assert process.returncode == 0
    return path


@pytest.fixture(scope="module")
def both(folder: Path) -> list[tuple]:
    """Return the results of the two processes."""
    everything = torch.load(folder / "everything", weights_only=False)
    assert len(everything) == 2
    return everything


def test_the_first_process_downloads_and_the_other_finds_the_file(both):
    assert [found for found, *_ in both] == [False, True]


def test_a_process_group_and_its_threads_end_before_python_does(folder):
    """A thread that outlives the group can abort the process while Python ends."""
    states = [path.read_text() for path in folder.glob("ended*")]
    assert states == ["late True, alive False"] * 2


def test_the_gradient_of_two_processes_is_that_of_one(both):
    state = TrainState.create(UNEVEN)
    [event] = take_steps(Stepper(state, UNEVEN, Batches(random_images(), 5, 0)))
    for _, nats, gradients, weights, *_ in both:
        assert nats == pytest.approx(event.train_nats, rel=1e-5)
        for parameter, gradient in zip(state.model.parameters(), gradients, strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=1e-5)
        for own, first in zip(weights, both[0][3], strict=True):
            assert torch.equal(own, first)  # the processes do not drift apart


def assert_similar(run: Path, other: Path) -> None:
    """Compare the saved weights and the validations of two runs, except for rounding."""
    weights, expected = (load_file(path / "model/model.safetensors") for path in (run, other))
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-4)
    logs = [[r for r in RunFolder(p).records() if "valid_images" in r] for p in (run, other)]
    for record, expected_record in zip(*logs, strict=True):
        assert record == pytest.approx(expected_record, rel=1e-3)


def test_a_run_of_two_processes_is_that_of_one(folder, tmp_path):
    run_to_end(UNEVEN, tmp_path / "single")
    assert_similar(folder / "whole", tmp_path / "single")


def test_a_command_of_two_processes_is_that_of_one(folder, tmp_path):
    """And only one of them prints."""
    assert main([*COMMAND, "--out", str(tmp_path / "single")]) == 0
    assert_similar(folder / "command", tmp_path / "single")
    lines = (folder / "out").read_text().splitlines()
    assert len(lines) == len(set(lines)) > 3


def test_a_run_that_torchrun_restarted_has_the_same_weights(folder):
    """One process was killed in step 4; the newest checkpoint was that of step 3."""
    files = [RunFolder(folder / name).saved_checkpoints()[-1] for name in ("whole", "killed")]
    assert files[0].name == files[1].name == "000000006.safetensors"
    assert files[0].read_bytes() == files[1].read_bytes()


def test_steps_pickle_no_objects(both):
    """Only the two validations do."""
    assert [gathers for *_, gathers, _ in both] == [2, 2]


def test_an_evaluation_by_two_processes_is_exactly_that_of_one(both, folder):
    """Each image has the same noise, and a single process can use the cache of two."""
    state, images = TrainState.create(UNEVEN), random_images(1_100)
    with torch.no_grad():
        for parameter, value in zip(state.model.parameters(), both[0][3], strict=True):
            parameter.copy_(value)
    files = {path: path.stat().st_mtime_ns for path in (folder / "cache").iterdir()}
    assert len(files) == 4
    single = evaluate(state.model, images, importance_samples=2)
    cached = evaluate(state.model, images, importance_samples=2, out=folder / "cache")
    assert [result for *_, result in both] == [single] * 2 == [cached] * 2
    assert {path: path.stat().st_mtime_ns for path in files} == files
