"""One image read once: what it holds, or why it cannot be used."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gv_data.errors import DataError
from gv_data.intake.dates import DatePattern
from gv_data.intake.image_row import Part, check_beside, describe, open_image, whole
from gv_data.intake.inputs import Input
from gv_data.intake.label_inputs import LabelFile, OnImage, PolygonFile
from gv_data.labels.labels import Labels
from gv_data.rasters.raster import Scene
from gv_data.sources import Source
from gv_data.statistics import Statistics

type Cut = Callable[[Scene, Labels | None], Sequence[Part]]
"""Cuts an open image into rows of their own."""


@dataclass(frozen=True)
class Found:
    """What an image holds.

    Attributes:
        parts: The row and statistics of each of its parts.
        on_image: Its labels; None without labels, or where they do not say anything of it.
        reached: Whether labels are complete anywhere on it.
    """

    parts: Sequence[tuple[dict[str, Any], Statistics | None]]
    on_image: OnImage | None
    reached: bool


@dataclass(frozen=True, eq=False)
class Reading:
    """How images are read.

    Attributes:
        source: What they do not say themselves.
        label_file: Polygons or objects, or None.
        beside: Further rasters of each image, by the names of their assets.
        folders: Names of the classes that the images' folders are; None: folders are no classes.
        dates: How their names say when they were taken; None: nobody asks.
        georeferenced: Whether each must say where it lies.
        measured: Whether to read all pixels for their statistics.
        cut: Makes parts; None: each is one row.
    """

    source: Source
    label_file: LabelFile | None
    beside: Mapping[Input, Mapping[str, Path]]
    folders: Sequence[str] | None
    dates: DatePattern | None
    georeferenced: bool
    measured: bool
    cut: Cut | None

    def of(self, image: Input) -> Found | str:
        """What an image holds, or why it cannot be used."""
        if self.folders is not None and image.label not in self.folders:
            names = ", ".join(self.folders)
            return f"{image.file} lies in a folder that is none of the classes {names}"
        if self.dates is not None and self.dates.of(image.given) is None:
            return (
                f"{image.file} has no date like {self.dates.text} in its name or its folders\n"
                "  try: another --dates, or index it without"
            )
        try:
            with open_image(image.file, self.source, georeferenced=self._placed) as scene:
                return self._look(image, scene)
        except DataError as error:
            return str(error)

    @property
    def _placed(self) -> bool:
        """Whether images without CRS are refused: nothing on the ground can be laid over them."""
        return self.georeferenced or isinstance(self.label_file, PolygonFile)

    def _look(self, image: Input, scene: Scene) -> Found | str:
        check_beside(scene, self.beside[image])
        labels = None if self.label_file is None else self.label_file.of(image, scene)
        parts = [whole(scene)] if self.cut is None else self.cut(scene, labels)
        described = [
            describe(scene, part, labels, image.id, measured=self.measured) for part in parts
        ]
        kept = [one for one in described if one[1] is None or one[1].valid]
        if not kept:
            return f"{image.file} holds no data: every pixel is nodata"
        touching = {number for _, _, on_it in kept for number in on_it}
        return Found(
            [(row, figures) for row, figures, _ in kept],
            None if labels is None else OnImage.of(labels, touching),
            labels is None or labels.reach(scene.grid),
        )
