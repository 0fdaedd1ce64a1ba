"""What torch is and computes with, asked in a process of its own: a broken driver ends only that.

``python -m gv_train.doctor.torch_build`` prints it as JSON.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SECONDS = 1.0
"""How long each device multiplies matrices."""
SIDE_GPU, SIDE_CPU = 4096, 1024


@dataclass(frozen=True)
class Device:
    """Something torch computes on.

    Attributes:
        name: For people.
        memory: Bytes; 0 for the CPU.
        free: Bytes of it that are free now.
        gflops: Speed of float32 products of matrices, in 1e9 operations a second; 0 if it failed.
        error: Why it failed.
    """

    name: str
    memory: int = 0
    free: int = 0
    gflops: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Torch:
    """An installed torch.

    Attributes:
        version: Its version with that of the build, such as ``2.10.0+cpu``.
        cuda: CUDA that it was built with; empty if with none.
        hip: ROCm that it was built with; empty if with none.
        gpus: The GPUs that it sees.
        cpu: The CPU.
        error: Why it sees no GPU, if it tried.
    """

    version: str
    cuda: str
    hip: str
    gpus: tuple[Device, ...]
    cpu: Device
    error: str = ""


def from_json(text: str) -> Torch:
    """Read what the other process printed.

    Args:
        text: Its output.
    """
    told = json.loads(text)
    gpus = tuple(Device(**device) for device in told["gpus"])
    return replace(Torch(**told), gpus=gpus, cpu=Device(**told["cpu"]))


def seen() -> Torch:
    """Look at the torch of this process."""
    import warnings

    import torch

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    error = str(caught[0].message).splitlines()[0] if caught and not count else ""
    return Torch(
        torch.__version__,
        torch.version.cuda or "",
        torch.version.hip or "",
        tuple(_gpu(number) for number in range(count)),
        _measured(Device("CPU"), torch.device("cpu"), SIDE_CPU),
        error,
    )


def _gpu(number: int) -> Device:
    import torch

    about = torch.cuda.get_device_properties(number)
    try:
        free, _ = torch.cuda.mem_get_info(number)
    except RuntimeError as error:  # a GPU that another process has for itself
        return Device(about.name, about.total_memory, error=str(error).splitlines()[0])
    device = Device(about.name, about.total_memory, free)
    return _measured(device, torch.device("cuda", number), SIDE_GPU)


def _measured(device: Device, place: "torch.device", side: int) -> Device:
    """Multiply matrices for a second, and look whether the product is right."""
    import torch

    try:
        ones = torch.ones(side, side, device=place)
        product = ones @ ones  # kernels are loaded
        _wait(place)
        started, times = time.perf_counter(), 0
        while (seconds := time.perf_counter() - started) < SECONDS:
            product = ones @ ones
            _wait(place)
            times += 1
        if not bool((product == side).all()):
            return Device(device.name, device.memory, device.free, error="wrong product")
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return Device(device.name, device.memory, device.free, error=reason)
    return Device(device.name, device.memory, device.free, times * 2 * side**3 / seconds / 1e9)


def _wait(place: "torch.device") -> None:
    import torch

    if place.type == "cuda":
        torch.cuda.synchronize(place)


if __name__ == "__main__":
    print(json.dumps(asdict(seen())))
