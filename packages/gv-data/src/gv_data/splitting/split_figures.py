"""What the parts of a split hold, and how alike they are."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import chdtrc

from gv_data.splitting.allotment import Parts
from gv_data.splitting.grounds import Grounds, Pairs
from gv_data.splitting.shares import Shares
from gv_data.splitting.strata import Classes, Strata


@dataclass(frozen=True)
class Portion:
    """What one part holds.

    Attributes:
        name: Of the part.
        wanted: Share of the images that it was to hold.
        images: How many it holds.
        share: Share of the images that are in any part.
        labels: Labels on them; one on several images counts on each.
        labels_share: Share of the labels on images in any part; NaN if there are none.
        ground_m2: Ground they show; what several of them show counts once.
    """

    name: str | int
    wanted: float
    images: int
    share: float
    labels: int
    labels_share: float
    ground_m2: float


@dataclass(frozen=True)
class ChiSquared:
    """Pearson's test of whether parts differ in their mix by more than chance.

    Attributes:
        value: The statistic.
        freedom: Degrees of freedom.
        p: Chance of one as large if images were drawn without regard to their kind.
    """

    value: float
    freedom: int
    p: float


@dataclass(frozen=True)
class Mix:
    """How much parts hold of each of several kinds.

    Attributes:
        of: What is mixed.
        names: Of the kinds.
        amounts: Of each part, how much of each kind.
        divergence: Of each part, the Jensen-Shannon divergence from all parts together in bits: 0
            is the same mix, 1 is another one altogether.
        chi2: For whole images; pixels are not independent of each other.
    """

    of: str
    names: tuple[str, ...]
    amounts: tuple[tuple[float, ...], ...]
    divergence: tuple[float, ...]
    chi2: ChiSquared | None

    @property
    def shares(self) -> Float[np.ndarray, "p k"]:
        """Share of each kind in each part's mix."""
        amounts = np.array(self.amounts, float)
        total = amounts.sum(axis=1, keepdims=True)
        return np.divide(amounts, total, out=np.zeros_like(amounts), where=total > 0)


def portions(
    parts: Parts,
    shares: Shares,
    labels: Int[np.ndarray, " n"],
    grounds: Grounds,
    overlapping: Pairs,
) -> tuple[Portion, ...]:
    """Sum up what each part holds.

    Args:
        parts: Part of each image; -1 is none.
        shares: The parts.
        labels: Labels on each image.
        grounds: Where these images lie.
        overlapping: The pairs of grounds that overlap.
    """
    images = np.bincount(parts[parts >= 0], minlength=len(shares))
    on_them = np.array([labels[parts == n].sum() for n in range(len(shares))])
    shown = np.zeros((len(shares), len(grounds)), bool)
    placed = (parts >= 0) & (grounds.ground >= 0)
    shown[parts[placed], grounds.ground[placed]] = True
    return tuple(
        Portion(
            name=name,
            wanted=wanted,
            images=int(images[n]),
            share=float(images[n] / images.sum()),
            labels=int(on_them[n]),
            labels_share=float(on_them[n] / on_them.sum()) if on_them.any() else math.nan,
            ground_m2=grounds.area_m2(shown[n], overlapping),
        )
        for n, (name, wanted) in enumerate(zip(shares.names, shares.wanted, strict=True))
    )


def mix_of_images(parts: Parts, shares: Shares, strata: Strata) -> Mix:
    """How many images of each kind parts hold."""
    counts = np.zeros((len(shares), len(strata.names)), int)
    np.add.at(counts, (parts[parts >= 0], strata.kind[parts >= 0]), 1)
    return _mix(f"images by {strata.column}", strata.names, counts, chi_squared(counts))


def mix_of_classes(parts: Parts, shares: Shares, classes: Classes) -> Mix:
    """How much labelled ground of each class parts hold."""
    amounts = np.stack([classes.amounts[parts == n].sum(axis=0) for n in range(len(shares))])
    return _mix("labelled ground by class", classes.names, amounts, None)


def chi_squared(counts: Int[np.ndarray, "p k"]) -> ChiSquared:
    """Test counts of kinds in parts, of which none is empty."""
    occurring = counts[:, counts.sum(axis=0) > 0]
    expected = np.outer(occurring.sum(axis=1), occurring.sum(axis=0)) / occurring.sum()
    value = float(((occurring - expected) ** 2 / expected).sum())
    freedom = (occurring.shape[0] - 1) * (occurring.shape[1] - 1)
    return ChiSquared(value, freedom, float(chdtrc(freedom, value)) if freedom else 1.0)


def divergence(first: Float[np.ndarray, " k"], second: Float[np.ndarray, " k"]) -> float:
    """Jensen-Shannon divergence of two mixes (Lin 1991, IEEE Trans. Inf. Theory 37, 145-151).

    Args:
        first: Amounts of some kinds.
        second: Of the same kinds.

    Returns:
        Bits, from 0 to 1; NaN if one has nothing.

    Examples:
        >>> divergence(np.array([1, 1]), np.array([5, 5])), divergence(np.array([3, 0]), [0, 2])
        (0.0, 1.0)
    """
    if not (np.any(first) and np.any(second)):
        return math.nan
    p, q = (np.asarray(amounts) / np.sum(amounts) for amounts in (first, second))
    return max(0.0, _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)


def _mix(
    of: str, names: tuple[str, ...], amounts: Float[np.ndarray, "p k"], chi2: ChiSquared | None
) -> Mix:
    together = amounts.sum(axis=0)
    return Mix(
        of=of,
        names=names,
        amounts=tuple(map(tuple, amounts.tolist())),
        divergence=tuple(divergence(part, together) for part in amounts),
        chi2=chi2,
    )


def _entropy(p: Float[np.ndarray, " k"]) -> float:
    held = p[p > 0]
    return float(-(held * np.log2(held)).sum())
