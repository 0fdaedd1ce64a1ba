"""Several processes that train one run: who they are, and how all of them find its folder.

Lightning starts further processes of one machine itself, by the same command line; ``torchrun`` and
SLURM start them all. The first makes the run's folder and tells the others; it alone writes there.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist

RUN_VARIABLE = "GEOVISION_RUN_FOLDER"
"""Tells processes that Lightning starts which run they belong to."""


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        on_this_machine: How many of them this machine has.
    """

    rank: int
    size: int
    on_this_machine: int

    @property
    def machines(self) -> int:
        """How many machines there are."""
        return max(1, self.size // max(1, self.on_this_machine))

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0


def world() -> World:
    """What ``torchrun``, SLURM or Lightning say of this process; one process alone if nothing."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return World(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env["LOCAL_WORLD_SIZE"]))
    if "SLURM_NTASKS" in env and "SLURM_PROCID" in env and int(env["SLURM_NTASKS"]) > 1:
        size, machines = int(env["SLURM_NTASKS"]), int(env.get("SLURM_NNODES", "1"))
        return World(int(env["SLURM_PROCID"]), size, size // machines)
    if RUN_VARIABLE in env and "LOCAL_RANK" in env:  # started by Lightning in the first process
        local, node = int(env["LOCAL_RANK"]), int(env.get("NODE_RANK", "0"))
        size = int(env.get("WORLD_SIZE", "1"))
        return World(local + node, size, size)
    return World(0, 1, 1)


def started_outside() -> bool:
    """Whether all processes were started by ``torchrun`` or SLURM, not by this one."""
    return world().size > 1 and RUN_VARIABLE not in os.environ


def told_by_first(folder: Path | None) -> Path:
    """Agree on the run's folder between processes that were started from outside.

    Args:
        folder: The folder, given by the first process; None in the others.

    Returns:
        The folder, in all of them.
    """
    if not dist.is_initialized():
        if "SLURM_NTASKS" in os.environ and "MASTER_ADDR" not in os.environ:
            from lightning.fabric.plugins.environments import SLURMEnvironment

            slurm, here = SLURMEnvironment(), world()
            os.environ["MASTER_ADDR"] = slurm.main_address
            os.environ["MASTER_PORT"] = str(slurm.main_port)
            os.environ.setdefault("RANK", str(here.rank))
            os.environ.setdefault("WORLD_SIZE", str(here.size))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    told: list[object] = [None if folder is None else str(folder)]
    dist.broadcast_object_list(told, src=0)
    return Path(str(told[0]))
