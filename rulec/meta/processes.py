"""The processes that torchrun started: which one this is, and what they tell one another.

torch.distributed does it all: gloo for processors, NCCL for GPUs. Without the environment of torchrun there is one process, and no
group is made. Every exchange is a sum over all processes, which leaves the same bits in each of them.
"""

from __future__ import annotations

import atexit
import os
import time
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from rulec.source import RuleError

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.distributed import Store

_SUMMABLE = 2**40  # whole numbers below it add up in 64 bits, in as many processes as there may be


@dataclass(frozen=True)
class Team:
    """The processes that share the work of each meta-step; this one is number `rank` of `size`."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None
    again: bool = False  # whether torchrun started them again, after one was lost

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def share(self, count: int) -> tuple[int, int]:
        """Return where the share of this process begins and ends among `count` things; shares differ by one at most."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes. Raises `RuleError` (`process-lost`) if one of them is gone."""
        if self.size == 1:
            return values
        import torch.distributed as dist

        from rulec.meta import messages

        total = values.clone()
        try:
            dist.all_reduce(total)
        except RuntimeError as error:  # gloo and NCCL raise this and heirs of it
            raise RuleError([messages.process_lost(self.size, str(error))]) from error
        return total

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self._sum(int(flag)) > 0 if self.size > 1 else flag

    def check_same(self, number: int) -> None:
        """Wait for all processes, and check that they come with the same number. Raises `RuleError` (`processes-differ`)."""
        from rulec.meta import messages

        own = number % _SUMMABLE
        if self.size > 1 and self._sum(own) != self.size * own:
            raise RuleError([messages.processes_differ(self.size)])

    def _sum(self, number: int) -> int:
        import torch

        return int(self.total(torch.tensor([number], dtype=torch.int64, device=self.device)))


ALONE = Team()


def count() -> int:
    """Return the number of processes that torchrun started, or one."""
    return int(os.environ["WORLD_SIZE"]) if _launched() else 1


def rank() -> int:
    """Return the number of this process among them."""
    return int(os.environ["RANK"]) if _launched() else 0


def _launched() -> bool:
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def team_for(device: torch.device) -> Team:
    """Join the processes that torchrun started, in a group that lasts as long as they do. Raises `RuleError` (`no-gpu-left`)."""
    if count() == 1:
        return replace(ALONE, again=_restarts() > 0)
    import torch.distributed as dist

    if device.type == "cuda" and device.index is None:
        _choose_gpu()
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        own = dist.PrefixStore(f"meeting {_meeting()}", _store())
        dist.init_process_group(backend, store=own, rank=rank(), world_size=count())
        atexit.register(_leave)
    team = Team(dist.get_rank(), dist.get_world_size(), device)
    return replace(team, again=team.any(_restarts() > 0 or (_meeting.cache_info().currsize > 0 and _meeting() > 1)))


def _restarts() -> int:
    """Return how often torchrun started processes again on this machine; other machines may have counted otherwise."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if _launched() else 0


@cache
def _store() -> Store:
    """Return what torchrun keeps for its processes: keys and values, which outlive them."""
    import torch.distributed as dist

    return next(dist.rendezvous("env://"))[0]  # type: ignore[no-any-return]


@cache
def _meeting() -> int:
    """Return a number that the processes that are alive share with none that are lost, counted from one.

    Where a process was lost, its addresses are still in the store, and a group of the same name would call them. The first process
    opens a meeting; the others come to the last one that is open, unless one of their number has been there, and wait for all.
    """
    store, own, seen, new = _store(), rank(), 0, False
    if own == 0:
        number: int = store.add("meetings", 1)
        store.wait([f"meeting {number} has {other}" for other in range(1, count())])
        store.set(f"meeting {number} is complete", "")
        return number
    while True:
        number = store.add("meetings", 0)
        if number > seen:
            seen, new = number, store.add(f"meeting {number} has {own}", 1) == 1
        if new and store.check([f"meeting {number} is complete"]):
            return number
        time.sleep(0.05)


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _choose_gpu() -> None:
    """Let the processes of one machine use one GPU each."""
    import torch

    from rulec.meta import messages

    place = int(os.environ.get("LOCAL_RANK", "0"))
    if place >= torch.cuda.device_count():
        raise RuleError([messages.no_gpu_left(place, torch.cuda.device_count())])
    torch.cuda.set_device(place)


def first_to_fail() -> bool:
    """Whether no other process of this run has failed before: that one tells what went wrong, once for all."""
    if count() == 1:
        return True
    met = f"meeting {_meeting()}" if _meeting.cache_info().currsize else f"restart {_restarts()}"
    try:
        return bool(_store().add(f"failed in {met}", 1) == 1)
    except (RuntimeError, ValueError, OSError):  # whoever keeps the store is gone
        return rank() == 0
