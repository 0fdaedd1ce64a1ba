from typing import get_args

import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from gv_models.errors import ModelError
from gv_models.networks import Encoder, unet

THIN = (16, 8, 8, 4, 4)


@pytest.fixture(scope="module")
def thin():
    return unet(bands=3, heads={"interior": 1, "edge": 2}, decoder_channels=THIN).eval()


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70))
def test_logits_have_the_size_of_the_image_whatever_it_is(thin, height, width):
    with torch.inference_mode():
        logits = thin(torch.rand(1, 3, height, width))
    assert {name: tuple(values.shape) for name, values in logits.items()} == {
        "interior": (1, 1, height, width),
        "edge": (1, 2, height, width),
    }


def test_an_odd_size_equals_the_image_filled_up_by_its_last_row_and_column(thin):
    image = torch.rand(1, 3, 45, 70)
    filled = F.pad(image, (0, 96 - 70, 0, 64 - 45), mode="replicate")
    with torch.inference_mode():
        torch.testing.assert_close(thin(image)["edge"], thin(filled)["edge"][..., :45, :70])


def test_one_head_is_the_unet_of_smp():
    ours = unet(bands=4, heads={"interior": 2}, decoder_channels=THIN).eval()
    theirs = smp.Unet(
        "tu-tf_efficientnet_lite0",
        encoder_weights=None,
        in_channels=4,
        classes=2,
        decoder_channels=THIN,
    ).eval()
    theirs.encoder.load_state_dict(ours.encoder.state_dict())
    theirs.decoder.load_state_dict(ours.decoder.state_dict())
    theirs.segmentation_head[0].load_state_dict(ours.heads["interior"].state_dict())
    image = torch.rand(2, 4, 64, 96)
    with torch.inference_mode():
        assert torch.equal(ours(image)["interior"], theirs(image))


@pytest.mark.parametrize("encoder", get_args(Encoder))
def test_every_encoder_learns_in_all_its_parts(encoder):
    network = unet(encoder, bands=2, heads={"a": 1, "b": 1}, decoder_channels=THIN)
    logits = network(torch.rand(2, 2, 64, 64))
    torch.stack([values.square().sum() for values in logits.values()]).sum().backward()
    without = [name for name, value in network.named_parameters() if value.grad is None]
    assert without == []


def test_the_same_arguments_build_the_same_network():
    network = unet("resnet18", bands=5, heads={"a": 3}, decoder_channels=THIN)
    again = unet(**network.arguments, bands=5, heads={"a": 3})
    again.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "tu-hf-hub:somebody/model"}, "no encoder 'tu-hf-hub:somebody/model'"),
        ({"bands": 0}, "bands must be at least 1, got 0"),
        ({"heads": {}}, "heads need a name"),
        ({"heads": {"a.b": 1}}, "heads need a name"),
        ({"heads": {"a": 0}}, "at least 1 class"),
        ({"decoder_channels": (8, 8)}, "five positive numbers"),
        ({"encoder": "resnet18", "encoder_weights": "imagenet"}, "use tu-tf_efficientnet_lite0"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(ModelError, match=message):
        unet(**arguments)


def test_heads_computed_together_are_those_computed_alone():
    network = unet("resnet18", heads={"interior": 1, "classes": 3}).eval()
    image = torch.rand(2, 3, 64, 96)
    with torch.inference_mode():
        together = network(image)
        features = network.decoder(network.encoder(image))
        for name, head in network.heads.items():
            torch.testing.assert_close(together[name], head(features))
    assert list(together) == ["interior", "classes"]
