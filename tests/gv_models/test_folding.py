"""Batch norms folded into convolutions: the same function, fewer steps."""

import pytest
import torch
from torch import nn

from gv_models import unet
from gv_models.folding import folded


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def lived(network: nn.Module) -> nn.Module:
    """With norms that do something, as after training."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.get_buffer("running_mean"), -0.2, 0.8)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


@pytest.mark.parametrize("encoder", ["tu-tf_efficientnet_lite0", "mobilenet_v2", "resnet18"])
def test_a_folded_network_gives_the_same_without_any_norm(encoder) -> None:
    torch.manual_seed(0)
    network = lived(unet(encoder, bands=4, heads={"interior": 1, "edge": 1}))
    before = {name: values.clone() for name, values in network.state_dict().items()}
    image = torch.rand(2, 4, 96, 64)
    quick = folded(network, torch.zeros(1, 4, 64, 64))
    with torch.inference_mode():
        expected, got = network(image), quick(image)
    for head in expected:
        spread = float(expected[head].abs().max())
        assert torch.allclose(expected[head], got[head], atol=1e-4 * spread)
    assert norms(network) > 40 or encoder == "resnet18"
    assert norms(quick) == 0
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_folding_works_in_inference_mode_too() -> None:
    network = lived(unet(heads={"interior": 1}))
    with torch.inference_mode():
        quick = folded(network, torch.zeros(1, 3, 64, 64))
        image = torch.rand(1, 3, 64, 64)
        assert torch.allclose(network(image)["interior"], quick(image)["interior"], atol=1e-3)
    assert norms(quick) == 0


def test_a_norm_without_a_convolution_before_it_stays() -> None:
    network = lived(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 5, 3), nn.ReLU()))
    quick = folded(network, torch.zeros(1, 3, 8, 8))
    image = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(network(image), quick(image))
    assert norms(quick) == 1


class Twice(nn.Module):
    """A convolution and a norm that look at two halves of the bands."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first, second = image.split(2, dim=1)
        return self.norm(self.convolution(first)) + self.norm(self.convolution(second) * 3)


class Forked(nn.Module):
    """Two norms behind one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(4, 4, 3)
        self.one, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        seen = self.convolution(image)
        return self.one(seen) - self.other(seen)


@pytest.mark.parametrize(
    "network",
    [
        Twice(),
        Forked(),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)),
    ],
    ids=["used twice", "two norms", "changed in place"],
)
def test_what_cannot_be_folded_stays(network) -> None:
    network = lived(network)
    quick = folded(network, torch.zeros(1, 4, 8, 8))
    image = torch.rand(2, 4, 16, 16)
    with torch.inference_mode():
        assert torch.equal(network(image), quick(image))
    assert norms(quick) == norms(network)
