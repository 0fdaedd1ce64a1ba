"""From files as people have them to a catalog.

Each image is opened once and read once, in blocks: its place on the ground, its bands and the exact
moments of its values are kept, so that nothing needs to be opened again to choose, count or
normalise. Broken files are recorded and left out; the rest goes on.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from gv_data import atomic
from gv_data.catalog import Catalog
from gv_data.engine import mapped
from gv_data.errors import CatalogError, DataError
from gv_data.intake.image_row import Part, check_beside, describe, open_image, whole
from gv_data.intake.inputs import Beside, Input, find
from gv_data.labels.labels import Labels
from gv_data.locations import beyond, common_folder, is_remote, located
from gv_data.measure.catalog_statistics import measure_catalog
from gv_data.rasters.raster import Scene
from gv_data.sources import Source
from gv_data.statistics import Statistics
from gv_data.store import statistics_table, table_files
from gv_data.store.tables import IMAGES


@dataclass(frozen=True)
class Indexed:
    """What indexing found.

    Attributes:
        catalog: The catalog, with the new rows.
        new: A view of the new rows.
        added: Number of new rows.
        refused: The files that could not be used, with the reason.
        objects: Number of labels that lie on the new images.
        outside: Number of labels that lie on none of them.
        repaired: Number of labels whose outline crossed itself and was mended.
        dropped: Number of features of the label file that are no polygon, and were left out.
        unlabelled: Number of new images without a single label.
    """

    catalog: Catalog
    new: Catalog
    added: int
    refused: tuple[tuple[Path, str], ...]
    objects: int
    outside: int
    repaired: int
    dropped: int
    unlabelled: int

    @classmethod
    def nothing(cls, catalog: Catalog) -> Self:
        """All files were there already."""
        return cls(catalog, catalog.where("false"), 0, (), 0, 0, 0, 0, 0)

    @property
    def labels_said(self) -> str:
        """How many labels lie where, and what had to be done to them, for people."""
        parts = [f"{self.objects:,} on images"]
        if self.outside:
            parts.append(f"{self.outside:,} outside all of them")
        if self.repaired:
            parts.append(f"{self.repaired:,} crossed themselves and were repaired")
        if self.dropped:
            parts.append(f"{self.dropped:,} left out because they are no polygons")
        if self.unlabelled:
            parts.append(f"{self.unlabelled:,} images without a label")
        return ", ".join(parts)


@dataclass(frozen=True)
class _Found:
    """What an image holds: the row, statistics and label numbers of each of its parts."""

    parts: list[tuple[dict[str, Any], Statistics | None, set[int]]]
    reached: bool
    """Whether labels are complete anywhere on it."""


def index(
    inputs: Sequence[Path],
    out: Path,
    *,
    labels: Path | None = None,
    labelled_area: Path | None = None,
    labels_crs: str | None = None,
    swap_xy: bool = False,
    label_column: str | None = None,
    masks: Path | None = None,
    class_folders: bool = False,
    classes: Sequence[str] = (),
    mask_values: Sequence[int] = (),
    ignore: Sequence[int] = (),
    pairs: Mapping[str, Path] | None = None,
    bands: Sequence[str] = (),
    scale: Sequence[float] = (),
    offset: Sequence[float] = (),
    nodata: float | None = None,
    place: str | None = None,
    append: bool = False,
    update: bool = False,
    measured: bool = True,
    georeference: bool = True,
    parts: Callable[[Scene, Labels | None], Sequence[Part]] | None = None,
    track: Callable[[Iterator[Any], int], Iterable[Any]] = lambda found, total: found,
) -> Indexed:
    """Make or extend a catalog.

    Args:
        inputs: Images, or folders that are searched for them. An image is called after its file,
            with the folders between it and the given one.
        out: Folder of the catalog.
        labels: Polygons, in any CRS; they stay where they are and are rasterised on reading.
        labelled_area: Polygons inside which the labels are complete; elsewhere nothing is learnt
            and nothing counted. None means everywhere.
        labels_crs: CRS that the label files are in, whatever they say; None believes them.
        swap_xy: Whether the label files hold y before x.
        label_column: Attribute of the polygons that names their class; None: there is one class.
        masks: Folder of rasters of classes, named as the images, with the same pixels.
        class_folders: Whether the folder of an image is the class of the whole image. Folders above
            it called train, val or test say its split.
        classes: Names of the classes in the order of their numbers; see `Source.classes`. None
            given: all that occur.
        mask_values: Value on disk of each class of a mask, where it is not its number.
        ignore: Values of a mask that say nothing.
        pairs: Folders of further rasters of the same ground, named as the images, by the name of
            the column that they become: another sensor, another date, heights.
        bands: Names of the bands, whatever the files say.
        scale: What values are multiplied by, for all bands or each, whatever the files say.
        offset: What is added then.
        nodata: Value of missing pixels, whatever the files say.
        place: Name of the place; it begins the ids.
        append: Whether to add to an existing catalog.
        update: As ``append``, but images that are there already are left as they are when their
            file is still of the same size and time, and indexed again when it is not.
        measured: Whether to read all pixels for their statistics; see also
            `gv_data.measure.catalog_statistics`.
        georeference: Whether images without CRS are refused (polygons cannot be laid over them).
        parts: Cuts an open image into rows of their own; None makes one row of it. Parts without
            any data are left out.
        track: Wraps what is found in the images, of a known number, to show progress.

    Returns:
        The catalog and what was odd.

    Raises:
        CatalogError: If there is nothing to index, an id is taken, or ``out`` exists and neither
            ``append`` nor ``update`` is set. Nothing is written then.
        DataError: If the labels cannot be read, are empty, or touch none of the images.
    """
    if labels is None and (labelled_area or labels_crs or swap_xy or label_column):
        raise CatalogError(
            "a labelled area, a CRS, swapped axes and a column of labels need labels"
        )
    if masks is None and (mask_values or ignore):
        raise CatalogError("values of classes and ignored ones are those of masks: give masks")
    if (labels is not None) + (masks is not None) + class_folders > 1:
        raise CatalogError("labels are polygons, masks or folders: give one of them")
    inputs, out = [located(one) for one in inputs], located(out)
    labels, labelled_area, masks = (
        None if place is None else located(place) for place in (labels, labelled_area, masks)
    )
    pairs = {name: located(folder) for name, folder in (pairs or {}).items()}
    for name in pairs:
        if not name.isidentifier() or name in (*IMAGES.names, "geometry", "bbox", "edge", "valid"):
            raise CatalogError(f"a pair cannot be called {name!r}: choose another name")
    old = existing(out, append=append or update)
    files = _wanted(inputs, place, old, update=update)
    if not files and old:
        return Indexed.nothing(old)
    known = None
    if labels is not None:
        known = Labels.read(
            labels,
            labelled_area=labelled_area,
            crs=labels_crs,
            swap_xy=swap_xy,
            column=label_column,
            classes=classes,
        )
        classes = known.classes
    if class_folders:
        classes = tuple(classes) or tuple(sorted({image.label for image in files}))
    beside = {"mask": Beside(masks)} if masks else {}
    beside |= {name: Beside(folder) for name, folder in pairs.items()}
    further = {image: _beside(image, beside) for image in files}
    root = common_folder(
        [
            *(image.file for image in files),
            *(file for found in further.values() for file in found.values()),
            *filter(None, (labels, labelled_area)),
        ]
    )
    source = Source(
        root=str(root),
        labels_crs=labels_crs,
        labels_swapped=swap_xy,
        label_column=label_column,
        classes=tuple(classes),
        mask_values=tuple(mask_values),
        ignore=tuple(ignore),
        bands=tuple(bands),
        scale=tuple(scale),
        offset=tuple(offset),
        nodata=nodata,
        assets=tuple(pairs),
    )
    same = {
        "vectors": None if labels is None else _relative(labels, root),
        "labelled_area": None if labelled_area is None else _relative(labelled_area, root),
        "place": place,
    }

    def read(image: Input) -> _Found | str:
        if class_folders and image.label not in classes:
            return f"{image.file} lies in a folder that is none of the classes {', '.join(classes)}"
        try:
            with open_image(
                image.file, source, georeferenced=georeference or known is not None
            ) as scene:
                check_beside(scene, further[image])
                chosen = parts(scene, known) if parts else [whole(scene)]
                found = [
                    describe(scene, part, known, image.id, measured=measured) for part in chosen
                ]
                reached = known is None or known.reach(scene.grid)
        except DataError as error:
            return str(error)
        kept = [one for one in found if one[1] is None or one[1].valid]
        nothing = f"{image.file} holds no data: every pixel is nodata"
        return _Found(kept, reached) if kept else nothing

    workers = len(os.sched_getaffinity(0))
    results = dict(track(mapped(read, files, workers=workers), len(files)))
    rows, statistics, refused = [], [], []
    touched: set[int] = set()
    for image in files:
        named = {
            "image": _relative(image.file, root),
            **same,
            **{name: _relative(file, root) for name, file in further[image].items()},
        }
        if class_folders:
            named |= {"label": image.label, "split": image.split}
        match results[image]:
            case str(reason):
                refused.append((image.file, reason))
                stamp = dict(zip(("bytes", "modified_ns"), _stamp(image.file) or (), strict=False))
                rows.append({"id": image.id, **named, **stamp, "error": reason.splitlines()[0]})
            case found:
                for row, figures, on_it in found.parts:
                    touched |= on_it
                    rows.append({**row, **named})
                    if figures is not None:
                        table = statistics_table.rows(row["id"], "image", image.file, figures)
                        statistics.append(table)
    used = [row for row in rows if "error" not in row]
    if not used:
        reasons = "\n".join(reason for _, reason in refused[:3])
        raise CatalogError(f"none of {len(files)} images can be used:\n{reasons}")
    if known and not touched:
        bounds = [row["geometry"].bounds for row in used]
        raise CatalogError(known.why_outside(bounds, images_crs=used[0]["crs"]))
    if not any(found.reached for found in results.values() if isinstance(found, _Found)):
        raise CatalogError(f"{labelled_area} and the images do not overlap")
    if masks and not any("mask" in row for row in used):
        raise CatalogError(
            f"no raster in {masks} has the name of an image, such as {files[0].name}"
        )
    new = table_files.Rows.of([{**row, "source": 0} for row in rows])
    number = add(out, new, statistics, [source], append=append or update, update=update)
    catalog = Catalog.open(out)
    if measured:
        measure_catalog(catalog.where(f"source = {number}"))  # what is left: counts of labels
    bare = sum(row.get("objects") == 0 for row in used) if known else 0
    return Indexed(
        catalog,
        catalog.where(f"source = {number}"),
        added=len(used),
        refused=tuple(refused),
        objects=len(touched),
        outside=len(known) - len(touched) if known else 0,
        repaired=known.repaired if known else 0,
        dropped=known.dropped if known else 0,
        unlabelled=sum("mask" not in row for row in used) if masks else bare,
    )


def _wanted(
    inputs: Sequence[Path], place: str | None, old: Catalog | None, *, update: bool
) -> list[Input]:
    """The images to read.

    Raises:
        CatalogError: If two would have the same id.
    """
    there = _known_files(old) if old else {}
    taken = set() if update else set(there)
    wanted = []
    for image in find(inputs, place):
        if image.id in taken:
            raise CatalogError(
                f"two images would be called {image.id}: {image.file} and one that is there "
                "already\n  try: another --place"
            )
        taken.add(image.id)
        if not update or there.get(image.id) is None or there[image.id] != _stamp(image.file):
            wanted.append(image)
    return wanted


def _beside(image: Input, folders: Mapping[str, Beside]) -> dict[str, Path]:
    """The further rasters of an image."""
    found = {name: folder.of(image) for name, folder in folders.items()}
    return {name: file for name, file in found.items() if file is not None}


def _known_files(catalog: Catalog) -> dict[str, tuple[int, int] | None]:
    """Size and time of the files as they were indexed, by id; None where that failed."""
    table = catalog.sql(
        "SELECT id, bytes, modified_ns, true AS usable FROM images "
        "UNION ALL SELECT id, bytes, modified_ns, false FROM errors"
    )
    return {
        id: (size, time) if usable else None
        for id, size, time, usable in zip(*table.to_pydict().values(), strict=True)
    }


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        seen = file.stat()
    except OSError:  # told where it is opened
        return None
    return seen.st_size, seen.st_mtime_ns


def existing(out: Path, *, append: bool) -> Catalog | None:
    """The catalog of a folder, or None.

    Raises:
        CatalogError: If there is one and ``append`` is not set.
    """
    if not (out / "images.parquet").exists():
        return None
    if not append:
        raise CatalogError(
            f"{out} is a catalog already\n  try: --append to add to it, or another --out"
        )
    return Catalog.open(out)


def _relative(file: Path, root: Path) -> str:
    return beyond(file.resolve(), root)


def add(
    out: Path,
    new: table_files.Rows,
    statistics: Sequence[pa.Table],
    sources: Sequence[Source],
    *,
    append: bool,
    update: bool,
) -> int:
    """Add rows to a catalog, all or none.

    Args:
        out: Folder of the catalog.
        new: The rows; their ``source`` counts ``sources`` from 0.
        statistics: Rows for them.
        sources: What their files do not say themselves.
        append: Whether the catalog may be there already.
        update: Whether rows may take the place of others with their ids.

    Returns:
        The number of the first of the sources in the catalog.

    Raises:
        CatalogError: If the catalog is there and may not be, or has an image of the same id.
    """
    if not is_remote(out):
        out.mkdir(parents=True, exist_ok=True)
    with atomic.locked(out):
        old = existing(out, append=append)  # as it is now: another process may have added to it
        known = old.sources if old else []
        ids = set(new.columns["id"].to_pylist())
        taken = ids & set(_known_files(old)) if old else set()
        if taken and not update:
            raise CatalogError(f"{min(taken)} is in {out} already\n  try: another --place")
        table_files.write_description(out, [*known, *sources])
        numbers = pa.array(new.columns["source"].to_numpy() + len(known))
        table_files.replace_rows(out, ids, new.with_column("source", numbers), statistics)
    return len(known)


def remove(view: Catalog) -> int:
    """Remove the images of a view from their catalog; the files stay.

    Args:
        view: What to remove.

    Returns:
        The number of images removed.

    Raises:
        CatalogError: If the catalog cannot be read or written.
    """
    ids = set(view.sql("SELECT id FROM images")["id"].to_pylist())
    with atomic.locked(view.path):
        table_files.replace_rows(view.path, ids, None, [])
    return len(ids)
