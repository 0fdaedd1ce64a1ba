"""Images that look the same: copies within a part of a split, and leaks between two parts.

A copy of a training image among those of validation makes figures that mean nothing, and ground
alone does not tell it: copies may be cut, moved, or without georeference.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Int, Shaped

from gv_data.catalog import Catalog
from gv_data.checks.hashes import TURNS
from gv_data.checks.near_hashes import near_hashes
from gv_data.findings import Findings, counted, some
from gv_data.splitting.grounds import Grounds

BITS = 64

DISTANCE_MAX = 6
"""Bits that copies may differ by. JPEG at quality 50, half the size, noise and another gamma change
at most 5 in real imagery, while the nearest of 170,000 pairs of tiles of different ground were 14
apart; random hashes come this near once in 2e11 pairs."""

SAME_GROUND = 0.5
"""Share of the smaller footprint that two images have in common when they show the same ground."""


@dataclass(frozen=True)
class LookAlike:
    """Two images that look the same.

    Attributes:
        ids: Of both.
        parts: The part of each; None is none.
        distance: Number of bits, of 64, by which their hashes differ.
        same_ground: Whether they show the same ground, as zooms and dates do.
    """

    ids: tuple[str, str]
    parts: tuple[str | None, str | None]
    distance: int
    same_ground: bool

    @property
    def leaks(self) -> bool:
        """Whether they are in two parts."""
        return self.parts[0] != self.parts[1] and None not in self.parts

    def __str__(self) -> str:
        return f"{self.ids[0]} + {self.ids[1]}"


@dataclass(frozen=True)
class LookAlikes:
    """What a comparison of all images of a view with each other found.

    Attributes:
        pairs: Between parts first, then the nearest. Of many images that look the same each is in
            a pair with one before it in its part, and with one of each other part: the nearest.
        compared: Number of images.
        plain: Number of images that were left out, as little distinguishes them.
        parts: The parts there are.
    """

    pairs: tuple[LookAlike, ...]
    compared: int
    plain: int
    parts: tuple[str, ...]


def look_alikes(view: Catalog, column: str = "split", *, turns: bool = False) -> LookAlikes:
    """Compare the hashes of a view; no image is opened.

    Args:
        view: With ``hashes.parquet``; images without a hash are left out.
        column: Names the part of each image; or SQL over columns.
        turns: Whether copies may be turned or mirrored.

    Raises:
        CatalogError: If there is no such column.
    """
    table = view.sql(
        f"SELECT i.*, h.hash FROM (SELECT id, (\n{column}\n)::VARCHAR AS part, "
        "row_number() OVER (ORDER BY id) - 1 AS position FROM images) i "
        "JOIN hashes h USING (id) ORDER BY id"
    )
    parts = tuple(sorted(set(table["part"].to_pylist()) - {None}))
    plain, table = table["hash"].null_count, table.filter(table["hash"].is_valid())
    number = {part: n for n, part in enumerate(parts)}
    part = np.array([number.get(name, -1) for name in table["part"].to_pylist()], np.int64)
    found = _pairs(table["hash"].to_numpy(), part, turns=turns)
    first, second, apart = found[:, _is_nearest(found, part)]
    position = table["position"].to_numpy()
    same = _same_ground(view, position[first], position[second])
    ids = table["id"].to_pylist()
    names = (*parts, None)  # -1 is the last
    pairs = [
        LookAlike((ids[a], ids[b]), (names[part[a]], names[part[b]]), distance, ground)
        for a, b, distance, ground in zip(
            first.tolist(), second.tolist(), apart.tolist(), same.tolist(), strict=True
        )
    ]
    pairs.sort(key=lambda pair: (not pair.leaks, pair.distance, pair.ids))
    return LookAlikes(tuple(pairs), len(ids), plain, parts)


def report(findings: Findings, found: LookAlikes, view: Catalog) -> None:
    """Say what looks the same, and what that means.

    Args:
        findings: Where to note it.
        found: The pairs.
        view: Where they were found.
    """
    findings.apply("duplicates")
    if len(found.parts) > 1:
        findings.apply("leaks")
    leaks = [pair for pair in found.pairs if pair.leaks]
    copies = [pair for pair in found.pairs if not pair.leaks and not pair.same_ground]
    again = [pair for pair in found.pairs if not pair.leaks and pair.same_ground]
    if leaks:
        count = len({id for pair in leaks for id in pair.ids})
        between = sorted({" and ".join(sorted(map(str, pair.parts))) for pair in leaks})
        findings.fail(
            "leaks",
            f"{count:,} images of {', '.join(between)} look like images of the other part: "
            f"{_described(leaks)}",
            f"gv-data split {view.path} --by block --overwrite keeps those of the same ground "
            "together; gv-data remove takes one of each other pair out (--json lists all)"
            if any(pair.same_ground for pair in leaks)
            else _removal(view, leaks),
            tuple(map(str, leaks)),
        )
    if copies:
        findings.warn(
            "duplicates",
            f"{counted(len(copies), 'image')} look like others, on other ground: "
            f"{_described(copies)}",
            _removal(view, copies),
            tuple(map(str, copies)),
        )
    if again:
        findings.note(
            "duplicates",
            f"{counted(len(again), 'image')} look like others of the same ground, as zooms and "
            f"dates do: {some([str(pair) for pair in again])}",
            "" if found.parts else f"gv-data split {view.path} --by block keeps them together",
            tuple(map(str, again)),
        )


def _described(pairs: list[LookAlike]) -> str:
    return some([f"{pair} ({pair.distance} of {BITS} bits differ)" for pair in pairs])


def _removal(view: Catalog, pairs: list[LookAlike]) -> str:
    second = pairs[0].ids[1].replace("'", "''")
    return (
        f"look at them, and take one of each out: gv-data remove {view.path} --where "
        f"\"id = '{second}'\""
    )


def _pairs(
    hashes: Shaped[np.ndarray, " n"], part: Int[np.ndarray, " n"], *, turns: bool
) -> Int[np.ndarray, "3 k"]:
    """Positions of pairs and their distances.

    Equal images of one part are searched for as one, so that a thousand copies are no million
    pairs: each of them is a pair with the first, and with one of each equal group it is near to.
    """
    keys = np.stack([hashes.astype(np.uint64), part.astype(np.uint64)], axis=1)
    unit, group = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    ends = np.bincount(group, minlength=len(unit)).cumsum()
    members = np.split(order, ends[:-1]) if len(unit) else []
    found = list(_of_groups(members))
    near = near_hashes(unit[:, 0], DISTANCE_MAX, TURNS if turns else TURNS[:1])
    for a, b, distance in zip(near.first, near.second, near.distance, strict=True):
        ours, theirs = members[a], members[b]
        count = max(len(ours), len(theirs))
        both = np.stack([np.resize(ours, count), np.resize(theirs, count)])
        found.append(np.concatenate([np.sort(both, axis=0), np.full((1, count), distance)]))
    return np.concatenate([np.empty((3, 0), np.int64), *found], axis=1)


def _of_groups(members: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Each further member of a group with its first."""
    for same in members:
        if len(same) > 1:
            first, others = np.broadcast_to(same[0], len(same) - 1), same[1:]
            yield np.stack([first, others, np.zeros_like(others)])


def _is_nearest(
    pairs: Int[np.ndarray, "3 k"], part: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " k"]:
    """Which pairs tell an image its nearest: before it in its own part, anywhere in another."""
    first, second, apart = pairs
    nearest = np.zeros(len(first), bool)
    for image, other, asked in (
        (second, first, np.ones(len(first), bool)),
        (first, second, part[first] != part[second]),
    ):
        order = np.flatnonzero(asked)
        keys = other[order], apart[order], part[other[order]], image[order]
        order = order[np.lexsort(keys)]
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(image[order]) != 0) | (np.diff(part[other[order]]) != 0)
        nearest[order[new]] = True
    return nearest


def _same_ground(
    view: Catalog, first: Int[np.ndarray, " k"], second: Int[np.ndarray, " k"]
) -> Bool[np.ndarray, " k"]:
    """Which pairs show the same ground; positions count the images of the view."""
    if not len(first):
        return np.zeros(0, bool)
    grounds = Grounds.of(view)
    ours, theirs = grounds.ground[first], grounds.ground[second]
    same = (ours == theirs) & (ours >= 0)
    rest = np.flatnonzero((ours != theirs) & (ours >= 0) & (theirs >= 0))
    a, b = grounds.outlines[ours[rest]], grounds.outlines[theirs[rest]]
    smaller = np.minimum(shapely.area(a), shapely.area(b))
    same[rest] = shapely.area(shapely.intersection(a, b)) > SAME_GROUND * smaller
    return same
