"""Where the time and the memory of a training go.

The time spent waiting for data is always measured: it says whether the disk or the network is too
slow. What ``--profiler`` names measures all of Lightning's actions beside it.
"""

import time
from pathlib import Path
from typing import Literal, override

import psutil
import torch
from lightning.pytorch.profilers import (
    AdvancedProfiler,
    PassThroughProfiler,
    Profiler,
    PyTorchProfiler,
    SimpleProfiler,
)

type Kind = Literal["none", "simple", "advanced", "pytorch", "memory"]

_NEXT_BATCH = ".train_dataloader_next"
_PYTORCH_STEPS = 20
"""Steps that are traced: a trace of all would fill the disk."""


def profiler(kind: Kind, folder: Path) -> Profiler:
    """Make a profiler.

    Args:
        kind: What to measure: ``simple`` sums the time of each action, ``advanced`` adds the
            functions called, ``pytorch`` traces operators, ``memory`` tells by which actions the
            memory of the process and of the GPU grew.
        folder: Where its report goes.
    """
    match kind:
        case "none":
            return PassThroughProfiler()
        case "simple":
            return SimpleProfiler(folder, "profile-simple")
        case "advanced":
            return AdvancedProfiler(folder, "profile-advanced")
        case "pytorch":
            schedule = torch.profiler.schedule(wait=2, warmup=2, active=_PYTORCH_STEPS, repeat=1)
            return PyTorchProfiler(folder, "profile-pytorch", schedule=schedule)
        case "memory":
            return MemoryProfiler(folder)


class Waiting(Profiler):
    """Measures the time until a batch is there, and passes everything on to another profiler.

    Attributes:
        waited_s: Seconds spent waiting for training batches so far.
    """

    def __init__(self, inner: Profiler) -> None:
        super().__init__()
        self.inner = inner
        self.waited_s = 0.0
        self._since = 0.0

    @override
    def start(self, action_name: str) -> None:
        if action_name.endswith(_NEXT_BATCH):
            self._since = time.perf_counter()
        self.inner.start(action_name)

    @override
    def stop(self, action_name: str) -> None:
        self.inner.stop(action_name)
        if action_name.endswith(_NEXT_BATCH):
            self.waited_s += time.perf_counter() - self._since

    @override
    def summary(self) -> str:
        return self.inner.summary()

    @override
    def describe(self) -> None:
        self.inner.describe()

    @override
    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        self.inner.setup(stage, local_rank, log_dir)

    @override
    def teardown(self, stage: str | None) -> None:
        self.inner.teardown(stage)


class MemoryProfiler(Profiler):
    """Tells after which actions there was more memory in use than before."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "profile-memory")
        self._process = psutil.Process()
        self._before: dict[str, tuple[int, int]] = {}
        self._grown: dict[str, list[int]] = {}

    @override
    def start(self, action_name: str) -> None:
        self._before[action_name] = self._now()

    @override
    def stop(self, action_name: str) -> None:
        before = self._before.pop(action_name, None)
        if before is None:
            return
        resident, device = (now - then for now, then in zip(self._now(), before, strict=True))
        seen = self._grown.setdefault(action_name, [0, 0, 0])
        seen[0] += 1
        seen[1] += resident
        seen[2] += device

    @override
    def summary(self) -> str:
        rows = sorted(self._grown.items(), key=lambda item: -(item[1][1] + item[1][2]))
        lines = [f"{'action':80} {'calls':>8} {'process MiB':>12} {'GPU MiB':>12}"]
        lines += [
            f"{name[:80]:80} {calls:8,} {resident / 2**20:12,.1f} {device / 2**20:12,.1f}"
            for name, (calls, resident, device) in rows
        ]
        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        now = self._process.memory_info().rss / 2**20
        lines.append(f"process now {now:,.0f} MiB, most on the GPU {peak / 2**20:,.0f} MiB")
        return "\n".join(lines) + "\n"

    def _now(self) -> tuple[int, int]:
        device = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
        return self._process.memory_info().rss, device
