"""Losses of segmentation that ignore the ground nobody labelled."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def bce_dice(
    logits: Float[Tensor, "b 1 h w"],
    target: Float[Tensor, "b h w"],
    valid: Bool[Tensor, "b h w"],
    *,
    pos_weight: float | None = None,
    smooth: float = 1.0,
) -> Float[Tensor, ""]:
    """Binary cross-entropy plus Dice loss (Milletari et al. 2016, arXiv:1606.04797) of one head.

    Both are taken over all valid pixels of the batch together, so that an image without any object
    does not weigh as much as one full of them. Reductions run in float32 also under autocast. Dice
    is that of Wang et al. (2023, arXiv:2303.16296), which soft targets minimise too.

    Args:
        logits: What the network gave.
        target: 0 to 1; only read where valid, so it may be NaN elsewhere.
        valid: Where there are both image and labels.
        pos_weight: Weight of the positive pixels in the cross-entropy; 1 when not given.
        smooth: Pixels added to both sides of the Dice ratio: keeps it finite without objects.

    Returns:
        A scalar, 0 (with zero gradients) if nothing is valid.
    """
    scores = logits[:, 0].float()
    known = valid.float()
    truth = torch.where(valid, target.float(), 0.0)  # choosing pixels by index is slow to undo
    weight = None if pos_weight is None else torch.tensor(pos_weight, device=scores.device)
    entropy = F.binary_cross_entropy_with_logits(
        scores, truth, weight=known, pos_weight=weight, reduction="sum"
    )
    found = scores.sigmoid() * known
    both = found + truth
    overlap = ((both - (found - truth).abs()).sum() + smooth) / (both.sum() + smooth)
    return entropy / known.sum().clamp(min=1) + (1 - overlap)
