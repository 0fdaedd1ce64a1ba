"""Segmentation networks: one encoder, one decoder, several heads.

U-Net (Ronneberger et al. 2015, arXiv:1505.04597) as built by segmentation_models_pytorch, with one
3 x 3 convolution a head at the full resolution of the image. Nothing here touches the network:
weights come from :mod:`gv_models.weights`.
"""

from collections.abc import Mapping
from typing import Literal, TypedDict, cast, get_args

import segmentation_models_pytorch as smp
import torch
from jaxtyping import Float
from segmentation_models_pytorch.base.initialization import initialize_head
from torch import Tensor, nn
from torch.nn import functional as F

from gv_models.errors import ModelError
from gv_models.weights import adapt_bands, efficientnet_lite0_imagenet

Encoder = Literal["tu-tf_efficientnet_lite0", "mobilenet_v2", "resnet18", "resnet34", "resnet50"]
"""Encoders by their name in segmentation_models_pytorch. Closed: timm would fetch a
name such as ``tu-hf-hub:...`` from the network."""

STRIDE_PX = 32
"""All these encoders halve the image five times."""


class UnetArguments(TypedDict):
    """What :func:`unet` was called with, apart from bands and heads."""

    encoder: Encoder
    decoder_channels: tuple[int, ...]


class Segmenter(nn.Module):
    """Logits per pixel for several heads that share an encoder and a decoder.

    Args:
        encoder: Gives features at strides 1, 2, 4, ..., 32.
        decoder: Joins them to ``channels`` features at stride 1.
        channels: Features a pixel that the heads see.
        heads: Number of classes of each head.
        arguments: Kept for the model package, which builds the same network from it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        channels: int,
        heads: Mapping[str, int],
        arguments: UnetArguments,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.heads = nn.ModuleDict(
            {name: nn.Conv2d(channels, classes, 3, padding=1) for name, classes in heads.items()}
        )
        self.arguments = arguments
        initialize_head(self.heads)

    def forward(self, image: Float[Tensor, "b c h w"]) -> dict[str, Float[Tensor, "b k h w"]]:
        """Logits of each head, at the size of the image, which may be odd.

        Args:
            image: Normalised bands. Sizes that are no multiple of 32 px are filled up at the right
                and at the bottom with their last column and row.

        Returns:
            One tensor a head; a sigmoid makes probabilities of it.
        """
        height, width = image.shape[-2:]
        fill = (0, -width % STRIDE_PX, 0, -height % STRIDE_PX)
        features = self.decoder(self.encoder(F.pad(image, fill, mode="replicate")))
        # one convolution for all heads: with few output channels each costs nearly as much alone
        heads = [cast(nn.Conv2d, head) for head in self.heads.values()]
        weight = torch.cat([head.weight for head in heads])
        bias = torch.cat([cast(Tensor, head.bias) for head in heads])
        logits = F.conv2d(features, weight, bias, padding=1)[..., :height, :width]
        return dict(zip(self.heads, logits.split([len(h.weight) for h in heads], 1), strict=True))


def unet(
    encoder: Encoder = "tu-tf_efficientnet_lite0",
    *,
    bands: int = 3,
    heads: Mapping[str, int] | None = None,
    decoder_channels: tuple[int, ...] = (128, 64, 32, 16, 16),
    encoder_weights: Literal["imagenet"] | None = None,
) -> Segmenter:
    """A U-Net with several heads.

    Args:
        encoder: Name of the encoder.
        bands: Number of bands of the image.
        heads: Number of classes of each head; one head ``interior`` of one class when not given.
        decoder_channels: Features a pixel after each of the five decoder steps, coarsest first. On
            a CPU the last steps, which work at full resolution, decide the time: these widths train
            about 1.6 times as fast as segmentation_models_pytorch's (256, 128, 64, 32, 16).
        encoder_weights: ``imagenet`` loads ported weights (extra ``[imagenet]``), for
            ``tu-tf_efficientnet_lite0`` only. Other band counts than three are adapted.

    Returns:
        The network in training mode.

    Raises:
        ModelError: If an argument is out of range, or the weights are not there.

    Examples:
        >>> import torch
        >>> network = unet(bands=4, heads={"interior": 1, "edge": 1}).eval()
        >>> logits = network(torch.rand(1, 4, 45, 70))
        >>> {name: tuple(values.shape) for name, values in logits.items()}
        {'interior': (1, 1, 45, 70), 'edge': (1, 1, 45, 70)}
    """
    heads = {"interior": 1} if heads is None else dict(heads)
    if encoder not in get_args(Encoder):
        raise ModelError(f"no encoder {encoder!r}: choose one of {', '.join(get_args(Encoder))}")
    if bands < 1:
        raise ModelError(f"bands must be at least 1, got {bands}")
    if not heads or not all(name.isidentifier() and k >= 1 for name, k in heads.items()):
        raise ModelError(f"heads need a name (letters, digits, _) and at least 1 class: {heads}")
    if len(decoder_channels) != 5 or min(decoder_channels) < 1:
        raise ModelError(f"decoder_channels must be five positive numbers, got {decoder_channels}")
    network = smp.Unet(
        encoder, encoder_weights=None, in_channels=bands, decoder_channels=decoder_channels
    )
    if encoder_weights == "imagenet":
        _load_imagenet(network.encoder, encoder, bands)
    arguments = UnetArguments(encoder=encoder, decoder_channels=tuple(decoder_channels))
    return Segmenter(network.encoder, network.decoder, decoder_channels[-1], heads, arguments)


def _load_imagenet(module: nn.Module, encoder: Encoder, bands: int) -> None:
    if encoder != "tu-tf_efficientnet_lite0":
        raise ModelError(
            f"no ImageNet weights for {encoder}: use tu-tf_efficientnet_lite0, "
            "or encoder_weights=None"
        )
    weights = efficientnet_lite0_imagenet()
    # the encoder ends where the classifier begins
    features = {
        f"model.{key}": value
        for key, value in weights.items()
        if not key.startswith(("conv_head.", "bn2.", "classifier."))
    }
    features["model.conv_stem.weight"] = adapt_bands(features["model.conv_stem.weight"], bands)
    module.load_state_dict(features)
