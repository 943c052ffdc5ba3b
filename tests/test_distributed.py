"""Several real processes over gloo: the same training and the same measures as by one."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from draw import cli
from draw.data import Batches
from draw.distributed import SINGLE, World, _agreed_name, is_main, process_group
from draw.errors import ConfigError, RunError
from draw.storage.run_folder import RunFolder
from draw.training.step import Stepper, TrainState
from tests.test_training import CONFIG, some_images

ROOT = Path(__file__).parent.parent
WIDER = replace(CONFIG, batch_size=5, antithetic=True, steps=6)  # ten rows: 3, 3 and 4 of them
TINY = (
    "--steps 6 --batch-size 6 --eval-every 3 --eval-images 600 --checkpoint-every 2 --device cpu "
    "--model.glimpses 2 --model.hidden-size 8 --model.latent-size 3"
).split()


def launched(processes: int, *arguments: str, restarts: int = 0) -> subprocess.Popen:
    """`torchrun` on this machine, as a user would call it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", f"--max-restarts={restarts}", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen) -> str:
    """What it printed; it must have ended well."""
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its processes
        process.communicate()
        raise
    assert process.returncode == 0, err
    return out


# ---------------------------------------------------------------------- shares


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_disjoint_complete_and_almost_equal(size):
    shares = [range(10)[World(rank, size).share(10)] for rank in range(size)]
    assert [row for share in shares for row in share] == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_what_is_gathered_comes_in_the_order_in_which_it_was_dealt(monkeypatch):
    dealt = [["a", "d", "g"], ["b", "e"], ["c", "f"]]

    def all_gather(of_all: list, mine: object) -> None:
        of_all[:] = dealt

    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather)
    assert World(1, 3).gather(["b", "e"]) == list("abcdefg")


def test_a_process_alone_asks_nobody():
    value = torch.ones(2)
    SINGLE.all_reduce([value])
    assert value.tolist() == [1, 1]
    assert SINGLE.gather([3, 4]) == [3, 4]
    assert (SINGLE.any(True), SINGLE.any(False)) == (True, False)
    with process_group("cpu") as group, world.local_main_first():
        assert group == SINGLE


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"WORLD_SIZE": "2"}, "environment variable RANK expected, but not set; start them with"),
        (
            {"WORLD_SIZE": "two", "RANK": "0"},
            "'two'; start them with torchrun, or unset WORLD_SIZE",
        ),
    ],
)
def test_variables_of_a_launcher_that_are_no_use_are_told(monkeypatch, variables, told):
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=told), process_group("cpu"):
        pass


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_waits_in_vain_says_so(monkeypatch, rank):
    store = dist.TCPStore("localhost", 0, is_master=True, timeout=timedelta(seconds=1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("draw.distributed.PATIENCE", timedelta(seconds=1))
    monkeypatch.setattr("draw.distributed.rendezvous", lambda *_, **__: iter([(store, rank, 2)]))
    with (
        pytest.raises(RunError, match="another process of the group is gone"),
        process_group("cpu"),
    ):
        pass


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, True),
        ({"RANK": "1"}, True),  # left over from something else
        ({"RANK": "1", "WORLD_SIZE": "1"}, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_one_process_of_a_group_tells(monkeypatch, variables, expected):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_main() == expected


def test_a_lost_process_is_told_in_words(monkeypatch):
    def lost(*_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_reduce", lost)
    monkeypatch.setattr(torch.distributed, "all_gather_object", lost)
    group = World(0, 2)
    for call in (lambda: world.all_reduce([torch.ones(1)]), lambda: world.gather([1])):
        with pytest.raises(
            RunError, match=r"another process of the group is gone \(Conn.*; start all"
        ):
            call()


# ---------------------------------------------------------------------- gradients

THREE = """
import sys
import weakref
from pathlib import Path
import torch
import torch.distributed as dist
from draw.data import Batches
from draw.distributed import process_group
from draw.training.step import Stepper, TrainState
from tests.test_processes import WIDER
from tests.test_training import some_images

folder = Path(sys.argv[1])
with process_group("cpu") as world:
    early = "torch._dynamo" in sys.modules
    state = TrainState.create(WIDER)  # its optimizer imports that, and with it torch.distributed.nn
    late = "torch._dynamo" in sys.modules and not early
    alive = weakref.ref(dist.group.WORLD)
    with world.local_main_first():
        found = (folder / "fetched").exists()
        (folder / "fetched").touch()
    steps = Stepper(state, WIDER, Batches(some_images(30), 5, 0), group)
    steps.take()
    (event,) = steps.read()
    gradients = [p.grad for p in state.model.parameters()]
    weights = [p.detach() for p in state.model.parameters()]
    of_all = world.gather([(found, event.train_nats, gradients, weights)])
    if world.is_main:
        torch.save(of_all, folder / "all")
(folder / f"ended{world.rank}").write_text(f"late {late}, alive {alive() is not None}")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where three processes have left what they did together."""
    path = tmp_path_factory.mktemp("three")
    (path / "three.py").write_text(THREE)
    finished(launched(3, str(path / "three.py"), str(path)))
    return path


@pytest.fixture(scope="module")
def three(folder) -> list[tuple]:
    """What each of three processes found, lost and learnt in one step."""
    of_all = torch.load(folder / "all")
    assert len(of_all) == 3
    return of_all


def test_one_process_fetches_what_the_others_then_find(three):
    assert [found for found, *_ in three] == [False, True, True]


def test_a_group_and_its_threads_end_before_python_does(folder):
    """A thread that outlived the group would want Python while it ends, and abort now and then."""
    told = [file.read_text() for file in folder.glob("ended*")]
    assert told == ["late True, alive False"] * 3


def test_the_gradient_of_a_step_is_that_of_one_process(three):
    state = TrainState.create(WIDER)
    steps = Stepper(state, WIDER, Batches(some_images(30), 5, 0))
    steps.take()
    (event,) = steps.read()
    for _, nats, gradients, weights in three:
        assert nats == pytest.approx(event.train_nats, rel=1e-5)
        for parameter, gradient in zip(state.model.parameters(), gradients, strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=1e-5, atol=1e-5)
        for mine, first in zip(weights, three[0][-1], strict=True):
            assert torch.equal(mine, first)  # no process drifts away from another


def test_a_process_takes_no_empty_parts():
    config = replace(WIDER, batch_size=4, antithetic=False, microbatches=4)
    steps = Stepper(TrainState.create(config), config, Batches(some_images(), 4, 0), World(1, 2))
    assert steps.rows == [slice(2, 3), slice(3, 4)]


@pytest.mark.parametrize("microbatches", [2, 3, 10])
def test_an_accumulated_gradient_is_that_of_the_whole_minibatch(microbatches):
    whole, parted = (TrainState.create(WIDER) for _ in range(2))
    for state, parts in ((whole, 1), (parted, microbatches)):
        config = replace(WIDER, microbatches=parts)
        steps = Stepper(state, config, Batches(some_images(30), 5, 0))
        steps.take()
        list(steps.read())
    pairs = zip(whole.model.parameters(), parted.model.parameters(), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------- whole runs


def nearly_the_same(path: Path, other: Path) -> None:
    one, two = (load_file(run / "model" / "model.safetensors") for run in (path, other))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-4)


def test_several_processes_train_and_measure_as_one(tmp_path, capsys):
    """Two begin a training, three go on with it and measure its network; one does it all again."""
    path, alone, kept = tmp_path / "run", tmp_path / "alone", tmp_path / "kept"
    words = ("-m", "draw", "train", "quick", *TINY, "--out", str(path), "--max-minutes", "1e-9")
    assert "stopped and saved" in finished(launched(2, *words))
    assert RunFolder(path).checkpoints.exists()
    out = finished(launched(3, "-m", "draw", "train", "--resume", "--out", str(path)))
    assert len([line for line in out.splitlines() if line.startswith("step ")]) == 2  # told once
    assert cli.main(["train", "quick", *TINY, "--out", str(alone)]) == 0
    nearly_the_same(path, alone)
    logs = [[r for r in RunFolder(run).records() if "valid_images" in r] for run in (path, alone)]
    assert [record["step"] for record in logs[0]] == [3, 6]
    for one, other in zip(*logs, strict=True):
        assert one == pytest.approx(other, rel=1e-3)

    evaluate = ["evaluate", str(path), "--json", "--importance-samples", "2", "--device", "cpu"]
    evaluate += ["--split", "train", "--images", "1100"]  # in three parts
    keep = [*evaluate, "--out", str(kept)]
    by_three = json.loads(finished(launched(3, "-m", "draw", *keep)))
    files = {file: file.stat().st_mtime_ns for file in kept.iterdir()}
    assert len(files) == 4
    for by_one in (evaluate, keep):
        capsys.readouterr()
        assert cli.main(by_one) == 0
        # Not only nearly: each image has the same noise.
        assert json.loads(capsys.readouterr().out) == by_three
    assert {file: file.stat().st_mtime_ns for file in kept.iterdir()} == files  # nothing again


def test_when_a_worker_is_killed_all_are_started_again_and_the_run_goes_on(tmp_path):
    """It ends with the weights of a run that nobody disturbed, bit for bit."""
    longer = [*TINY, "--steps", "150", "--eval-every", "50"]
    words = ("-m", "draw", "train", "quick", *longer, "--resume", "--out")
    path = tmp_path / "run"
    process = launched(2, *words, str(path), restarts=3)
    while not list(path.glob("checkpoints/*.safetensors")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    assert finished(process).count("training on") == 2  # it was started again
    steps = [r["step"] for r in RunFolder(path).records() if "train_elbo_nats" in r]
    assert steps == [50, 100, 150]
    finished(launched(2, *words, str(tmp_path / "undisturbed")))
    one, other = (
        (run / "model/model.safetensors").read_bytes() for run in (path, tmp_path / "undisturbed")
    )
    assert one == other


def test_the_dead_are_not_called():
    """What processes before left in a store that outlives them changes nothing."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)

    def agreed(rank: int) -> str:
        mine = dist.TCPStore("localhost", store.port, is_master=False, timeout=timedelta(minutes=2))
        return _agreed_name(mine, rank, 3)

    before: set[str] = set()
    for _ in range(2):
        store.set("draw/here/1", "who is gone")  # and 2 as it was left by those before
        with ThreadPoolExecutor(3) as threads:
            (name,) = set(threads.map(agreed, (0, 2, 1)))
        assert name
        assert name not in before
        before.add(name)
