"""A training that is disturbed again and again, and must end as if it had not been.

The training is the command line in a process of its own, forked from one that has imported what
it needs: so it lives for its training, and not for two seconds of imports. One that nobody
disturbs, `python -m draw`, tells what is right: of a run that ended every file, of one that was
interrupted the log up to its newest checkpoint, which must be whole and no older than before.
"""

import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import torch
from filelock import FileLock

from draw import cli
from tests.torture.folders import differences, is_whole, newest, records, step
from tests.torture.victim import MARK

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 600  # seconds, after which a process hangs
TINY = (
    "--batch-size 4 --eval-images 32 --device cpu "
    "--model.glimpses 2 --model.hidden-size 8 --model.latent-size 3"
).split()
INTERRUPTED = (-9, -15, -25, 130, 143)  # SIGKILL, SIGTERM, SIGXFSZ; Ctrl-C and SIGTERM that saved
RESTARTS = 100  # of a group


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training that gives the same bits whenever it is repeated."""

    steps: int
    checkpoint_every: int
    eval_every: int
    data: str = "digits5k"
    processes: int = 1
    fault: Callable[[], None] | None = None  # of the undisturbed training too

    def arguments(self, folder: Path) -> list[str]:
        """Of a command line that begins this training, or goes on with it."""
        own = ("steps", "checkpoint_every", "eval_every", "data")
        options = [str(w) for n in own for w in (f"--{n.replace('_', '-')}", getattr(self, n))]
        return ["train", "quick", *options, *TINY, "--resume", "--out", str(folder)]


@dataclass
class Tally:
    """How often a fault was met, and how it ended."""

    resumed: int = 0  # gone on from, to the right bits
    stopped: int = 0  # refused with one line and status 2; then gone on from, to the right bits
    lost: list[str] = field(default_factory=list)  # what went wrong
    notes: str = ""

    @property
    def times(self) -> int:
        return self.resumed + self.stopped + len(self.lost)


class Life:
    """One process of a training, or the launcher of a group of them; what it prints is short."""

    def __init__(self, live: Callable[[], None]) -> None:
        (out, writes_out), (err, writes_err) = os.pipe(), os.pipe()

        def target() -> None:
            os.dup2(writes_out, 1)
            os.dup2(writes_err, 2)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
            live()

        self.process = multiprocessing.get_context("fork").Process(target=target)
        self.process.start()
        os.close(writes_out)
        os.close(writes_err)
        self._out, self._err = os.fdopen(out), os.fdopen(err)
        self.told: list[str] = []  # what its fault told
        self.complaints: list[str] = []

    def wait_for_training(self) -> bool:
        """Until it has its data and begins; False if it ended before."""
        return any(line.startswith("training on") for line in self._out)

    def send(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.process.is_alive():
            os.kill(self.process.pid or 0, number)

    def end(self) -> int | None:
        """Wait for its end: the exit status; None if it never comes."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.terminate()  # a group's launcher ends its processes
            self.process.join()
            return None
        with self._out, self._err:
            lines = self._err.read().splitlines()
        self.told = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
        self.complaints = [line for line in lines if not line.startswith(MARK)]
        return self.process.exitcode


class Lab:
    """Where trials take place: a folder for all they write, the chance, what is undisturbed."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.seed = scratch, seed
        cache = str(scratch / "cache")
        os.environ |= {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": cache, "NO_PROXY": "127.0.0.1"}
        os.environ.pop("DRAW_DATA", None)
        os.chdir(ROOT)
        torch.set_num_threads(1)  # here, as the variable comes too late
        for name in ("draw.commands.train", "draw.figures.paper"):
            import_module(name)

    def undisturbed(self, recipe: Recipe) -> tuple[Path, float]:
        """The finished run, and the seconds from the begin of its training to its end."""
        name = hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]
        folder = self.scratch / f"undisturbed-{name}"
        clock = folder.with_suffix(".seconds")
        with FileLock(folder.with_suffix(".lock")):  # whoever else needs it waits for it
            if not clock.exists():
                life = self.start(recipe, folder, as_typed=not recipe.fault)
                life.wait_for_training()
                begun = time.monotonic()
                if life.end() != 0:
                    raise RuntimeError(f"not even undisturbed it trains: {life.complaints}")
                clock.write_text(str(time.monotonic() - begun))
        return folder, float(clock.read_text())

    def start(
        self,
        recipe: Recipe,
        folder: Path,
        fault: Callable[[], None] | None = None,
        *,
        as_typed: bool = False,
    ) -> Life:
        """Begin a training, or go on with it.

        Args:
            as_typed: by `python -m draw`, not by a fork of this process.
        """
        fault = fault or recipe.fault
        command = ["-m", "draw", *recipe.arguments(folder)]
        if recipe.processes > 1:
            group = [f"--nproc-per-node={recipe.processes}", f"--max-restarts={RESTARTS}"]
            command = ["-m", "torch.distributed.run", "--standalone", *group, *command]

        def live() -> None:
            if as_typed or recipe.processes > 1:
                os.execv(sys.executable, [sys.executable, *command])
            if fault:
                fault()
            sys.exit(cli.main(command[2:]))

        return Life(live)


class Trial:
    """One fault, met again and again by one run after another."""

    def __init__(self, lab: Lab, recipe: Recipe, name: str, home: Path | None = None) -> None:
        self.lab, self.recipe = lab, recipe
        self.rng = random.Random(f"{lab.seed} {name}")
        self.right, seconds = lab.undisturbed(recipe)
        self.window = seconds / 10  # in which a moment falls
        self.tally = Tally()
        self.within = 0  # faults that fell into the writing of a file
        self._partial: set[tuple[Path, int]] = set()  # files of which lives before left a part
        self._open: list[str] = []  # the faults that this run has met
        self._home = (home or lab.scratch) / name.replace(" ", "-")
        self._runs = 0
        self._next_run()

    def start(self, fault: Callable[[], None] | None = None) -> Life:
        """The next life of the run, with a fault inside if there is one."""
        return self.lab.start(self.recipe, self.run, fault)

    def moment(self) -> None:
        """Wait for a random one."""
        time.sleep(self.rng.uniform(0, self.window))

    def end(self, life: Life, *, counts: bool = True) -> str:
        """What became of a life: `finished`, `interrupted`, `stopped` or `lost`.

        Args:
            counts: whether it met the fault; a life that finished met none.
        """
        status = life.end()
        one_line = len(life.complaints) == 1 and life.complaints[0].startswith("draw: ")
        if status == 0:
            return self._finished()
        if not (one_line if status == 2 else status in INTERRUPTED and not life.complaints):
            return self.lose(f"ended with status {status} and {life.complaints}", counts)
        partial = {(path, path.stat().st_mtime_ns) for path in self.run.rglob(".*.partial")}
        self.within += counts and not partial <= self._partial
        self._partial = partial
        if wrong := self._remains():
            return self.lose(wrong, counts)
        kind = "stopped" if status == 2 else "interrupted"
        if counts:
            self.count(kind)
        return kind

    def count(self, kind: str) -> None:
        """A fault was met; what it was worth, the end of the run will tell."""
        self._open.append(kind)

    @property
    def times(self) -> int:
        return self.tally.times + len(self._open)

    def settle(self) -> Tally:
        """Let the run go on to its end; what became of all."""
        if self._open:
            self.end(self.start())
        if self._open:
            self.lose("did not go on to its end", counts=False)
        return self.tally

    def newest(self) -> Path | None:
        """The newest checkpoint."""
        return newest(self.run)

    def forget(self, checkpoint: Path) -> None:
        """Delete a checkpoint, as the user was told."""
        checkpoint.unlink()
        self._before = step(self.newest())

    def lose(self, what: str, counts: bool = True) -> str:
        """All that is open is lost with a run; its folder stays, to be looked at."""
        count = max(1, len(self._open) + counts)
        self.tally.lost += [f"{self.run}: {what}"] * count
        self._next_run()
        return "lost"

    def _remains(self) -> str:
        """What is wrong with an interrupted run; empty if nothing is."""
        checkpoint, before = self.newest(), self._before
        self._before = step(checkpoint)
        if self._before < before:
            return f"the newest checkpoint is {checkpoint}, and was of step {before}"
        if checkpoint is not None and not is_whole(checkpoint):
            return f"{checkpoint} is not whole"
        logged, right = (
            [record for record in records(run) if record["step"] <= self._before]
            for run in (self.run, self.right)
        )
        return "" if logged == right else f"the log differs before step {self._before}"

    def _finished(self) -> str:
        differing = differences(self.run, self.right)
        if differing:
            return self.lose(f"ended, but not the same: {', '.join(differing)}", counts=False)
        self.tally.resumed += self._open.count("interrupted")
        self.tally.stopped += self._open.count("stopped")
        shutil.rmtree(self.run)
        self._next_run()
        return "finished"

    def _next_run(self) -> None:
        self.run = self._home.with_name(f"{self._home.name}-{self._runs}")
        self._runs += 1
        self._before = 0  # step of the newest checkpoint
        self._partial = set()
        self._open = []
