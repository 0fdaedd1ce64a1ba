"""What a network computes on: CPU threads, devices, precision."""

import os
from typing import Literal

import torch

from gv_train.distributed import World
from gv_train.errors import TrainError
from gv_train.heap import keep_freed_memory
from gv_train.settings import Trainer as Settings


def use_cpu(threads: int | None) -> int:
    """Bound the CPU threads of the network, and keep the memory they work in.

    Args:
        threads: Wanted number; None: ``OMP_NUM_THREADS`` if set, else all cores.

    Returns:
        The number now used.
    """
    named = os.environ.get("OMP_NUM_THREADS", "")
    count = threads or (int(named) if named.isdigit() else len(os.sched_getaffinity(0)))
    torch.set_num_threads(max(1, count))
    keep_freed_memory()
    return torch.get_num_threads()


def device_of(name: str) -> torch.device:
    """The device a name means; ``auto`` takes a GPU when there is one.

    Raises:
        TrainError: If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise TrainError(f"no device {name!r}: use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainError(f"--device {name}: this torch sees no GPU; use --device cpu")
    return device


def precision(settings: Settings) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """The precision meant by ``auto``: bf16 where the GPU or the CPU computes with it."""
    if settings.precision != "auto":
        return settings.precision
    if device_of(settings.device).type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    on_cpu = device_of(settings.device).type == "cpu"
    return "bf16-mixed" if on_cpu and cpu_computes_bf16() else "32-true"


def cpu_computes_bf16() -> bool:
    """Whether this CPU has instructions for bf16; elsewhere bf16 is slower than float32."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def accelerator(name: str) -> str:
    """Lightning's word for the kind of device a name means."""
    kind = device_of(name).type
    return "gpu" if kind == "cuda" else kind


def devices(settings: Settings) -> list[int] | int:
    """Lightning's word for how many, or which, devices are meant."""
    device = device_of(settings.device)
    if device.type == "cuda" and settings.devices == 1:
        return [device.index or 0]
    return settings.devices


def strategy(settings: Settings, here: World) -> str:
    """Lightning's word for how devices share the work.

    Raises:
        TrainError: If one device alone is to share.
    """
    together = max(here.size, settings.devices * settings.num_nodes)
    if together == 1 and settings.strategy == "fsdp":
        raise TrainError("--trainer.strategy fsdp divides a network: give --trainer.devices too")
    if settings.strategy == "auto":
        return "ddp" if together > 1 else "auto"
    return settings.strategy
