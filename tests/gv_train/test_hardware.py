"""What a network computes on."""

import os

import pytest
import torch
from torch import nn

from gv_train import hardware
from gv_train.cpu_bfloat16 import precision_plugins
from gv_train.errors import TrainError
from gv_train.hardware import accelerator, device_of, devices, precision, use_cpu
from gv_train.settings import Trainer


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_threads_are_those_asked_for_or_named_or_all_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert use_cpu(2) == torch.get_num_threads() == 2
    assert use_cpu(None) == torch.get_num_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert use_cpu(None) == len(os.sched_getaffinity(0))


def test_a_device_that_is_not_there_is_refused_with_the_way_out():
    assert device_of("cpu") == torch.device("cpu")
    with pytest.raises(TrainError, match="use auto, cpu, cuda"):
        device_of("gpu0")
    if not torch.cuda.is_available():
        assert device_of("auto") == torch.device("cpu")
        with pytest.raises(TrainError, match="--device cpu"):
            device_of("cuda:1")


def test_lightning_is_told_the_device_in_its_own_words(monkeypatch):
    assert (accelerator("cpu"), devices(Trainer(device="cpu"))) == ("cpu", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (accelerator("cuda:1"), devices(Trainer(device="cuda:1"))) == ("gpu", [1])
    assert (accelerator("cuda"), devices(Trainer(device="cuda"))) == ("gpu", [0])


@pytest.mark.parametrize(
    ("gpu", "bf16", "cpu_bf16", "expected"),
    [
        (False, False, False, "32-true"),
        (False, False, True, "bf16-mixed"),
        (True, False, True, "32-true"),
        (True, True, False, "bf16-mixed"),
    ],
)
def test_auto_precision_is_what_the_device_computes_fast(
    monkeypatch, gpu, bf16, cpu_bf16, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    monkeypatch.setattr(hardware, "cpu_computes_bf16", lambda: cpu_bf16)
    assert precision(Trainer()) == expected
    assert precision(Trainer(precision="16-mixed")) == "16-mixed"
    plugins = precision_plugins(Trainer())
    assert len(plugins) == (cpu_bf16 and not gpu)


def test_bf16_on_a_cpu_keeps_depthwise_convolutions_in_float32():
    seen: dict[str, torch.dtype] = {}
    dense, depthwise = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)
    for name, module in (("dense", dense), ("depthwise", depthwise)):
        module.register_forward_hook(
            lambda _, __, output, name=name: seen.update({name: output.dtype})
        )
    image = torch.rand(1, 4, 9, 9)
    (plugin,) = precision_plugins(Trainer(device="cpu", precision="bf16-mixed"))
    with plugin.forward_context():
        found = depthwise(dense(image))
    assert seen == {"dense": torch.bfloat16, "depthwise": torch.float32}
    torch.testing.assert_close(found, depthwise(dense(image)), atol=0.02, rtol=0.02)
    found.sum().backward()
    assert depthwise.weight.grad is not None
    assert depthwise.weight.grad.dtype == torch.float32
