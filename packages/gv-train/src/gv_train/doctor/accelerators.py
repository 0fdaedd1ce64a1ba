"""GPUs as the system has them, and as torch sees them."""

import re
import subprocess
import sys
from dataclasses import dataclass

from gv_data.terminal.wording import volume
from gv_train.doctor import torch_build
from gv_train.doctor.finding import Finding, Place
from gv_train.doctor.torch_build import Device, Torch

INSTALL = (
    "uv pip install --torch-backend=auto --reinstall-package torch --reinstall-package torchvision "
    "torch torchvision"
)
"""uv looks at the driver and takes the newest build that it can run."""
AFTER = ", then uv run --no-sync, which leaves it there"
DRIVER = "https://www.nvidia.com/drivers"
NVIDIA, AMD = "0x10de", "0x1002"
"""Vendors on the PCI bus."""
_DISPLAY = "0x03"
"""Class of PCI devices that draw or compute (PCI code and ID assignment)."""


@dataclass(frozen=True)
class Installed:
    """GPUs and drivers, whatever torch says.

    Attributes:
        cards: Names with memory of those that the driver of NVIDIA knows.
        driver: Its version; empty if there is none.
        cuda: Newest CUDA that it runs; empty if not told.
        on_bus: GPUs of NVIDIA on the PCI bus.
        amd: GPUs of AMD with a driver that computes.
        hidden: What keeps GPUs from this process, such as ``CUDA_VISIBLE_DEVICES=``.
        error: Why ``nvidia-smi`` failed.
    """

    cards: tuple[str, ...] = ()
    driver: str = ""
    cuda: str = ""
    on_bus: int = 0
    amd: int = 0
    hidden: str = ""
    error: str = ""

    @property
    def any_nvidia(self) -> bool:
        """Whether there is a GPU of NVIDIA."""
        return bool(self.cards or self.on_bus)


def gpus(here: Place) -> list[Finding]:
    """GPUs, driver and torch, and whether they fit together."""
    there = installed(here)
    try:
        torch = torch_build.from_json(
            here.program([sys.executable, "-P", "-m", torch_build.__name__], 90)
        )
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or "").strip().splitlines()[-1:] or [str(error)]
        fix = "uv pip install --reinstall-package torch torch"
        return [*drivers(there), Finding("failure", "torch", f"cannot be loaded: {reason[0]}", fix)]
    return [*drivers(there), *judged(there, torch)]


def installed(here: Place) -> Installed:
    """Look for GPUs without torch."""
    version = re.search(
        r"(?:Kernel Module|x86_64|aarch64)\s+(\d+\.[\d.]+)", here.read("proc/driver/nvidia/version")
    )
    driver, cards, cuda, error = version[1] if version else "", [], "", ""
    query = ["nvidia-smi", "--query-gpu=driver_version,name,memory.total", "--format=csv,noheader"]
    try:
        for line in here.program(query, 10).splitlines():
            driver, name, memory = line.split(", ", 2)
            cards.append(f"{name} {memory}")
        if told := re.search(r"CUDA\D*Version:\s*(\d+\.\d+)", here.program(["nvidia-smi"], 10)):
            cuda = told[1]
    except FileNotFoundError:
        pass  # no driver, or a container without its programs: the files above tell
    except subprocess.CalledProcessError as failed:
        error = (failed.stdout or failed.stderr or str(failed)).strip().splitlines()[0]
    except (subprocess.SubprocessError, ValueError) as failed:
        error = str(failed).splitlines()[0]
    on_bus = _on_bus(here, NVIDIA)
    on_bus = on_bus or len(list((here.root / "proc/driver/nvidia/gpus").glob("*/information")))
    amd = _on_bus(here, AMD) if (here.root / "dev/kfd").exists() else 0
    visible = here.env.get("CUDA_VISIBLE_DEVICES")
    hidden = f"CUDA_VISIBLE_DEVICES={visible}" if visible in ("", "-1") else ""
    return Installed(tuple(cards), driver, cuda, on_bus, amd, hidden, error)


def drivers(there: Installed) -> list[Finding]:
    """Judge what the system has.

    Args:
        there: GPUs and driver.
    """
    found = []
    if there.cards:
        text = f"{there.driver}" + (f", runs CUDA up to {there.cuda}" if there.cuda else "")
        found.append(Finding("ok", "driver", f"{text}; {', '.join(there.cards)}"))
    elif there.error:
        fix = f"restart the machine; if that changes nothing, install the driver anew ({DRIVER})"
        found.append(Finding("warning", "driver", f"nvidia-smi fails: {there.error}", fix))
    elif there.on_bus and not there.driver:
        fix = f"install it ({DRIVER}); in a container: docker run --gpus all"
        text = f"{there.on_bus} NVIDIA GPU on the bus, but no driver"
        found.append(Finding("warning", "driver", text, fix))
    elif there.driver:
        found.append(Finding("ok", "driver", f"{there.driver}, {there.on_bus} GPUs"))
    return found


def judged(there: Installed, torch: Torch) -> list[Finding]:
    """Judge torch by what the system has.

    Args:
        there: GPUs and driver.
        torch: As it was seen.
    """
    kind = f"CUDA {torch.cuda}" if torch.cuda else f"ROCm {torch.hip}" if torch.hip else "CPU only"
    text = f"{torch.version}, built for {kind}"
    found = [_torch(there, torch, text)]
    found += [_device(f"GPU {number}", gpu) for number, gpu in enumerate(torch.gpus)]
    found.append(_device("CPU", torch.cpu))
    return found


def _torch(there: Installed, torch: Torch, text: str) -> Finding:
    if torch.gpus:
        return Finding("ok", "torch", text)
    if there.hidden and (there.any_nvidia or there.amd):
        name = there.hidden.partition("=")[0]
        return Finding("warning", "torch", f"{text}; {there.hidden} hides the GPU", f"unset {name}")
    if there.any_nvidia and not torch.cuda:
        text = f"{text}, but there is an NVIDIA GPU: training is many times slower than it could be"
        return Finding("warning", "torch", text, INSTALL + AFTER)
    if there.amd and not torch.hip:
        fix = INSTALL + AFTER
        return Finding("warning", "torch", f"{text}, but there is an AMD GPU", fix)
    if there.cuda and _newer(torch.cuda, there.cuda):
        text = f"{text}, but driver {there.driver} runs CUDA up to {there.cuda}: no GPU is used"
        return Finding("warning", "torch", text, f"{INSTALL}{AFTER}; or a newer driver ({DRIVER})")
    if there.cards or there.amd:
        text = f"{text}, but it sees no GPU: {torch.error or 'it does not say why'}"
        return Finding("warning", "torch", text, f"{INSTALL}{AFTER}; or a newer driver ({DRIVER})")
    if there.any_nvidia:
        fix = "see the line of the driver"
        return Finding("note", "torch", f"{text}; the GPU cannot be used", fix)
    return Finding("ok", "torch", f"{text}; there is no GPU")


def _device(subject: str, device: Device) -> Finding:
    parts = [device.name] if device.name != subject else []
    if device.memory:
        parts.append(f"{volume(device.memory)}, {volume(device.free)} free")
    if device.error:
        text = ", ".join([*parts, f"multiplies no matrices: {device.error}"])
        fix = (
            f"{INSTALL}{AFTER}" if "kernel image" in device.error else "nvidia-smi shows its state"
        )
        return Finding("failure", subject, text, fix if device.memory else "")
    speed = device.gflops
    parts.append(f"{speed / 1000:.1f} TFLOP/s" if speed >= 1000 else f"{speed:.0f} GFLOP/s")
    return Finding("ok", subject, ", ".join(parts) + " in products of float32 matrices")


def _newer(version: str, limit: str) -> bool:
    """Whether CUDA is of a newer major version than the driver runs; within one, all run.

    Source: CUDA minor version compatibility, https://docs.nvidia.com/deploy/cuda-compatibility/.
    """
    return bool(version) and int(version.partition(".")[0]) > int(limit.partition(".")[0])


def _on_bus(here: Place, vendor: str) -> int:
    """GPUs of a vendor on the PCI bus."""
    devices = here.root / "sys/bus/pci/devices"
    count = 0
    for device in sorted(devices.glob("*")):
        name = str(device.relative_to(here.root))
        is_gpu = here.read(f"{name}/class").startswith(_DISPLAY)
        count += is_gpu and here.read(f"{name}/vendor").strip() == vendor
    return count
