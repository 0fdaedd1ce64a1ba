"""Rules about training and validation images that need a look at their pixels."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from jaxtyping import Bool, Float

from gv_data.catalog import Catalog
from gv_data.checks.alignment import Correlation, correlate, step_m
from gv_data.checks.file_rules import Track, untracked
from gv_data.checks.glance import SIDE, Void, glance, unmarked_void
from gv_data.findings import Findings, some
from gv_data.grid import Grid
from gv_data.images import Image
from gv_data.labels.labels import Labels
from gv_data.measure.measuring import pieces
from gv_data.pictures.thumbnails import LabelFiles
from gv_data.rasters.raster import Scene
from gv_data.sources import Source

type Half = Literal["north", "south", "west", "east"]

LABEL_BYTES_MAX = 20 * 2**20
"""Larger label files take longer to read than a check may last."""

MASK_PIECES_MAX = 64
"""Pieces of a mask, of some megabytes each, that are read for the values it holds."""

ALONE_MIN = 25
"""Labels on an image that can tell a shift by themselves; images with fewer are taken together."""

ONE_SIDED_MIN = 12
"""So many labels on one side are no accident."""

CELL_MIN_M = 25.0
"""Where a quarter of an image's side is shorter, a street can leave half of it without houses."""

_ALIGN_PX = 768
_ALIGN_SOURCE_PX = 4096
_OPPOSITE: Mapping[Half, Half] = {
    "north": "south",
    "south": "north",
    "west": "east",
    "east": "west",
}


def look_at_images(
    findings: Findings,
    *views: Catalog,
    gsd_m: float | None,
    seed: int,
    count: int | None = None,
    label_bytes_max: float | None = None,
    files: LabelFiles | None = None,
    track: Track = untracked,
) -> int:
    """Look at files in random order while there is time.

    Args:
        findings: Where to note what is found.
        views: The images; parts of one file are looked at together.
        gsd_m: Ground sampling distance of training; None: that of each image.
        seed: Decides the order.
        count: How many files to look at; None: all.
        label_bytes_max: Larger label files are not read; None: `LABEL_BYTES_MAX`.
        files: The label files read so far.
        track: Shows progress.

    Returns:
        Number of files looked at.
    """
    rows = {
        file: (view.images, row) for view in views for row, file in enumerate(view.images.files)
    }
    order = np.random.default_rng(seed).permutation(list(rows))[:count].tolist()
    labels = _SmallFiles(findings, files or LabelFiles(), label_bytes_max or LABEL_BYTES_MAX)
    voids: dict[str, Void] = {}
    halves: dict[str, Half] = {}
    strange: dict[str, list[float]] = {}
    fits = _Fits()
    looked = 0
    for file in track(order, "looking", len(order)):
        if looked and not findings.in_time:
            break
        images, row = rows[file]
        image = images[row]
        name = image.path.name
        with (
            findings.looking(),
            Scene(image.path, driver=image.driver, source=image.source) as scene,
        ):
            seen = glance(scene, gsd_m, in_time=lambda: findings.in_time)
            looked += 1
            void = unmarked_void(seen, scene.dtype)
            if void is not None:
                voids[name] = void
            if image.mask is not None and image.source.classes:
                findings.apply("mask-values")
                if values := _strange_values(image.mask, image.source):
                    strange[image.mask.name] = values
            known = labels.of(image)
            if known is None or scene.grid.crs is None:
                continue
            centres = _centres(scene.grid, known)
            if image.labelled_area is None:
                findings.apply("one-sided-labels")
                half = empty_half(scene.grid, centres, seen.shares > 0.5)
                if half is not None:
                    halves[name] = half
            fits.add(image, _fit(scene, known, centres))
    if looked:
        report_voids(findings, voids)
        _report_halves(findings, halves)
        _report_strange(findings, strange)
        fits.report(findings)
    return looked


def report_voids(findings: Findings, voids: Mapping[str, Void]) -> None:
    """Void that files call data would be learnt, or mapped, as ground.

    Args:
        findings: Where to note it.
        voids: By name of the file.
    """
    findings.apply("nodata")
    if voids:
        name, void = max(voids.items(), key=lambda item: item[1].share)
        findings.warn(
            "nodata",
            f"{void.share:.0%} of {name} is {void.value:g} in all bands, joined to its edges, and "
            f"no nodata is set{_more(voids)}",
            f"rio edit-info --nodata {void.value:g} {name}, if that is no ground",
            tuple(voids),
        )


def _report_halves(findings: Findings, halves: Mapping[str, Half]) -> None:
    if halves:
        name, half = next(iter(halves.items()))
        findings.warn(
            "one-sided-labels",
            f"all labels of {name} lie in its {_OPPOSITE[half]} half: is the {half} half "
            f"unlabelled? it counts as empty ground{_more(halves)}",
            "--labelled-area FILE with the area in which labels are complete",
            tuple(halves),
        )


def _report_strange(findings: Findings, strange: Mapping[str, Sequence[float]]) -> None:
    if strange:
        values = sorted(set(chain.from_iterable(strange.values())))
        said = some([f"{value:g}" for value in values])
        findings.warn(
            "mask-values",
            f"masks hold {said}, which no class names: such pixels count as unknown "
            f"({some(list(strange))})",
            f"gv-data index ... --classes with {values[0]:g}=NAME, or --ignore {values[0]:g} if it "
            "says nothing",
            tuple(strange),
        )


def _more(found: Mapping[str, object]) -> str:
    more = len(found) - 1
    return f"; the same in {more:,} more image{'s' if more > 1 else ''}" if more else ""


def _strange_values(mask: Path, source: Source) -> list[float]:
    """Values of a mask that are neither a class nor ignored, on pieces spread over it."""
    known = {*(source.mask_values or range(len(source.classes))), *source.ignore}
    found: set[float] = set()
    with Scene(mask, source=Source(source.root)) as scene:
        whole = list(pieces(scene, (0, 0, *scene.grid.shape_hw)))
        for piece in whole[:: -(-len(whole) // MASK_PIECES_MAX)]:
            values, there = scene.stored(*piece)
            found |= set(np.unique(values[0][there]).tolist())
    return sorted(found - known)


class _SmallFiles:
    """Label files that are not too large to be read in the time of a check."""

    def __init__(self, findings: Findings, files: LabelFiles, bytes_max: float) -> None:
        self._findings = findings
        self._files = files
        self._bytes_max = bytes_max
        self._large: set[Path] = set()

    def of(self, image: Image) -> Labels | None:
        """The polygons of an image; None if it has none, or they are too many, which is told."""
        if image.vectors is None or image.vectors in self._large:
            return None
        size = image.vectors.stat().st_size
        if size > self._bytes_max:
            self._large.add(image.vectors)
            self._findings.warn(
                "shifted-labels",
                f"{image.vectors.name} has {size / 2**20:,.0f} MiB, too much to look for labels "
                "that are shifted or on one side only in the time of a check",
                "gv-data check CATALOG takes the time; or gv-data index with labels cut to the "
                "images",
                (image.vectors.name,),
            )
            return None
        return self._files.of(image)


def _centres(grid: Grid, labels: Labels) -> Float[np.ndarray, "n 2"]:
    """Row and column of the middle of each label whose middle lies on the image."""
    corners = shapely.bounds(labels.polygons(grid)).reshape(-1, 2, 2)
    centres = grid.pixels(corners.mean(axis=1))[:, ::-1]
    return centres[((centres >= 0) & (centres < grid.shape_hw)).all(axis=1)]


def empty_half(
    grid: Grid, centres: Float[np.ndarray, "n 2"], ground: Bool[np.ndarray, "m m"]
) -> Half | None:
    """The half of an image that seems to have been left out when labels were drawn.

    Args:
        grid: Where its pixels lie.
        centres: Row and column of the labels on it.
        ground: Which of `SIDE` x `SIDE` cells hold image.

    Returns:
        A half with image and without a label, while labels are all over the image of the other;
        None if there is none, or too few labels or too little ground to tell.
    """
    sides_m = np.multiply(grid.shape_hw, grid.pixel_m)
    if len(centres) < ONE_SIDED_MIN or sides_m.min() < SIDE * CELL_MIN_M:
        return None
    edges = [np.linspace(0, size, SIDE + 1) for size in grid.shape_hw]
    labelled = np.histogram2d(*centres.T, bins=edges)[0] > 0
    upper, left = np.indices((SIDE, SIDE)) < SIDE // 2
    northern = upper if grid.transform.e < 0 else ~upper
    western = left if grid.transform.a > 0 else ~left
    halves: tuple[tuple[Half, np.ndarray], ...] = (
        ("north", northern),
        ("south", ~northern),
        ("west", western),
        ("east", ~western),
    )
    for name, half in halves:
        with_image, others = np.count_nonzero(ground & half), np.count_nonzero(ground & ~half)
        filled = np.count_nonzero(labelled & ground & ~half)
        # half of the cells with image, and labels in most of the others
        if not (labelled & half).any() and with_image >= SIDE and filled >= max(3, 0.6 * others):
            return name
    return None


def _fit(scene: Scene, labels: Labels, centres: Float[np.ndarray, "n 2"]) -> Correlation | None:
    """How labels fit the image where it has most of them."""
    step = step_m(scene.grid.gsd_m)
    if step is None or not len(centres):
        return None
    shape = np.array(scene.grid.shape_hw)
    wanted = np.minimum(_ALIGN_PX * step / np.array(scene.grid.pixel_m), _ALIGN_SOURCE_PX)
    sides = np.minimum(wanted.astype(int), shape)
    bins = np.ceil(2 * shape / sides).astype(int)
    counts, rows, columns = np.histogram2d(
        *centres.T, bins=bins, range=[(0, size) for size in shape]
    )
    row, column = np.unravel_index(counts.argmax(), counts.shape)
    middle = np.array([rows[row : row + 2].mean(), columns[column : column + 2].mean()])
    top, left = np.clip(middle - sides / 2, 0, shape - sides).astype(int).tolist()
    height, width = sides.tolist()
    grid = scene.grid.part(top, left, height, width).at_gsd(step)
    image, valid = scene.read((top, left, top + height, left + width), grid.shape_hw)
    return correlate(image, valid, grid, labels.polygons(grid), step)


class _Fits:
    """How labels fit images: each with many labels for itself, the others by label file."""

    def __init__(self) -> None:
        self._alone: dict[str, Correlation] = {}
        self._together: dict[tuple[str, float], list[Correlation]] = {}

    def add(self, image: Image, fit: Correlation | None) -> None:
        """Keep the fit of one image."""
        if fit is None or image.vectors is None:
            return
        if fit.labels >= ALONE_MIN:
            self._alone[image.path.name] = fit
        else:
            self._together.setdefault((image.vectors.name, fit.step_m), []).append(fit)

    def report(self, findings: Findings) -> None:
        """Note the clearest shift, and how many there are."""
        shifts = {f"labels of {name}": fit.best() for name, fit in self._alone.items()}
        for (name, _), (first, *others) in self._together.items():
            on = f"{len(others) + 1} image{'s' if others else ''} with few labels"
            shifts[f"labels of {name} on {on}"] = sum(others, first).best()
        if shifts:
            findings.apply("shifted-labels")
        wrong = {name: shift for name, shift in shifts.items() if shift.certain}
        if wrong:
            name, shift = max(wrong.items(), key=lambda item: item[1].peak)
            findings.warn(
                "shifted-labels",
                f"{name} fit best {shift} (peak {shift.peak:.1f} x the scatter, where they are "
                f"{shift.unmoved:.1f} x){_more(wrong)}",
                "look at them over the image in QGIS, and move them there if that is so",
                tuple(wrong),
            )
