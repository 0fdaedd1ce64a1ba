"""One image becomes training and validation ground that do not touch.

Neighbouring pixels resemble each other, so validation has to lie apart: the ground is cut into
square blocks, some are drawn for validation, and what lies closer to them than a buffer belongs to
neither part. What remains for training is merged into rectangles as large as they get.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int

from gv_data.errors import DataError
from gv_data.grid import Grid
from gv_data.intake.image_row import Part
from gv_data.labels.labels import Labels
from gv_data.rasters.raster import Scene

BLOCKS_WANTED = 8
"""Blocks become smaller than asked for until this many hold known ground."""

BLOCK_PX_MIN = 32
"""Smallest side of a block: below it no window shows what stands around an object."""

_DRAWS = 64
_PREVIEW_PX = 1024


def blocks(
    scene: Scene,
    labels: Labels | None,
    *,
    block_m: float = 60.0,
    val_share: float = 0.15,
    buffer_m: float = 10.0,
    seed: int = 0,
) -> Sequence[Part]:
    """Cut an image into training and validation parts, for ``parts`` of `gv_data.index`.

    Args:
        scene: An open, georeferenced image.
        labels: What lies on it, with the area in which labels are complete; ground outside that
            area is never validation.
        block_m: Side of the blocks on the ground. They become smaller in small images, and are
            never smaller than `BLOCK_PX_MIN` pixels or ``buffer_m``.
        val_share: Share of the blocks for validation, at least one block; among draws the one is
            taken in which validation holds nearest to this share of ground and of labels, and at
            least one label if two blocks have any.
        buffer_m: Least distance on the ground between training and validation.
        seed: Decides which blocks.

    Returns:
        Rectangles that do not overlap, named ``-train-01`` and ``-val-01`` onwards.

    Raises:
        DataError: If the image is too small, or a setting makes no sense.
        RasterError: If the image is not georeferenced.
    """
    if not 0 < val_share <= 0.5 or block_m <= 0 or buffer_m < 0:
        raise DataError(
            "blocks need 0 < val_share <= 0.5, block_m > 0 and buffer_m >= 0, got "
            f"{val_share}, {block_m} and {buffer_m}"
        )
    pixel_m = _smallest_pixel_m(scene.grid)
    least_m = max(buffer_m, BLOCK_PX_MIN * max(pixel_m))
    known = _known_ground(scene, labels)
    layout = _lay_out(scene.grid, known, pixel_m, max(block_m, least_m), least_m)
    centres = _label_centres(scene.grid, labels, known)
    buffer_px = (math.ceil(buffer_m / pixel_m[0]), math.ceil(buffer_m / pixel_m[1]))
    spare = None
    for chosen in _draws(layout, centres, val_share, np.random.default_rng(seed)):
        train, val = _cut(layout, chosen, buffer_px)
        if not train:
            continue
        spare = spare or (train, val)
        if not len(centres) or _holds_any(train, centres):
            return _parts(train, val)
    if spare is None:
        height_m, width_m = (n * m for n, m in zip(scene.grid.shape_hw, pixel_m, strict=True))
        raise DataError(
            f"{scene.path} is too small to split: {width_m:,.0f} x {height_m:,.0f} m, "
            f"{known.mean():.0%} of it known ground, leave no room for two blocks of "
            f"{least_m:,.0f} m with {buffer_m:,.0f} m between them\n"
            "  try: a second image, on other ground"
        )
    return _parts(*spare)


type _Rectangle = tuple[int, int, int, int]
"""First row, first column, end row, end column in pixels."""


@dataclass(frozen=True)
class _Layout:
    """Blocks of an image.

    Attributes:
        rows: Pixel rows at which blocks begin and end.
        columns: Pixel columns at which blocks begin and end.
        known: Share of each block that holds image inside the labelled area.
    """

    rows: Int[np.ndarray, " n+1"]
    columns: Int[np.ndarray, " m+1"]
    known: Float[np.ndarray, "n m"]


def _smallest_pixel_m(grid: Grid) -> tuple[float, float]:
    """Height and width of the smallest pixel: in Mercator or degrees they differ by latitude."""
    corners = [
        grid.part(row, column, 1, 1).pixel_m
        for row in (0, grid.height_px - 1)
        for column in (0, grid.width_px - 1)
    ]
    return min(height for height, _ in corners), min(width for _, width in corners)


def _known_ground(scene: Scene, labels: Labels | None) -> Bool[np.ndarray, "h w"]:
    """Where there is image and labels are complete, decimated."""
    height, width = (min(size, _PREVIEW_PX) for size in scene.grid.shape_hw)
    _, known = scene.read(shape_hw=(height, width), bands=scene.bands[:1])
    if labels is not None:
        scale = (scene.grid.width_px / width, scene.grid.height_px / height)
        transform = scene.grid.transform @ scene.grid.transform.scale(*scale)
        known &= labels.on(Grid(scene.grid.crs, transform, height, width)).labelled
    return known


def _lay_out(
    grid: Grid,
    known: Bool[np.ndarray, "h w"],
    pixel_m: tuple[float, float],
    block_m: float,
    least_m: float,
) -> _Layout:
    """Blocks of at most ``block_m``, smaller until enough of them hold known ground."""
    while True:
        counts = [
            max(1, round(size * side / block_m))
            for size, side in zip(grid.shape_hw, pixel_m, strict=True)
        ]
        edges = [
            np.linspace(0, size, count + 1).round().astype(int)
            for size, count in zip(grid.shape_hw, counts, strict=True)
        ]
        shares = _block_means(known, counts)
        if np.count_nonzero(shares) >= BLOCKS_WANTED or block_m <= least_m:
            return _Layout(edges[0], edges[1], shares)
        block_m = max(least_m, 0.9 * block_m)


def _block_means(known: Bool[np.ndarray, "h w"], counts: list[int]) -> Float[np.ndarray, "n m"]:
    rows, columns = (
        np.linspace(0, size, count, endpoint=False).round().astype(int)
        for size, count in zip(known.shape, counts, strict=True)
    )
    sums = np.add.reduceat(np.add.reduceat(known.astype(float), rows, axis=0), columns, axis=1)
    heights = np.diff(np.r_[rows, known.shape[0]])
    widths = np.diff(np.r_[columns, known.shape[1]])
    return sums / np.outer(heights, widths)


def _label_centres(
    grid: Grid, labels: Labels | None, known: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "n 2"]:
    """Row and column of the labels that are learnt from."""
    if labels is None:
        return np.empty((0, 2))
    corners = shapely.bounds(labels.polygons(grid)).reshape(-1, 2, 2)
    centres = grid.pixels(corners.mean(axis=1))[:, ::-1]
    inside = ((centres >= 0) & (centres < grid.shape_hw)).all(axis=1)
    centres = centres[inside]
    row, column = (centres * known.shape / grid.shape_hw).astype(int).T
    return centres[known[row, column]]


def _draws(
    layout: _Layout,
    centres: Float[np.ndarray, "n 2"],
    val_share: float,
    rng: np.random.Generator,
) -> Iterator[Bool[np.ndarray, "n m"]]:
    """Choices of validation blocks, the best balanced first."""
    labelled, _, _ = np.histogram2d(centres[:, 0], centres[:, 1], [layout.rows, layout.columns])
    ground = (layout.known * np.outer(np.diff(layout.rows), np.diff(layout.columns))).ravel()
    objects = labelled.ravel()
    candidates = np.flatnonzero(layout.known.ravel() > layout.known.max() / 2)
    count = max(1, round(val_share * len(candidates)))
    with_labels = candidates[objects[candidates] > 0]
    if len(candidates) < 2:
        return
    found = []
    for _ in range(_DRAWS):
        drawn = rng.permutation(candidates)
        if np.count_nonzero(objects) > 1 and len(with_labels):
            first = rng.choice(with_labels)
            drawn = np.r_[first, drawn[drawn != first]]
        drawn = drawn[:count]
        shares = [
            values[drawn].sum() / values.sum() for values in (ground, objects) if values.any()
        ]
        all_labels = objects.any() and objects[drawn].sum() == objects.sum()
        found.append((all_labels, sum(abs(share - val_share) for share in shares), drawn))
    for _, _, drawn in sorted(found, key=lambda draw: draw[:2]):
        chosen = np.zeros(layout.known.size, bool)
        chosen[drawn] = True
        yield chosen.reshape(layout.known.shape)


def _cut(
    layout: _Layout, chosen: Bool[np.ndarray, "n m"], buffer_px: tuple[int, int]
) -> tuple[list[_Rectangle], list[_Rectangle]]:
    """Training and validation rectangles of one choice of blocks."""
    val = _rectangles(chosen, layout.rows, layout.columns)
    grown = [
        (top - buffer_px[0], left - buffer_px[1], bottom + buffer_px[0], right + buffer_px[1])
        for top, left, bottom, right in val
    ]
    # cells between all lines at which a block or a buffer ends
    rows = _lines(layout.rows, [edge for box in grown for edge in box[::2]])
    columns = _lines(layout.columns, [edge for box in grown for edge in box[1::2]])
    block = np.ix_(
        np.searchsorted(layout.rows, rows[:-1], "right") - 1,
        np.searchsorted(layout.columns, columns[:-1], "right") - 1,
    )
    free = (layout.known > 0)[block]
    for top, left, bottom, right in grown:
        down = (rows[:-1] >= top) & (rows[:-1] < bottom)
        across = (columns[:-1] >= left) & (columns[:-1] < right)
        free[np.ix_(down, across)] = False
    thin = min(np.diff(layout.rows).min(), np.diff(layout.columns).min()) / 4
    train = _rectangles(free, rows, columns)
    return [box for box in train if min(box[2] - box[0], box[3] - box[1]) >= thin], val


def _lines(edges: Int[np.ndarray, " n"], more: list[int]) -> Int[np.ndarray, " m"]:
    return np.unique(np.clip(np.r_[edges, np.array(more, int)], 0, edges[-1]))


def _rectangles(
    free: Bool[np.ndarray, "n m"], rows: Int[np.ndarray, " n+1"], columns: Int[np.ndarray, " m+1"]
) -> list[_Rectangle]:
    """Rectangles that cover the free cells: the largest first, then that of the rest."""
    free = free.copy()
    found = []
    while free.any():
        top, left, bottom, right = _largest(free, rows, columns)
        free[top:bottom, left:right] = False
        found.append((int(rows[top]), int(columns[left]), int(rows[bottom]), int(columns[right])))
    return sorted(found)


def _largest(
    free: Bool[np.ndarray, "n m"], rows: Int[np.ndarray, " n+1"], columns: Int[np.ndarray, " m+1"]
) -> _Rectangle:
    """First row, first column, end row, end column (in cells) of the rectangle with most pixels."""
    heights = np.zeros(free.shape, int)  # of the free column that ends in each cell
    above = np.zeros(free.shape[1], int)
    for row, height in enumerate(np.diff(rows)):
        above = (above + height) * free[row]
        heights[row] = above
    best, found = 0, (0, 0, 0, 0)
    lowest = heights
    for width in range(1, free.shape[1] + 1):
        if width > 1:
            lowest = np.minimum(lowest[:, :-1], heights[:, width - 1 :])
        if not lowest.any():
            break
        areas = lowest * (columns[width:] - columns[:-width])
        row, left = np.unravel_index(areas.argmax(), areas.shape)
        if areas[row, left] > best:
            best = areas[row, left]
            top = int(np.searchsorted(rows, rows[row + 1] - lowest[row, left]))
            found = (top, int(left), int(row) + 1, int(left) + width)
    return found


def _holds_any(rectangles: list[_Rectangle], centres: Float[np.ndarray, "n 2"]) -> bool:
    return any(((centres >= box[:2]) & (centres < box[2:])).all(axis=1).any() for box in rectangles)


def _parts(train: list[_Rectangle], val: list[_Rectangle]) -> list[Part]:
    return [
        Part(f"-{split}-{n:02d}", top, left, bottom - top, right - left, split)
        for split, rectangles in (("train", train), ("val", val))
        for n, (top, left, bottom, right) in enumerate(rectangles, 1)
    ]
