"""What can befall a training, one function each: it is met again and again, and gives a tally."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tests.data.conftest import Server, remote
from tests.torture import disk, trials
from tests.torture.trials import Lab, Life, Recipe, Tally, Trial
from tests.torture.victim import die_at_a_new_change, fetch_from, poison

SHORT = Recipe(steps=15, eval_every=8, checkpoint_every=5)
LONG = Recipe(steps=1_000, eval_every=500, checkpoint_every=25)
GROUP = replace(LONG, processes=2)
PATIENCE = 10  # steps in a row without a finite gradient, after which a training stops


def killed_soon(trial: Trial, *, saved: bool = False) -> Life:
    """The next life of a run, killed at a random moment of its training; `saved`: once it saved."""
    life = trial.start()
    if life.wait_for_training():
        while saved and trial.newest() is None and life.process.is_alive():
            time.sleep(0.01)
        trial.moment()
        life.send(signal.SIGKILL)
    return life


def killed_throughout(trial: Trial, times: int) -> Tally:
    """A run that is killed at random moments, until it was so often."""
    while trial.times < times:
        trial.end(killed_soon(trial))
    return trial.settle()


def killed(lab: Lab, times: int = 50) -> Tally:
    """SIGKILL at random moments of the training."""
    trial = Trial(lab, LONG, "killed")
    tally = killed_throughout(trial, times)
    tally.notes = f"{trial.within} while a file was being written"
    return tally


def killed_at_each_change(lab: Lab, times: int = 1_000) -> Tally:
    """Killed before every change of the run folder, and in the middle of every write."""
    trial = Trial(lab, SHORT, "killed at each change")
    known: list[str] = []
    within = 0
    kind = "interrupted"
    while kind == "interrupted" and trial.times < times:
        seed = trial.rng.getrandbits(32)
        life = trial.start(partial(die_at_a_new_change, trial.run, known, seed))
        kind = trial.end(life)
        known += life.told
        within += kind == "interrupted" and life.told[-1].endswith("some bytes")
    tally = trial.settle()
    tally.notes = f"{within} in the middle of a write"
    return tally


def signalled(lab: Lab, *, name: str, signals: list[signal.Signals], times: int = 4) -> Tally:
    """One signal or several, one soon after the other."""
    trial = Trial(lab, LONG, name)
    while trial.times < times:
        life = trial.start()
        if life.wait_for_training():
            trial.moment()
            for number in signals:
                life.send(number)
                time.sleep(trial.rng.uniform(0, 0.02))
        trial.end(life)
    return trial.settle()


def worker_killed(lab: Lab, times: int = 5) -> Tally:
    """SIGKILL to one of two processes of a group; torchrun starts both again."""
    trial = Trial(lab, GROUP, "worker killed")
    while trial.times < times:
        life = trial.start()
        while trial.times < times and life.wait_for_training():
            trial.moment()
            launcher = life.process.pid
            children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
            if children:
                os.kill(int(trial.rng.choice(children)), signal.SIGKILL)
                trial.count("interrupted")
        trial.end(life, counts=False)
    return trial.settle()


def disk_full(lab: Lab, times: int = 6) -> Tally | None:
    """No space left, at a random moment and with room for a part of a checkpoint."""

    def fill(disk: disk.Disk, rng: random.Random) -> None:
        disk.fill(spare=rng.randrange(60_000))

    return disk_fails(lab, "disk full", times, fill, disk.Disk.empty)


def folder_read_only(lab: Lab, times: int = 4) -> Tally | None:
    """The file system of the run folder becomes read-only at a random moment."""

    def close(disk: disk.Disk, _: random.Random) -> None:
        disk.remount("ro")

    return disk_fails(lab, "read only", times, close, partial(disk.Disk.remount, how="rw"))


def disk_fails(
    lab: Lab,
    name: str,
    times: int,
    fail: Callable[[disk.Disk, random.Random], None],
    mend: Callable[[disk.Disk], None],
) -> Tally | None:
    """A disk fails at a random moment and is mended for the next life."""
    if not disk.is_possible():
        return None
    with disk.mounted(lab.scratch / name.replace(" ", "-")) as small:
        trial = Trial(lab, LONG, name, home=small.path)
        while trial.times < times:
            life = trial.start()
            if life.wait_for_training():
                trial.moment()
                fail(small, trial.rng)
                life.process.join(trials.PATIENCE)
                mend(small)
            trial.end(life)
        return trial.settle()


def checkpoint_torn(lab: Lab, times: int = 4) -> Tally:
    """The newest checkpoint is cut short; deleted as it is told, the one before is gone on from."""
    trial = Trial(lab, LONG, "checkpoint torn")
    while trial.times < times:
        kind = trial.end(killed_soon(trial, saved=True), counts=False)
        newest = trial.newest()
        if kind != "interrupted" or newest is None:
            continue
        whole = newest.read_bytes()
        newest.write_bytes(whole[: trial.rng.randrange(len(whole))])
        refused = trial.start()
        status, told = refused.end(), refused.complaints
        if status == 2 and len(told) == 1 and str(newest) in told[0] and "delete it" in told[0]:
            trial.forget(newest)
            trial.count("stopped")
        else:
            trial.lose(f"took a torn checkpoint: status {status}, {told}")
    return trial.settle()


def log_torn(lab: Lab, times: int = 4) -> Tally:
    """A last line of the log is cut short."""
    trial = Trial(lab, LONG, "log torn")
    line = '{"step": 999, "valid_elbo_nats": -199.1, "valid_images": 32}\n'
    while trial.times < times:
        if (
            trial.end(killed_soon(trial, saved=True), counts=False) == "interrupted"
            and trial.newest()
        ):
            with (trial.run / "metrics.jsonl").open("a") as log:
                log.write(line[: trial.rng.randrange(1, len(line))])
            trial.count("interrupted")
    return trial.settle()


def gradients_now_and_then(lab: Lab, times: int = 5) -> Tally:
    """NaN gradients, up to nine in a row; each is skipped, and the run is killed meanwhile."""
    rng = random.Random(f"{lab.seed} gradients")
    starts = rng.sample(range(0, LONG.steps, 2 * PATIENCE), 5)
    bad = [start + i for start in starts for i in range(rng.randrange(1, PATIENCE))]
    trial = Trial(lab, replace(LONG, fault=partial(poison, *bad)), "gradients now and then")
    tally = killed_throughout(trial, times)
    tally.notes = f"{len(bad)} steps skipped"
    return tally


def gradients_gone(lab: Lab, times: int = 3) -> Tally:
    """NaN gradients ten times in a row, between two checkpoints: the training gives up."""
    trial = Trial(lab, LONG, "gradients gone")
    while trial.times < times:
        newest, every = trial.newest(), LONG.checkpoint_every
        before = (int(newest.stem) if newest else 0) + every * trial.rng.randrange(8)
        first = before + trial.rng.randrange(every - PATIENCE + 1)
        fault = partial(poison, *range(first, first + PATIENCE))
        if trial.end(trial.start(fault)) == "finished":
            break
    return trial.settle()


def download_fails(lab: Lab, times: int = 2) -> Tally:
    """A download breaks off for a moment or for good, is killed, or brings altered bytes."""
    with Server() as server:
        rng = np.random.default_rng(lab.seed)
        contents = {split: amat(rng, count) for split, count in (("train", 2_000), ("valid", 64))}
        files = {}
        for split, content in contents.items():
            name = f"binarized_mnist_{split}.amat"
            files[split] = remote(name, content, server.serve(name, content))
        fault = partial(fetch_from, files)
        trial = Trial(lab, replace(SHORT, data="binarized-mnist", fault=fault), "download")
        for way in (cut_for_a_moment, cut_for_good, killed_meanwhile, altered) * times:
            for cached in (lab.scratch / "cache/draw").glob("binarized_mnist_*"):
                cached.unlink()
            way(trial, server)
            trial.settle()
        return trial.tally


def amat(rng: np.random.Generator, count: int) -> bytes:
    """So many images of noise, as the static binarised MNIST is published."""
    characters = np.full((count, 784, 2), ord(" "), np.uint8)
    characters[:, :, 0] = ord("0") + rng.integers(0, 2, (count, 784))
    characters[:, -1, 1] = ord("\n")
    return characters.tobytes()


def cut_for_a_moment(trial: Trial, server: Server) -> None:
    server.cuts = [trial.rng.randrange(1, 1_000_000) for _ in range(2)]
    trial.count("interrupted")
    trial.end(trial.start())


def cut_for_good(trial: Trial, server: Server) -> None:
    server.cuts = [trial.rng.randrange(1, 500_000) for _ in range(5)]
    trial.end(trial.start())
    server.cuts = []


def killed_meanwhile(trial: Trial, server: Server) -> None:
    part = trial.lab.scratch / "cache/draw/incomplete/binarized_mnist_train.amat"
    life = trial.start()
    while life.process.is_alive() and not part.exists():
        time.sleep(0.001)
    life.send(signal.SIGKILL)
    trial.end(life)


def altered(trial: Trial, server: Server) -> None:
    (path,) = (path for path in server.files if "valid" in path)
    right = server.files[path]
    place = trial.rng.randrange(len(right))
    server.files[path] = right[:place] + b"?" + right[place + 1 :]
    trial.end(trial.start())
    server.files[path] = right


FAULTS: dict[str, Callable[..., Tally | None]] = {
    "killed at a random moment of its training": killed,
    "killed before each change of its files, and in the middle of each write": (
        killed_at_each_change
    ),
    "SIGTERM": partial(signalled, name="SIGTERM", signals=[signal.SIGTERM]),
    "Ctrl-C": partial(signalled, name="Ctrl-C", signals=[signal.SIGINT]),
    "Ctrl-C twice": partial(signalled, name="Ctrl-C twice", signals=2 * [signal.SIGINT]),
    "SIGTERM, and SIGKILL soon after": partial(
        signalled, name="SIGTERM SIGKILL", signals=[signal.SIGTERM, signal.SIGKILL]
    ),
    "one of two workers under `torchrun` killed": worker_killed,
    "full disk": disk_full,
    "run folder made read-only": folder_read_only,
    "newest checkpoint cut short": checkpoint_torn,
    "last line of the log cut short": log_torn,
    "NaN gradients, up to nine in a row, and killed": gradients_now_and_then,
    "NaN gradients, ten in a row": gradients_gone,
    "download cut, killed or altered": download_fails,
}
