"""Proof that the parts of a split share no ground, or the pairs of images that do.

Ground seen in training says nothing in validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import shapely
from jaxtyping import Bool, Int

from gv_data.catalog import Catalog
from gv_data.findings import Finding
from gv_data.splitting.grounds import Grounds, Pairs
from gv_data.vectors.geodesy import area_m2

EXAMPLES = 3


@dataclass(frozen=True)
class SharedGround:
    """Ground that two parts share.

    Attributes:
        parts: The two.
        area_m2: Geodesic area; what is shared several times counts once.
        images: Images of each that show ground of the other.
        examples: Ids of an image of each, the largest common ground first.
    """

    parts: tuple[str | int, str | int]
    area_m2: float
    images: tuple[int, int]
    examples: tuple[tuple[str, str], ...]


def find_shared_ground(view: Catalog, column: str = "split") -> tuple[SharedGround, ...]:
    """Compare the ground of the parts of a view; no image is opened.

    Images that touch share nothing, nor do images without a part or without georeference.

    Args:
        view: A catalog or a part of it.
        column: Names the part of each image; or SQL over columns, to compare other groups.

    Returns:
        The pairs of parts that share ground: none if the split is clean.

    Raises:
        CatalogError: If there is no such column.
    """
    table = view.sql(f"SELECT id, (\n{column}\n) AS part FROM images ORDER BY id")
    values = table["part"].to_pylist()
    names = sorted({value for value in values if value is not None})
    parts = np.array([-1 if value is None else names.index(value) for value in values], int)
    grounds = Grounds.of(view)
    ids = table["id"].to_pylist()
    return compare(grounds, grounds.overlapping(), ids, parts, names)


def compare(
    grounds: Grounds,
    overlapping: Pairs,
    ids: Sequence[str],
    parts: Int[np.ndarray, " n"],
    names: Sequence[str | int],
    judged: Bool[np.ndarray, " n"] | None = None,
) -> tuple[SharedGround, ...]:
    """Compare the ground of parts that need not be written anywhere.

    Args:
        grounds: Where the images lie.
        overlapping: The pairs of grounds that overlap.
        ids: Of the images.
        parts: Position of the part of each image in ``names``; -1 is none.
        names: Of the parts.
        judged: Only ground that one of these images shows counts; None: all.
    """
    placed = (grounds.ground >= 0) & (parts >= 0)
    ours = placed if judged is None else placed & judged
    shown, shown_by_ours = (_shown(grounds, parts, chosen, len(names)) for chosen in (placed, ours))
    each = np.arange(len(grounds))
    pairs = np.concatenate([np.stack([each, each], axis=1), overlapping, overlapping[:, ::-1]])
    found = []
    for a, b in combinations(range(len(names)), 2):
        first, second = pairs.T
        meet = shown_by_ours[first, a] & shown[second, b]
        meet |= shown[first, a] & shown_by_ours[second, b]
        if meet.any():
            found.append(_described(grounds, pairs[meet], ids, parts, names, (a, b)))
    return tuple(found)


def finding(shared: Sequence[SharedGround]) -> Finding | None:
    """What a check says of it; None if no ground is shared.

    Args:
        shared: What two parts share, for all that do.
    """
    if not shared:
        return None
    texts = []
    for one in shared:
        (a, b), (of_a, of_b) = one.parts, one.images
        examples = ", ".join(" + ".join(pair) for pair in one.examples)
        texts.append(
            f"{a} and {b} share {one.area_m2:,.0f} m2 of ground, on {of_a:,} and {of_b:,} images "
            f"({examples})"
        )
    return Finding("failure", "shared-ground", "; ".join(texts), "gv-data split CATALOG --by block")


def _shown(
    grounds: Grounds, parts: Int[np.ndarray, " n"], chosen: Bool[np.ndarray, " n"], count: int
) -> Bool[np.ndarray, "g p"]:
    """Whether a chosen image of a part shows a ground."""
    shown = np.zeros((len(grounds), count), bool)
    shown[grounds.ground[chosen], parts[chosen]] = True
    return shown


def _described(
    grounds: Grounds,
    pairs: Pairs,
    ids: Sequence[str],
    parts: Int[np.ndarray, " n"],
    names: Sequence[str | int],
    two: tuple[int, int],
) -> SharedGround:
    """What two parts share, from the pairs of their grounds that overlap."""
    first, second = pairs.T
    common = shapely.area(shapely.intersection(grounds.outlines[first], grounds.outlines[second]))
    ground = [shapely.union_all(grounds.outlines[np.unique(side)]) for side in (first, second)]
    a, b = (
        np.flatnonzero((parts == part) & np.isin(grounds.ground, side))
        for part, side in zip(two, (first, second), strict=True)
    )
    largest = pairs[np.argsort(-common, kind="stable")[:EXAMPLES]]
    return SharedGround(
        parts=(names[two[0]], names[two[1]]),
        area_m2=float(area_m2([shapely.intersection(*ground)], "OGC:CRS84")[0]),
        images=(len(a), len(b)),
        examples=tuple(
            (ids[a[grounds.ground[a] == x][0]], ids[b[grounds.ground[b] == y][0]])
            for x, y in largest
        ),
    )
