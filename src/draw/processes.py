"""Processes that train or measure one network together, as torchrun or accelerate start them.

What they do does not depend on how many they are, but for rounding: each takes its own rows of a
minibatch and of its noise, and the gradients of all rows are added up.
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
import torch.distributed.nn  # before any group, which its functions' defaults would keep alive
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from draw.errors import ConfigError, RunError
from draw.files import one_line

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # for processes that start; torch's own


@dataclass(frozen=True)
class Group:
    """The processes of one piece of work, as one of them sees them.

    >>> Group(rank=1, size=3).share(10), ALONE.share(10)
    (slice(3, 6, None), slice(0, 10, None))
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files and tells what happens."""
        return self.rank == 0

    def share(self, rows: int) -> slice:
        """Those of so many rows that are this process's own."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each by its sum over all processes; every process gets the same bits.

        Raises:
            RunError: another process is gone; over NCCL that may end this process instead.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _all_present():
            dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    @contextlib.contextmanager
    def one_first(self) -> Iterator[None]:
        """One process of each machine does it before the others: what it fetches, they find.

        Raises:
            RunError: it did not get that far.
        """
        is_first = os.environ.get("LOCAL_RANK", "0") == "0"
        if self.size > 1 and not is_first:
            self.gather([None])
        yield
        if self.size > 1 and is_first:
            self.gather([None])

    def any(self, wish: bool) -> bool:
        """Whether one of the processes wishes it.

        Raises:
            RunError: another process is gone.
        """
        return any(self.gather([wish]))

    def gather(self, parts: Sequence[T]) -> list[T]:
        """The parts of all processes in turn: the first of each, then the second of each, ...

        Raises:
            RunError: another process is gone.
        """
        if self.size == 1:
            return list(parts)
        of_all: list[Sequence[T]] = [()] * self.size
        with _all_present():
            dist.all_gather_object(of_all, parts)
        return [of_one[i] for i in range(len(of_all[0])) for of_one in of_all if i < len(of_one)]


ALONE = Group()


def is_main() -> bool:
    """Whether this process was started to tell what happens, alone or as the first of a group."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def joined(device: torch.device | str) -> Iterator[Group]:
    """The group that this process was started in, by the variables that launchers set.

    Args:
        device: this process's own; it decides the backend, NCCL or gloo.

    Raises:
        ConfigError: a variable is missing or no number.
        RunError: not all processes of the group came, or one of them is gone.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield ALONE
        return
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    with _all_present():
        try:
            store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
        except ValueError as error:  # a variable is missing or no number
            raise ConfigError(
                f"WORLD_SIZE says that this is one of several processes, but {error}; start them "
                f"with torchrun, or unset WORLD_SIZE"
            ) from error
        store = PrefixStore(_agreed_name(store, rank, size), store)
        backend = "nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield Group(rank, size)
        with _all_present():
            dist.barrier()  # nobody leaves while another is still being heard
    finally:
        dist.destroy_process_group()


def _agreed_name(store: Store, rank: int, size: int) -> str:
    """A name that the processes now alive agree on, and that no process before them has used.

    Note:
        torchrun keeps its store when it starts a group again, and in it the addresses of the
        dead. torch would call some of them (https://github.com/pytorch/pytorch/issues/135712).
    """
    mine = uuid.uuid4().hex
    deadline = time.monotonic() + PATIENCE.total_seconds()
    if rank > 0:
        store.set(f"draw/here/{rank}", mine)
        name: str = store.get(f"draw/answer/{mine}").decode()  # waits; nobody else is answered here
        store.set(f"draw/{name}/{rank}", "heard")
        return name
    heard = [f"draw/{mine}/{other}" for other in range(1, size)]
    while not store.check(heard):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all of the {size} came within {PATIENCE}")
        for other in range(1, size):
            if store.check([f"draw/here/{other}"]):  # it, or its ghost, which will not hear
                who = store.get(f"draw/here/{other}").decode()
                store.set(f"draw/answer/{who}", mine)
        time.sleep(0.01)
    return mine


@contextlib.contextmanager
def _all_present() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RunError(
            f"another process of the group is gone ({one_line(error)}); start all of them again "
            f"with --resume (torchrun does so by itself with --max-restarts)"
        ) from error
