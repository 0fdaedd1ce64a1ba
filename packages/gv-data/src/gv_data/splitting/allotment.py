"""Which images go to which part, so that parts get their shares of images, labels and kinds.

Images that may be parted are dealt out one by one along a line on which like stands beside like.
Those that must stay together are allotted in units (all images of a place, of a block) as nearly as
the units allow: every way is tried where units are few; else many are drawn, and the nearest taken.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gv_data.splitting.shares import Shares

WAYS_MAX = 4096
"""Ways to allot units that are all tried; with more of them, some are drawn."""

DRAWS = 64
"""Ways that are drawn, and most that are looked at closely."""

ALIKE = 0.002
"""Ways are as good when their distances differ by less: a percent of the images."""

_UNITS_MANY = 2000
_DRAWS_OF_MANY = 8

type Parts = Int[np.ndarray, " n"]
"""Position of the part of each image or unit; -1 is none."""


@dataclass(frozen=True, eq=False)
class Balance:
    """What each part is to have its share of.

    Attributes:
        amounts: How much each image holds of each quantity: itself, its labels, its kind.
        weights: How much each quantity matters.
    """

    amounts: Float[np.ndarray, "n q"]
    weights: Float[np.ndarray, " q"]

    def distance(self, parts: Parts, shares: Shares) -> float:
        """How far parts are from their shares; infinite if one has nothing.

        The squared difference relative to the share, as in chi squared, summed over parts and
        quantities; and the share of images in no part.
        """
        sums = np.stack([self.amounts[parts == n].sum(axis=0) for n in range(len(shares))])
        if not np.all(np.bincount(parts[parts >= 0], minlength=len(shares))):
            return np.inf
        lost = float(np.mean(parts < 0))
        total = sums.sum(axis=0)
        got = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
        wanted = np.array(shares.wanted)[:, None]
        return float((((got - wanted) ** 2 / wanted) @ self.weights).sum()) + lost


def deal(kind: Int[np.ndarray, " n"], shares: Shares, rng: np.random.Generator) -> Parts:
    """Deal images out one by one.

    Args:
        kind: Number of each image's kind.
        shares: The parts; there are at least as many images.
        rng: Shuffles the images of each kind.

    Returns:
        The part of each: as many as its share, rounded; and of each kind as many, within two.
    """
    counts = _rounded(shares, len(kind))
    line = rng.permutation(len(kind))
    # kinds in any order: the first image of the line always goes to the largest part
    turn = rng.permutation(int(kind.max()) + 1)
    line = line[np.argsort(turn[kind[line]], kind="stable")]
    step = counts / len(kind)
    due = np.zeros(len(shares))
    dealt = np.empty(len(kind), int)
    for image in line:
        due += step
        part = int(due.argmax())
        due[part] -= 1
        dealt[image] = part
    return dealt


def _rounded(shares: Shares, count: int) -> Int[np.ndarray, " p"]:
    """Whole numbers nearest to the shares, none of them 0."""
    exact = np.array(shares.wanted) * count
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: count - counts.sum()]] += 1
    for empty in np.flatnonzero(counts == 0):
        counts[counts.argmax()] -= 1
        counts[empty] = 1
    return counts


def allot(
    unit: Int[np.ndarray, " n"],
    balance: Balance,
    shares: Shares,
    rng: np.random.Generator,
    *,
    places: Float[np.ndarray, "u 3"] | None = None,
    settle: Callable[[Parts], Parts] | None = None,
) -> Parts:
    """Allot units of images to parts as nearly to the shares as they allow.

    Args:
        unit: Number of each image's unit; at least as many units as parts.
        balance: What is to be shared out.
        shares: The parts.
        rng: Decides among ways that are as near, and which are tried where units are many.
        places: Where units lie, if ways are to be tried in which a part lies in one piece.
        settle: From the parts of units to those of images, if some images go to none.

    Returns:
        The part of each image; each part has some, unless ``settle`` leaves none in every way.
    """
    count = int(unit.max()) + 1
    sums = np.zeros((count, balance.amounts.shape[1]))
    np.add.at(sums, unit, balance.amounts)
    units = Balance(
        np.divide(sums, sums.sum(axis=0), out=np.zeros_like(sums), where=sums.sum(axis=0) > 0),
        balance.weights,
    )
    if count * math.log(len(shares)) <= math.log(WAYS_MAX):
        ways = np.indices((len(shares),) * count).reshape(count, -1).T
        ways = rng.permutation(ways)
    else:
        ways = _drawn(units, shares, rng)
    # of ways that are as good the first is taken; their order is the seed's
    far = np.array([units.distance(way, shares) // ALIKE for way in ways])
    ways = ways[np.argsort(far, kind="stable")]
    if settle is None:
        return ways[0][unit]
    near = ways[:DRAWS]
    if places is not None:
        near = np.concatenate([near, _in_one_piece(units.amounts[:, 0], places, shares, rng)])
    settled = [settle(way) for way in near]
    return min(settled, key=lambda parts: balance.distance(parts, shares) // ALIKE)


def _drawn(units: Balance, shares: Shares, rng: np.random.Generator) -> Int[np.ndarray, "d u"]:
    """Ways in which each unit, large ones first, went where it came nearest to the shares."""
    count = len(units.amounts)
    draws = DRAWS if count <= _UNITS_MANY else _DRAWS_OF_MANY
    luck = np.exp(rng.normal(size=(draws, count)) / 2)
    orders = np.argsort(-units.amounts[:, 0] * luck, axis=1, kind="stable")
    wanted = np.array(shares.wanted)[:, None]
    filled = np.zeros((draws, len(shares), units.amounts.shape[1]))
    ways = np.empty((draws, count), int)
    every = np.arange(draws)
    for turn in orders.T:
        more = units.amounts[turn][:, None, :]
        change = (2 * more * (filled - wanted) + more**2) / wanted
        part = (change @ units.weights).argmin(axis=1)
        ways[every, turn] = part
        filled[every, part] += more[:, 0]
    return np.stack([_with_all_parts(way, units.amounts[:, 0], len(shares)) for way in ways])


def _in_one_piece(
    sizes: Float[np.ndarray, " u"],
    places: Float[np.ndarray, "u 3"],
    shares: Shares,
    rng: np.random.Generator,
) -> Int[np.ndarray, "d u"]:
    """Ways in which parts are what lies nearest to a place, and the largest part is the rest."""
    by_share = np.argsort(shares.wanted, kind="stable")
    ways = np.full((DRAWS, len(sizes)), by_share[-1])
    for way in ways:
        free = np.arange(len(sizes))
        for to_come, part in zip(range(len(shares) - 1, 0, -1), by_share[:-1], strict=True):
            centre = places[rng.choice(free)]
            nearest = free[np.argsort(-places[free] @ centre, kind="stable")]
            reached = np.cumsum(sizes[nearest])
            taken = int(np.abs(reached - shares.wanted[part]).argmin()) + 1
            taken = min(taken, len(free) - to_come)
            way[nearest[:taken]] = part
            free = np.sort(nearest[taken:])
    return ways


def _with_all_parts(parts: Parts, sizes: Float[np.ndarray, " n"], count: int) -> Parts:
    """The same with the smallest image or unit of the fullest part in each part without any."""
    for missing in range(count):
        held = np.bincount(parts, minlength=count)
        if not held[missing]:
            fullest = np.flatnonzero(parts == held.argmax())
            parts[fullest[sizes[fullest].argmin()]] = missing
    return parts
