"""What bf16 brings on a CPU: a training step in float32, in plain bf16 autocast and in ours.

Ours (`gv_train.cpu_bfloat16`) keeps depthwise convolutions in float32. All three run
in turns in one process; the median step of each is told as a ratio to float32.

Run: python benchmarks/cpu_precision.py [--rounds 20]
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from gv_models import unet
from gv_models.losses import bce_dice
from gv_train.cpu_bfloat16 import precision_plugins
from gv_train.hardware import cpu_computes_bf16, use_cpu
from gv_train.settings import Trainer


def main() -> None:
    """Print seconds a step and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    use_cpu(None)
    (plugin,) = precision_plugins(Trainer(device="cpu", precision="bf16-mixed"))
    ways: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "float32": contextlib.nullcontext,
        "bf16 autocast": lambda: torch.autocast("cpu", torch.bfloat16),
        "bf16, depthwise float32": plugin.forward_context,
    }
    step = _step()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(step(way))
    base = statistics.median(seconds["float32"])
    print(f"bf16 instructions: {cpu_computes_bf16()}, {torch.get_num_threads()} threads")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"{name:24s} {median:.3f} s a step, ratio {median / base:.2f}")


def _step() -> Callable[[Callable[[], AbstractContextManager[object]]], float]:
    network = unet(heads={"interior": 1, "edge": 1}).to(memory_format=torch.channels_last).train()
    image = torch.rand(4, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    target = (torch.rand(4, 256, 256) > 0.7).float()
    valid = torch.ones(4, 256, 256, dtype=torch.bool)

    def step(way: Callable[[], AbstractContextManager[object]]) -> float:
        started = time.perf_counter()
        with way():
            logits = network(image)
            loss = torch.stack([bce_dice(v, target, valid) for v in logits.values()]).sum()
        loss.backward()
        network.zero_grad()
        return time.perf_counter() - started

    return step


if __name__ == "__main__":
    main()
