import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from torch.nn import functional as F

from gv_models import weights
from gv_models.errors import ModelError
from gv_models.networks import unet
from gv_models.weights import LITE0_IMAGENET, adapt_bands, efficientnet_lite0_imagenet, port

# ImageNet-1k classes that the photographs of scikit-image show
TABBY, TIGER_CAT, EGYPTIAN_CAT, ESPRESSO, MISSILE, MOPED = 281, 282, 285, 967, 657, 665


@pytest.fixture(scope="module")
def classifier():
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    network.load_state_dict(efficientnet_lite0_imagenet())
    return network


def photograph(name):
    """The middle of a photograph, 224 x 224 px, normalised as the weights expect."""
    image = torch.tensor(getattr(skimage.data, name)(), dtype=torch.float32).permute(2, 0, 1)[None]
    scale = 256 / min(image.shape[-2:])
    size = [round(length * scale) for length in image.shape[-2:]]
    image = F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 255) / 255
    top, left = ((length - 224) // 2 for length in size)
    mean, std = (torch.tensor(x)[:, None, None] for x in (LITE0_IMAGENET.mean, LITE0_IMAGENET.std))
    return (image[..., top : top + 224, left : left + 224] - mean) / std


def lite0_by_hand(image, source):
    """EfficientNet-Lite0 in plain operations, from the names and the stages of its source."""

    def convolve(x, name, stride=1, groups=1):
        kernel = source[f"{name}.weight"]
        size = kernel.shape[-1]
        for axis in (3, 2):  # TensorFlow's "same": just enough, the odd pixel behind
            length = x.shape[axis]
            fill = max((-(-length // stride) - 1) * stride + size - length, 0)
            before, after = fill // 2, fill - fill // 2
            x = F.pad(x, (before, after, 0, 0) if axis == 3 else (0, 0, before, after))
        return F.conv2d(x, kernel, stride=stride, groups=groups)

    def normalise(x, name):
        mean, variance, weight, bias = (
            source[f"{name}.{entry}"][:, None, None]
            for entry in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-3) * weight + bias

    x = normalise(convolve(image, "_conv_stem", stride=2), "_bn0").clamp(0, 6)
    block = 0
    for repeats, first_stride in zip((1, 2, 2, 3, 3, 4, 1), (1, 2, 2, 2, 1, 2, 1), strict=True):
        for position in range(repeats):
            name, kept = f"_blocks.{block}", x
            if f"{name}._expand_conv.weight" in source:
                x = normalise(convolve(x, f"{name}._expand_conv"), f"{name}._bn0").clamp(0, 6)
            stride = first_stride if position == 0 else 1
            x = convolve(x, f"{name}._depthwise_conv", stride, groups=x.shape[1])
            x = normalise(x, f"{name}._bn1").clamp(0, 6)
            x = normalise(convolve(x, f"{name}._project_conv"), f"{name}._bn2")
            if position > 0:
                x = x + kept
            block += 1
    x = normalise(convolve(x, "_conv_head"), "_bn1").clamp(0, 6).mean(dim=(2, 3))
    return x @ source["_fc.weight"].T + source["_fc.bias"]


@pytest.mark.parametrize("size_hw", [(224, 224), (97, 130)])
def test_logits_are_those_of_the_source_computed_by_hand(classifier, size_hw):
    image = torch.randn(2, 3, *size_hw)
    source = weights._read(LITE0_IMAGENET)
    with torch.inference_mode():
        ours, theirs = classifier(image), lite0_by_hand(image, source)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("chelsea", {TABBY, TIGER_CAT, EGYPTIAN_CAT}),
        ("coffee", {ESPRESSO}),
        ("rocket", {MISSILE}),
        ("stereo_motorcycle", {MOPED}),
    ],
)
def test_photographs_are_recognised(classifier, name, shown, monkeypatch):
    if name == "stereo_motorcycle":
        left = skimage.data.stereo_motorcycle()[0]
        monkeypatch.setattr(skimage.data, name, lambda: np.asarray(left))
    with torch.inference_mode():
        best = classifier(photograph(name))[0].softmax(0).topk(5)
    assert best.indices[0].item() in shown
    assert shown <= set(best.indices.tolist())


def test_the_encoder_of_a_unet_gives_the_features_of_timm(classifier):
    network = unet(encoder_weights="imagenet").eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        features = network.encoder(image)[1:]
        expected = classifier.forward_intermediates(image, intermediates_only=True)
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 8])
def test_grey_looks_the_same_through_any_number_of_bands(bands):
    weight = efficientnet_lite0_imagenet()["conv_stem.weight"]
    grey = torch.rand(1, 1, 32, 32)
    adapted = F.conv2d(grey.expand(-1, bands, -1, -1), adapt_bands(weight, bands))
    torch.testing.assert_close(adapted, F.conv2d(grey.expand(-1, 3, -1, -1), weight))


def test_imagenet_weights_go_into_four_bands_through_unet():
    stem = unet(bands=4, encoder_weights="imagenet").encoder.state_dict()["model.conv_stem.weight"]
    rgb = efficientnet_lite0_imagenet()["conv_stem.weight"]
    torch.testing.assert_close(stem[:, :3], rgb * 0.75)


def test_every_name_is_moved_once():
    names = dict(weights.lite0_names())
    assert len(names) == len(set(names.values())) == 296


@pytest.mark.parametrize(
    ("source", "names", "message"),
    [
        ({"a": 2, "c": 2}, {"a": "x"}, r"old names on one side only: \['c'\]"),
        ({}, {"a": "x"}, r"old names on one side only: \['a'\]"),
        ({"a": 2, "b": 2}, {"a": "x", "b": "x"}, "new names on one side only: given twice"),
        ({"a": 2}, {"a": "y"}, r"new names on one side only: \['x', 'y'\]"),
        ({"a": 3}, {"a": "x"}, r"x is \(3,\), the network wants \(2,\)"),
    ],
)
def test_porting_refuses_what_does_not_match_one_to_one(source, names, message):
    tensors = {name: torch.zeros(size) for name, size in source.items()}
    with pytest.raises(ModelError, match=message):
        port(tensors, names, {"x": torch.Size([2])})


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, LITE0_IMAGENET.package, None)
    with pytest.raises(ModelError, match=r'uv add "gv-models\[imagenet\]"'):
        efficientnet_lite0_imagenet()


def test_another_file_in_its_place_is_refused(monkeypatch, tmp_path: Path):
    package = tmp_path / "other_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "lite0.pth").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    monkeypatch.syspath_prepend(tmp_path)
    source = dataclasses.replace(LITE0_IMAGENET, package="other_weights", file="lite0.pth")
    with pytest.raises(ModelError, match="not the file these weights were checked with"):
        weights._read(source)
