"""Does a training that is disturbed lose anything?

    make torture                                    everything; some minutes on two cores
    python -m tests.torture --only NaN --seed 1     the faults that have this in their name

Writes the table into docs/faults.md if everything was tried. Exit status 1 if something was lost.
The chance that chooses moments and places has a seed; a machine's own timing has none.
"""

import argparse
import multiprocessing
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path

from tests.torture.disk import own_mounts
from tests.torture.faults import FAULTS
from tests.torture.trials import ROOT, Lab, Tally

PAGE = ROOT / "docs/faults.md"
HEAD = """\
| fault | met | gone on from | stopped with one line, then gone on from | lost |
|---|---|---|---|---|
"""


def main(arguments: list[str]) -> int:
    """Try the faults, as many at a time as there are cores; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="the faults that have this in their name")
    parser.add_argument("--times", type=int, help="how often each is met, instead of its own")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    chosen = {name: fault for name, fault in FAULTS.items() if options.only in name}
    if not chosen:
        parser.error(f"no fault has {options.only!r} in its name; there are {', '.join(FAULTS)}")
    begun = time.monotonic()
    limit = {} if options.times is None else {"times": options.times}
    scratch = Path(tempfile.mkdtemp(prefix="torture-"))
    lab = Lab(scratch, options.seed)
    print(HEAD, end="", flush=True)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=context) as pool:
        waited = {name: pool.submit(fault, lab, **limit) for name, fault in chosen.items()}
        for name, fault in waited.items():
            print(row(name, fault.result()), end="", flush=True)
    tallies = {name: fault.result() for name, fault in waited.items()}
    lost = [what for tally in tallies.values() if tally for what in tally.lost]
    if lost:
        print(*lost, sep="\n", file=sys.stderr)
        return 1
    shutil.rmtree(scratch)
    if chosen == FAULTS and not limit:
        write_page(PAGE, table(tallies), options.seed, seconds=time.monotonic() - begun)
    return 0


def row(name: str, tally: Tally | None) -> str:
    """A line of the table."""
    if tally is None:
        return f"| {name} | not possible here: no disk can be mounted | | | |\n"
    notes = f" ({tally.notes})" if tally.notes else ""
    counts = (tally.times, tally.resumed, tally.stopped, len(tally.lost))
    return f"| {name}{notes} | {' | '.join(map(str, counts))} |\n"


def table(tallies: dict[str, Tally | None]) -> str:
    """All lines, and their sums."""
    tried = [tally for tally in tallies.values() if tally is not None]
    total = Tally(
        sum(tally.resumed for tally in tried),
        sum(tally.stopped for tally in tried),
        [what for tally in tried for what in tally.lost],
    )
    return HEAD + "".join(row(*item) for item in tallies.items()) + row("**all**", total)


def write_page(page: Path, text: str, seed: int, *, seconds: float) -> None:
    """Put the table between its marks on the page, with the machine and the date."""
    machine = f"{os.cpu_count()} cores, {processor()}, Python {platform.python_version()}"
    written = f"{text}\n{seconds / 60:.1f} minutes; seed {seed}; {machine}; {date.today()}.\n"
    marks = r"(<!-- written by make torture -->\n).*?(<!-- end -->)"
    replaced = re.sub(marks, lambda m: m[1] + written + m[2], page.read_text(), flags=re.DOTALL)
    page.write_text(replaced)


def processor() -> str:
    """What the processor calls itself."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.processor()


if __name__ == "__main__":
    own_mounts("tests.torture", sys.argv[1:])
    sys.exit(main(sys.argv[1:]))
