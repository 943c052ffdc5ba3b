"""Several processes that train or evaluate one network together, as started by torchrun.

Results do not depend on the number of processes, except for rounding: each process takes a shard of
the rows of a minibatch and of its noise, and the gradients of all rows are summed.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

# Import before creating a process group; a later import would bind the group as a default argument
# and keep it alive.
import torch.distributed.nn
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from draw.errors import ConfigError, RunError, one_line

T = TypeVar("T")
START_TIMEOUT = timedelta(minutes=30)  # the default of torch.distributed


@dataclass(frozen=True)
class World:
    """The processes that work together, seen from one of them.

    >>> World(rank=1, size=3).shard(10), SINGLE.shard(10)
    (slice(3, 6, None), slice(0, 10, None))
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints messages."""
        return self.rank == 0

    def shard(self, rows: int) -> slice:
        """Return this process's part of `rows` rows."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, identical in all of them.

        Raises:
            RunError: if another process has ended; NCCL may end this process instead.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _connected():
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    @contextlib.contextmanager
    def local_main_first(self) -> Iterator[None]:
        """Run the block in one process per machine first, so that the others find its files.

        Raises:
            RunError: if the first process of a machine failed.
        """
        is_first = os.environ.get("LOCAL_RANK", "0") == "0"
        if self.size == 1:
            yield
        elif is_first:
            try:
                yield
            except BaseException:
                with contextlib.suppress(RunError):
                    self.gather([False])
                raise
            self.gather([True])
        else:
            if not all(done for done in self.gather([None]) if done is not None):
                raise RunError("the first process of this machine failed; see its error message")
            yield

    def any(self, flag: bool, device: torch.device | str = "cpu") -> bool:
        """Return whether the flag is set in any process.

        Raises:
            RunError: if another process has ended.
        """
        if self.size == 1:
            return flag
        count = torch.tensor([float(flag)], device=device)
        self.all_reduce([count])
        return bool(count > 0)

    def gather(self, parts: Sequence[T]) -> list[T]:
        """Interleave the parts of all processes: the first of each, then the second of each, ...

        Raises:
            RunError: if another process has ended.
        """
        if self.size == 1:
            return list(parts)
        gathered: list[Sequence[T]] = [()] * self.size
        with _connected():
            dist.all_gather_object(gathered, parts)
        return [own[i] for i in range(len(gathered[0])) for own in gathered if i < len(own)]


SINGLE = World()


def is_main() -> bool:
    """Return whether this process prints messages: a single process, or rank 0 of several."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def process_group(device: torch.device | str) -> Iterator[World]:
    """Join the processes that a launcher started, as its environment variables describe them.

    Args:
        device: the device of this process, which decides the backend: NCCL or gloo.

    Raises:
        ConfigError: if an environment variable is missing or not a number.
        RunError: if a process does not start in time or has ended.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield SINGLE
        return
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    with _connected():
        try:
            store, rank, size = next(rendezvous("env://", timeout=START_TIMEOUT))
        except ValueError as error:  # a variable is missing or not a number
            raise ConfigError(
                f"WORLD_SIZE means that this is one of several processes, but {error}; start them "
                f"with torchrun, or unset WORLD_SIZE"
            ) from error
        store = PrefixStore(_agree_on_name(store, rank, size), store)
        backend = "nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield World(rank, size)
        with _connected():
            dist.barrier()  # no process leaves while another still communicates
    finally:
        dist.destroy_process_group()


def _agree_on_name(store: Store, rank: int, size: int) -> str:
    """Agree on a store prefix that no earlier start of these processes has used.

    Note:
        torchrun keeps its store when it restarts the processes, including the addresses of the
        dead ones, which torch would contact (https://github.com/pytorch/pytorch/issues/135712).
    """
    mine = uuid.uuid4().hex
    deadline = time.monotonic() + START_TIMEOUT.total_seconds()
    if rank > 0:
        store.set(f"draw/here/{rank}", mine)
        name: str = store.get(f"draw/local-main/{mine}").decode()  # waits for rank 0
        store.set(f"draw/{name}/{rank}", "heard")
        return name
    confirmations = [f"draw/{mine}/{other}" for other in range(1, size)]
    while not store.check(confirmations):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all {size} processes started within {START_TIMEOUT}")
        for other in range(1, size):
            if store.check([f"draw/here/{other}"]):  # a live process, or a dead one's entry
                who = store.get(f"draw/here/{other}").decode()
                store.set(f"draw/local-main/{who}", mine)
        time.sleep(0.01)
    return mine


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """Turn errors of torch.distributed into a RunError."""
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"communication between the processes failed ({one_line(error)}); another process may "
            f"have ended. Restart all of them; resume training with --resume"
        ) from error
