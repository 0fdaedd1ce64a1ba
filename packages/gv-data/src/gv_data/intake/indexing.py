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

from gv_data.catalog import Catalog
from gv_data.engine import mapped
from gv_data.errors import CatalogError, DataError
from gv_data.intake import label_inputs
from gv_data.intake.catalog_rows import add, existing, known_files, stamp, withdraw
from gv_data.intake.dates import DatePattern
from gv_data.intake.gathering import Gathered, Indexed
from gv_data.intake.inputs import Beside, Input, find
from gv_data.intake.label_inputs import LabelFile
from gv_data.intake.reading import Cut, Reading
from gv_data.locations import beyond, common_folder, located
from gv_data.measure.catalog_statistics import measure_catalog
from gv_data.sources import Source, check_sample_name
from gv_data.store.tables import IMAGES

_TAKEN = (*IMAGES.names, "geometry", "bbox", "start", "end")
"""Names of columns, which no pair may have."""


def index(
    inputs: Sequence[Path],
    out: Path,
    *,
    labels: Path | None = None,
    labelled_area: Path | None = None,
    labels_crs: str | None = None,
    swap_xy: bool = False,
    label_column: str | None = None,
    line_width_m: float | None = None,
    line_width_column: str | None = None,
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
    dates: str | None = None,
    place: str | None = None,
    append: bool = False,
    update: bool = False,
    measured: bool = True,
    georeference: bool = True,
    parts: Cut | None = None,
    track: Callable[[Iterator[Any], int], Iterable[Any]] = lambda found, total: found,
) -> Indexed:
    """Make or extend a catalog.

    Args:
        inputs: Images, or folders that are searched for them. An image is called after its file,
            with the folders between it and the given one.
        out: Folder of the catalog.
        labels: Polygons, in any CRS, or objects of each image as COCO JSON; they stay where they
            are and are rasterised on reading.
        labelled_area: Polygons inside which the labels are complete; elsewhere nothing is learnt
            and nothing counted. None means everywhere.
        labels_crs: CRS that the label files are in, whatever they say; None believes them.
        swap_xy: Whether the label files hold y before x.
        label_column: Attribute of the polygons that names their class; None: there is one class.
        line_width_m: Width of lines such as roads on the ground, which makes them polygons. None:
            lines are left out.
        line_width_column: Attribute of the lines that says it in metres; where it says nothing,
            ``line_width_m`` does.
        masks: Folder of rasters of classes, named as the images, with the same pixels.
        class_folders: Whether the folder of an image is the class of the whole image. Folders above
            it called train, val or test say its split.
        classes: Names of the classes in the order of their numbers; see `Source.classes`. None
            given: all that occur, categories of COCO in the order of their ids.
        mask_values: Value on disk of each class of a mask, where it is not its number.
        ignore: Values of a mask that say nothing.
        pairs: Folders of further rasters of the same ground, named as the images, by the name of
            the column that they become: another sensor, another date, heights.
        bands: Names of the bands, whatever the files say.
        scale: What values are multiplied by, for all bands or each, whatever the files say.
        offset: What is added then.
        nodata: Value of missing pixels, whatever the files say.
        dates: How dates are written in the names of files and folders, as for ``strptime``:
            ``%Y%m%d``; they become the columns ``start`` and ``end``, see
            `gv_data.intake.dates.DatePattern`. An image without a date is left out then. None:
            nobody asks when an image was taken.
        place: Name of the place; it begins the ids.
        append: Whether to add to an existing catalog.
        update: As ``append``, but images that are there already are left as they are when their
            file is still of the same size and time, and indexed again when it is not.
        measured: Whether to read all pixels for their statistics; see also
            `gv_data.measure.catalog_statistics`.
        georeference: Whether images without CRS are refused. Polygons on the ground cannot be laid
            over them, masks and COCO can.
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
    settings = labelled_area, labels_crs, swap_xy, label_column, line_width_m, line_width_column
    _check_kinds(labels, masks, class_folders, settings, (*mask_values, *ignore))
    pairs = {name: located(folder) for name, folder in (pairs or {}).items()}
    _check_pairs(pairs)
    pattern = None if dates is None else DatePattern(dates)
    inputs, out = [located(one) for one in inputs], located(out)
    labels, labelled_area, masks = (
        None if given is None else located(given) for given in (labels, labelled_area, masks)
    )
    old = existing(out, append=append or update)
    images = _wanted(inputs, place, old, update=update)
    if not images and old:
        return Indexed.nothing(old)
    label_file = None
    if labels is not None:
        label_file = label_inputs.read(
            labels,
            images,
            labelled_area=labelled_area,
            crs=labels_crs,
            swap_xy=swap_xy,
            column=label_column,
            classes=classes,
            line_width_m=line_width_m,
            line_width_column=line_width_column,
        )
        classes = label_file.classes
    if class_folders:
        classes = tuple(classes) or tuple(sorted({image.label for image in images}))
    beside = _beside(images, {**({"mask": masks} if masks else {}), **pairs})
    files = _Files.of(images, beside, labels, labelled_area)
    source = Source(
        root=str(files.root),
        labels_format="vector" if label_file is None else label_file.kind,
        labels_crs=labels_crs,
        labels_swapped=swap_xy,
        label_column=label_column,
        line_width_m=line_width_m,
        line_width_column=line_width_column,
        classes=tuple(classes),
        mask_values=tuple(mask_values),
        ignore=tuple(ignore),
        bands=tuple(bands),
        scale=tuple(scale),
        offset=tuple(offset),
        nodata=nodata,
        assets=tuple(pairs),
    )
    reading = Reading(
        source=source,
        label_file=label_file,
        beside=beside,
        folders=classes if class_folders else None,
        dates=pattern,
        georeferenced=georeference,
        measured=measured,
        cut=parts,
    )
    workers = len(os.sched_getaffinity(0))
    results = dict(track(mapped(reading.of, images, workers=workers), len(images)))
    gathered = Gathered()
    for image in images:
        row = {"place": place, **files.named(image, label_file)}
        if class_folders:
            row |= {"label": image.label, "split": image.split}
        gathered.take(image, row, results[image], pattern)
    gathered.check(images, label_file, labelled_area, masks)
    number = add(
        out,
        gathered.table(dated=pattern is not None),
        gathered.statistics,
        [source],
        append=append or update,
        update=update,
    )
    catalog = Catalog.open(out)
    new = catalog.where(f"source = {number}")
    if measured:  # what is left: further rasters of the ground, and counts of labels
        gathered.refuse(_measure_rest(new, track), files.root)
        if old is None and not gathered.used:
            withdraw(out, {row["id"] for row in gathered.rows})
            gathered.check_any(images)
    return gathered.told(catalog, new, label_file, masked=masks is not None)


def _measure_rest(
    new: Catalog, track: Callable[[Iterator[Any], int], Iterable[Any]]
) -> Mapping[str, str]:
    """Measure what is not yet; by id, why that failed.

    Raises:
        DataError: If the catalog cannot be written; its new images stay.
    """
    try:
        return measure_catalog(new, track=lambda ids, total: track(iter(ids), total)).failed
    except DataError as error:
        raise DataError(
            f"{error}\n  try: gv-data measure {new.path}, as the images are in it already"
        ) from error


def _check_kinds(
    labels: Path | None,
    masks: Path | None,
    class_folders: bool,
    label_settings: Sequence[object],
    mask_settings: Sequence[int],
) -> None:
    """Refuse labels of several kinds, and settings of a kind that is not there."""
    if labels is None and any(label_settings):
        raise CatalogError(
            "a labelled area, a CRS, swapped axes, a column of labels and widths of lines need "
            "labels"
        )
    if masks is None and mask_settings:
        raise CatalogError("values of classes and ignored ones are those of masks: give masks")
    if (labels is not None) + (masks is not None) + class_folders > 1:
        raise CatalogError("labels are polygons, masks or folders: give one of them")


def _check_pairs(pairs: Mapping[str, Path]) -> None:
    for name in pairs:
        check_sample_name(name, "a pair")
        if name in _TAKEN:
            raise CatalogError(f"a pair cannot be called {name!r}: choose another name")


def _wanted(
    inputs: Sequence[Path], place: str | None, old: Catalog | None, *, update: bool
) -> list[Input]:
    """The images to read.

    Raises:
        CatalogError: If two would have the same id.
    """
    there = known_files(old) if old else {}
    taken = set() if update else set(there)
    wanted = []
    for image in find(inputs, place):
        if image.id in taken:
            raise CatalogError(
                f"two images would be called {image.id}: {image.file} and one that is there "
                "already\n  try: another --place"
            )
        taken.add(image.id)
        if not update or there.get(image.id) is None or there[image.id] != stamp(image.file):
            wanted.append(image)
    return wanted


def _beside(images: Sequence[Input], folders: Mapping[str, Path]) -> dict[Input, dict[str, Path]]:
    """The further rasters of each image, by the names of their assets."""
    listed = {name: Beside(folder) for name, folder in folders.items()}
    found = {image: {name: one.of(image) for name, one in listed.items()} for image in images}
    return {
        image: {name: file for name, file in files.items() if file is not None}
        for image, files in found.items()
    }


@dataclass(frozen=True, eq=False)
class _Files:
    """Where all files are, below one folder.

    Attributes:
        root: The folder.
        beside: The further rasters of each image.
        shared: Files that images share, by the names of their columns.
    """

    root: Path
    beside: Mapping[Input, Mapping[str, Path]]
    shared: Mapping[str, Path]

    @classmethod
    def of(
        cls,
        images: Sequence[Input],
        beside: Mapping[Input, Mapping[str, Path]],
        labels: Path | None,
        labelled_area: Path | None,
    ) -> Self:
        """Find the deepest folder that holds all."""
        given = {"vectors": labels, "labelled_area": labelled_area}
        shared = {name: file for name, file in given.items() if file is not None}
        further = (file for found in beside.values() for file in found.values())
        root = common_folder([*(image.file for image in images), *further, *shared.values()])
        return cls(root, beside, shared)

    def named(self, image: Input, label_file: LabelFile | None) -> dict[str, Any]:
        """The columns that name the files of an image."""
        files = {"image": image.file, **self.beside[image]}
        if label_file is not None and label_file.names(image):
            files |= self.shared
        return {name: beyond(file.resolve(), self.root) for name, file in files.items()}
