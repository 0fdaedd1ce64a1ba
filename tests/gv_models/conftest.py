import pytest
import torch

from gv_models.card import Band, Card
from gv_models.networks import unet


@pytest.fixture(autouse=True)
def repeatable_on_one_core():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    return unet(bands=3, heads={"interior": 1, "edge": 2}, decoder_channels=(16, 8, 8, 4, 4))


@pytest.fixture
def card(network):
    return Card(
        constructor="unet",
        arguments=network.arguments,
        bands=(
            Band("red", 665.0, 110.0, 50.0, 3.0, 250.0),
            Band("green", 560.0, 105.0, 45.0, 4.0, 245.0),
            Band("height", None, 4.0, 6.5, -1.0, 22.0),
        ),
        heads={"interior": ("building",), "edge": ("outline", "shared wall")},
        gsd_m=0.15,
        window_px=512,
        overlap_px=64,
        licence="CC-BY-4.0",
        pretrained="ImageNet-1k",
        bbox=(39.1, -6.3, 39.4, -6.0),
        run="buildings/first",
        commit="0123abc",
        metrics={"iou": 0.71, "iou_of_absent_class": float("nan")},
    )
