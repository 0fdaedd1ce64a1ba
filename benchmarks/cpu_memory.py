"""What it brings that glibc keeps freed memory: a training step and a forward pass on a CPU.

Each figure is the median of a process of its own, with and without `gv_train.hardware.use_cpu`.

Run: python benchmarks/cpu_memory.py
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from gv_models import unet
from gv_models.losses import bce_dice
from gv_train.hardware import use_cpu


def main() -> None:
    """Print seconds of both, and the ratio."""
    if len(sys.argv) > 1:
        use_cpu(None) if sys.argv[2] == "keep" else None
        print(statistics.median(_seconds(_step() if sys.argv[1] == "step" else _forward())))
        return
    for what in ("step", "forward"):
        given, kept = (
            float(subprocess.check_output([sys.executable, __file__, what, how], text=True))
            for how in ("give", "keep")
        )
        print(f"{what:8} {given:.3f} s, memory kept {kept:.3f} s, ratio {kept / given:.2f}")


def _step() -> Callable[[], object]:
    network = unet(heads={"interior": 1, "edge": 1}).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    image = torch.rand(4, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    truth = torch.rand(4, 256, 256).round()

    def step() -> None:
        logits = network(image)
        loss = bce_dice(logits["interior"], truth, truth >= 0)
        (loss + bce_dice(logits["edge"], truth, truth >= 0)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _forward() -> Callable[[], object]:
    network = unet(heads={"interior": 1, "edge": 1}).to(memory_format=torch.channels_last).eval()
    image = torch.rand(2, 3, 512, 512).contiguous(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.inference_mode():
            network(image)

    return forward


def _seconds(work: Callable[[], object]) -> list[float]:
    found = []
    for _ in range(13):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found[3:]


if __name__ == "__main__":
    main()
