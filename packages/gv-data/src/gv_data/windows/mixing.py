"""CutMix and MixUp of batches: each sample gets a part of the one before it, its truth as well.

Both work on a collated batch, a dictionary of tensors, on the device where it lies, and leave it as
it was. Call them where a LightningModule or LightningDataModule gets its batches, on the device::

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return self.mix(batch, self.generator) if self.trainer.training else batch

or where a loader collates samples, in its processes:

>>> from torch.utils.data import DataLoader, default_collate
>>> mix, generator = CutMix(classes={"label": 3}), torch.Generator().manual_seed(0)
>>> samples = [{"image": torch.full((1, 8, 8), float(n)), "label": n} for n in range(3)]
>>> loader = DataLoader(samples, 3, collate_fn=lambda s: mix(default_collate(s), generator))
>>> batch = next(iter(loader))
>>> means = batch["image"].mean(dim=(1, 2, 3))  # of 0 with a box of 2, 1 with 0, 2 with 1
>>> bool((batch["label"] @ torch.arange(3.0) == means).all())  # labels are mixed as pixels are
True

Every process needs a generator of its own, seeded by its rank or worker. What a batch knows of
single pixels (rasters, (b, ..., h, w) like ``image``) and of whole samples is told apart by shape;
``bounds``, ``transform`` and all else that is not declared stay those of the sample that receives.
So do the ``dates`` of series, which are mixed date by date: let those of a batch be about the same.

Soft truth is float and marks the unknown as hard truth does: classes by `IGNORE`, numbers by NaN.
A loss takes it over ``target != IGNORE``, as it would the hard one. For a loss that is linear in
the truth, as cross-entropy is, it means the two losses weighted by the shares of the two samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from gv_data.errors import SampleError
from gv_data.windows.dataset import IGNORE, LABELS
from gv_data.windows.transforms import rasters_of, validity

type Batch = dict[str, Any]

_DECLARED = ("label", *LABELS)
"""What a sample knows as truth: to leave it as it was would teach the wrong thing."""


class Box(NamedTuple):
    """Pixels that come from the other sample.

    Attributes:
        top: First row.
        left: First column.
        bottom: Row after the last one.
        right: Column after the last one.
    """

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class CutMix:
    """A box of each sample is replaced by that of the one before it (Yun et al. 2019).

    Method: arXiv:1905.04899. Rasters take their pixels along, so masks stay hard and in their type.
    Truth of whole samples is mixed by the shares of the pixels, counted after the box was cut at
    the border of the window. An object that the box cuts has no ``edge`` along the cut. Numbers in
    ``instances`` go on in the box after those around it: the same object may be seen in both.

    Attributes:
        alpha: Both parameters of the beta distribution from which the share that stays is drawn.
        classes: Keys of classes, with the number of a network's outputs for each: indices (b,)
            become soft labels (b, k); 1 stands for yes or no, as (b,) or, multi-label, (b, n).
            Rasters need none.
        values: Keys of float numbers (b,) or (b, n): targets of a regression.
        chance: Of a batch to be mixed; the others are given in the same types.
    """

    alpha: float = 1.0
    classes: Mapping[str, int] = field(default_factory=dict)
    values: Sequence[str] = ()
    chance: float = 1.0

    def __post_init__(self) -> None:
        _check(self.alpha, self.chance, self.classes)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Mix a batch.

        Args:
            batch: Of at least an ``image`` (b, ..., h, w).
            generator: Of all choices; one draw of it a batch.

        Raises:
            SampleError: If the truth in the batch is not as declared, or rasters are not on one
                grid.
        """
        random = _random(generator)
        stays = random.beta(self.alpha, self.alpha) if random.random() < self.chance else 1.0
        box = _drawn(np.shape(batch["image"])[-2:], stays, random)
        return pasted(batch, box, classes=self.classes, values=self.values)


@dataclass(frozen=True)
class MixUp:
    """Each sample is blended with the one before it (Zhang et al. 2018).

    Method: arXiv:1710.09412. Float rasters are blended, as is the truth; boolean ones hold where
    both hold. Where one of two images is not ``valid`` the blend is not, and its inputs are 0;
    where one of two truths is unknown the blend is.

    Attributes:
        alpha: Both parameters of the beta distribution from which the share that stays is drawn;
            0.1 to 0.4 in the paper for ImageNet.
        classes: Keys of classes, with the number of a network's outputs for each: k makes soft
            labels (b, k) of indices (b,) and soft masks (b, k, h, w) of masks (b, h, w); 1 stands
            for yes or no, of any shape, which it keeps.
        values: Keys of float numbers, (b, ...) or rasters: targets of a regression.
        chance: Of a batch to be mixed; the others are given in the same types.

    Examples:
        >>> batch = {
        ...     "image": torch.rand(2, 3, 1, 3),
        ...     "mask": torch.tensor([[[0, 0, 1]], [[1, IGNORE, 1]]]),
        ... }
        >>> blended(batch, 0.75, classes={"mask": 1})["mask"].tolist()
        [[[0.25, 255.0, 1.0]], [[0.75, 255.0, 1.0]]]
        >>> MixUp(classes={"mask": 2})(batch, torch.Generator())["mask"].shape
        torch.Size([2, 2, 1, 3])
    """

    alpha: float = 0.2
    classes: Mapping[str, int] = field(default_factory=dict)
    values: Sequence[str] = ()
    chance: float = 1.0

    def __post_init__(self) -> None:
        _check(self.alpha, self.chance, self.classes)

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Mix a batch.

        Args:
            batch: Of at least a float ``image`` (b, ..., h, w).
            generator: Of all choices; one draw of it a batch.

        Raises:
            SampleError: If the truth in the batch is not as declared, or rasters are not on one
                grid or of integers.
        """
        random = _random(generator)
        stays = random.beta(self.alpha, self.alpha) if random.random() < self.chance else 1.0
        return blended(batch, stays, classes=self.classes, values=self.values)


def pasted(
    batch: Batch, box: Box, *, classes: Mapping[str, int] | None = None, values: Sequence[str] = ()
) -> Batch:
    """CutMix with one box: see `CutMix`.

    Args:
        batch: What to mix.
        box: Pixels that come from the sample before; the first one's from the last.
        classes: Keys of classes, with the number of a network's outputs for each.
        values: Keys of float numbers.
    """
    classes = classes or {}
    rasters = rasters_of(batch, least_axes=3)
    truth = _declared(batch, classes, values, without=rasters)
    mixed = dict(batch)
    top, left, bottom, right = box
    for key, raster in rasters.items():
        mixed[key] = raster.clone()
        other = raster[..., top:bottom, left:right].roll(1, 0)
        if key == "instances" and len(raster) > 1:
            other = torch.where(other > 0, other + raster.amax((-2, -1), keepdim=True), other)
        mixed[key][..., top:bottom, left:right] = other
    height, width = batch["image"].shape[-2:]
    stays = 1 - (bottom - top) * (right - left) / (height * width)
    for key in truth:
        mixed[key] = _softened(key, batch[key], stays, classes.get(key))
    return mixed


def blended(
    batch: Batch,
    stays: float,
    *,
    classes: Mapping[str, int] | None = None,
    values: Sequence[str] = (),
) -> Batch:
    """MixUp with one share: see `MixUp`.

    Args:
        batch: What to mix.
        stays: Share of each sample that stays, from 0 to 1; the rest is of the sample before, the
            first one's of the last.
        classes: Keys of classes, with the number of a network's outputs for each.
        values: Keys of float numbers.
    """
    classes = classes or {}
    if "instances" in batch:
        raise SampleError(
            "'instances' are numbers of objects, which cannot be blended: leave them out of the "
            "labels, or take CutMix"
        )
    truth = _declared(batch, classes, values, without={})
    mixed = dict(batch)
    for key in truth:
        mixed[key] = _softened(key, batch[key], stays, classes.get(key))
    inputs = {k: r for k, r in rasters_of(batch, least_axes=3).items() if k not in truth}
    for key, raster in inputs.items():
        own, other = _pair(raster, stays)
        if raster.dtype == torch.bool:
            mixed[key] = own & other
        elif raster.is_floating_point():
            mixed[key] = torch.lerp(other, own, stays)
            if "valid" in batch:
                both = torch.logical_and(*_pair(validity(batch, key, batched=True), stays))
                mixed[key] = mixed[key].masked_fill(~both, 0)
        else:
            raise SampleError(
                f"{key!r} of {raster.dtype} cannot be blended: make it float, or declare it as "
                f"classes={{{key!r}: how many}}"
            )
    return mixed


def _softened(key: str, target: Tensor, stays: float, classes: int | None) -> Float[Tensor, "..."]:
    """Truth of which a share stays and the rest is of the sample before; float numbers if None."""
    if classes is not None:
        own, other = _pair(_soft(key, target, classes), stays)
        return torch.lerp(other, own, stays).masked_fill(
            (own == IGNORE) | (other == IGNORE), IGNORE
        )
    if not target.is_floating_point():
        raise SampleError(
            f"{key!r} of {target.dtype} holds no numbers to mix: make it float, or declare it as "
            f"classes={{{key!r}: how many}}"
        )
    own, other = _pair(target, stays)
    return torch.lerp(other, own, stays)


def _pair(value: Tensor, stays: float) -> tuple[Tensor, Tensor]:
    """What the samples and those before them bring; one that has no share is not asked."""
    other = value.roll(1, 0)
    return value if stays > 0 else other, other if stays < 1 else value


def _soft(key: str, target: Tensor, classes: int) -> Float[Tensor, "..."]:
    """Shares of the classes, along axis 1 when there are several outputs; `IGNORE` if unknown."""
    if target.is_floating_point():
        if classes > 1 and (target.ndim < 2 or target.shape[1] != classes):
            raise SampleError(
                f"soft {key!r} of {classes} classes is (b, {classes}, ...), got "
                f"{tuple(target.shape)}"
            )
        return target
    target = target.long()
    known = target != IGNORE
    if bool((known & ((target < 0) | (target >= max(classes, 2)))).any()):
        raise SampleError(
            f"{key!r} of {classes} outputs holds 0 to {max(classes, 2) - 1} or {IGNORE}, got "
            f"{int(target.min())} to {int(target[known].max())}"
        )
    if classes == 1:
        return target.float()
    shares = F.one_hot(target.where(known, 0), classes).movedim(-1, 1).float()
    return shares.masked_fill(~known.unsqueeze(1), IGNORE)


def _declared(
    batch: Batch, classes: Mapping[str, int], values: Sequence[str], *, without: Batch
) -> list[str]:
    """Keys of truth to mix, without those whose pixels move anyway."""
    declared = [*classes, *values]
    for key in declared:
        if key not in batch:
            raise SampleError(f"{key!r} is declared but not in the batch, which has {list(batch)}")
    for key in _DECLARED:
        if key in batch and key not in declared and key not in without:
            raise SampleError(
                f"{key!r} would stay as it is while the image is mixed: declare it as "
                f"classes={{{key!r}: how many}} or values=[{key!r}]"
            )
    return [key for key in declared if key not in without]


def _drawn(shape_hw: Sequence[int], stays: float, random: np.random.Generator) -> Box:
    """A box of the window's shape about any pixel, cut at the border."""
    middles = [int(random.integers(size)) for size in shape_hw]
    halves = [int(0.5 * np.sqrt(1 - stays) * size) for size in shape_hw]
    first = [max(0, middle - half) for middle, half in zip(middles, halves, strict=True)]
    last = [min(s, m + h) for s, m, h in zip(shape_hw, middles, halves, strict=True)]
    return Box(*first, *last)


def _random(generator: torch.Generator) -> np.random.Generator:
    """Choices that come from one draw: torch's beta distribution takes no generator."""
    drawn = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(drawn))


def _check(alpha: float, chance: float, classes: Mapping[str, int]) -> None:
    if not (0 < alpha < np.inf and 0 <= chance <= 1 and all(k >= 1 for k in classes.values())):
        raise SampleError(
            "mixing needs alpha > 0, a chance from 0 to 1 and classes of at least one output, got "
            f"{alpha}, {chance} and {dict(classes)}"
        )
