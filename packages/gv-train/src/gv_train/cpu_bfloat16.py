"""Training in bf16 on a CPU, with depthwise convolutions in float32.

Plain autocast makes a step slower, not faster: with torch 2.15 the gradients of depthwise
convolutions take many times as long in bf16. benchmarks/cpu_precision.py shows a whole step of
float32, plain autocast and this one beside each other.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, override

import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gv_train.hardware import device_of, precision
from gv_train.settings import Trainer as Settings


def precision_plugins(settings: Settings) -> list[Precision]:
    """What Lightning needs beside the name of a precision."""
    on_cpu = device_of(settings.device).type == "cpu"
    return [_CpuBfloat16()] if on_cpu and precision(settings) == "bf16-mixed" else []


_GROUPS = 6
"""Position of ``groups`` among the arguments of a convolution."""


class _CpuBfloat16(MixedPrecision):
    """bf16-mixed on a CPU, but for depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__("bf16-mixed", "cpu")

    @override
    @contextmanager
    def forward_context(self) -> Iterator[None]:
        with super().forward_context(), _DepthwiseInFloat32():
            yield


class _DepthwiseInFloat32(TorchFunctionMode):
    """Keeps convolutions of many groups out of autocast."""

    @override
    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in (torch.conv2d, F.conv2d):
            groups = args[_GROUPS] if len(args) > _GROUPS else named.get("groups", 1)
            if groups > 1:
                with torch.autocast("cpu", enabled=False):
                    return func(args[0].float(), *args[1:], **named)
        return func(*args, **named)
