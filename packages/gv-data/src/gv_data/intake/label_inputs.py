"""Label files as people have them: which labels each image gets, and what became of them.

A file of polygons lies over all images that its ground touches. A COCO file names its images; one
that it does not name is taken without labels, as nothing says that it shows no object.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gv_data.errors import CatalogError, VectorError
from gv_data.grid import Bounds
from gv_data.intake.inputs import Input
from gv_data.labels import coco
from gv_data.labels.coco import Coco, Match
from gv_data.labels.labels import Labels
from gv_data.rasters.raster import Scene
from gv_data.sources import LabelsFormat


@dataclass(frozen=True)
class OnImage:
    """What labels an image has.

    Attributes:
        touching: Numbers of the labels that lie on it.
        given: How many there are to choose from.
        repaired: Of these, outlines that crossed themselves and were mended.
        dropped: What has no area or is of none of the classes.
    """

    touching: frozenset[int]
    given: int
    repaired: int
    dropped: int

    @classmethod
    def of(cls, labels: Labels, touching: Iterable[int]) -> Self:
        """What some labels are."""
        return cls(frozenset(touching), len(labels), labels.repaired, labels.dropped)


@dataclass(frozen=True)
class Tally:
    """What became of the labels of a file.

    Attributes:
        objects: Number that lie on the images.
        outside: Number that lie on none of them.
        repaired: Number whose outline crossed itself and was mended.
        dropped: Number of features that are no polygon or of no class, and were left out.
        lines: How many of these are lines without a width.
    """

    objects: int = 0
    outside: int = 0
    repaired: int = 0
    dropped: int = 0
    lines: int = 0


@dataclass(frozen=True, eq=False)
class PolygonFile:
    """Polygons on the ground, for all images alike.

    Attributes:
        labels: The polygons.
    """

    labels: Labels

    @property
    def kind(self) -> LabelsFormat:
        """What the file is."""
        return "vector"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.labels.classes

    def names(self, image: Input) -> bool:
        """Whether the file says something of an image."""
        del image
        return True

    @property
    def says_there_is_none(self) -> bool:
        """Whether it is there to say that its images show no object."""
        return False

    def of(self, image: Input, scene: Scene) -> Labels | None:
        """The labels of an image."""
        del image, scene
        return self.labels

    def tally(self, found: Mapping[Input, OnImage]) -> Tally:
        """What became of the labels."""
        touched = frozenset().union(*(one.touching for one in found.values()))
        labels = self.labels
        outside = len(labels) - len(touched)
        return Tally(len(touched), outside, labels.repaired, labels.dropped, labels.lines)

    def why_none(self, bounds: Sequence[Bounds], crs: str | None) -> str:
        """Explain that no label lies on an image."""
        assert crs is not None, "images without CRS are refused where labels lie on the ground"
        return self.labels.why_outside(bounds, images_crs=crs)


@dataclass(frozen=True, eq=False)
class CocoFile:
    """Objects in the pixels of images that a file names.

    Attributes:
        file: What it holds.
        classes: Names of the classes.
        matches: The entry of each image that it names.
        refused: Images of which it cannot be said which entry is theirs.
    """

    file: Coco
    classes: tuple[str, ...]
    matches: Mapping[Input, Match]
    refused: Mapping[Input, str]

    @property
    def kind(self) -> LabelsFormat:
        """What the file is."""
        return "coco"

    @classmethod
    def matched(cls, file: Coco, images: Sequence[Input], classes: Sequence[str]) -> Self:
        """Find the entries of images.

        Raises:
            DataError: If no image is named, or no category is one of the classes.
        """
        names, _ = file.numbered(classes)
        refused: dict[Input, str] = {}
        claims: dict[int, list[tuple[Match, Input]]] = {}
        for image in images:
            try:
                match = file.entry_of(image.file)
            except VectorError as error:
                refused[image] = str(error)
                continue
            if match is not None:
                claims.setdefault(match.number, []).append((match, image))
        matches: dict[Input, Match] = {}
        for claiming in claims.values():
            best = max(match for match, _ in claiming)
            owners = [image for match, image in claiming if match == best]
            if len(owners) == 1:
                matches[owners[0]] = best
                continue
            said = " and ".join(str(image.file) for image in owners[:2])
            entry = file.entries[best.number].name
            refused |= dict.fromkeys(owners, f"{said} could both be {entry} of {file.path}")
        if not matches and not refused:
            entries = ", ".join(entry.name for entry in file.entries[:2])
            raise CatalogError(
                f"{file.path} names none of the {len(images)} images, such as "
                f"{images[0].file.name}; it names {entries or 'no image at all'}"
            )
        return cls(file, names, matches, refused)

    def names(self, image: Input) -> bool:
        """Whether the file says something of an image."""
        return image in self.matches

    @property
    def says_there_is_none(self) -> bool:
        """Whether it is there to say that its images show no object."""
        return not len(self.file)

    def of(self, image: Input, scene: Scene) -> Labels | None:
        """The labels of an image; None if the file does not name it.

        Raises:
            DataError: If it has another size than the file says, or several entries could be meant.
        """
        if image in self.refused:
            raise CatalogError(self.refused[image])
        if image not in self.matches:
            return None
        said_hw = self.file.entries[self.matches[image].number].shape_hw
        if said_hw is not None and said_hw != scene.grid.shape_hw:
            height, width = said_hw
            raise CatalogError(
                f"{image.file} is {scene.grid.width_px:,} x {scene.grid.height_px:,} px, "
                f"{self.file.path.name} says {width:,} x {height:,}: its objects belong to other "
                "pixels"
            )
        return Labels.in_pixels(self.file.path, image.file, scene.grid, classes=self.classes)

    def tally(self, found: Mapping[Input, OnImage]) -> Tally:
        """What became of the labels."""
        elsewhere = self.file.count(self.classes)
        for image in found:
            elsewhere[self.matches[image].number] = 0
        kept = found.values()
        objects = sum(len(one.touching) for one in kept)
        return Tally(
            objects,
            outside=int(elsewhere.sum()) + sum(one.given for one in kept) - objects,
            repaired=sum(one.repaired for one in kept),
            dropped=sum(one.dropped for one in kept),
        )

    def why_none(self, bounds: Sequence[Bounds], crs: str | None) -> str:
        """Explain that no label lies on an image."""
        del bounds, crs
        return f"{self.file.path} holds no object on the images that it names"


type LabelFile = PolygonFile | CocoFile


def read(
    path: Path,
    images: Sequence[Input],
    *,
    labelled_area: Path | None,
    crs: str | None,
    swap_xy: bool,
    column: str | None,
    classes: Sequence[str],
    line_width_m: float | None,
    line_width_column: str | None,
) -> LabelFile:
    """Read a label file; what it is, it says by its content.

    Args:
        path: Polygons, lines or COCO JSON.
        images: That it is for.
        labelled_area: As for `Labels.read`, like what follows.
        crs: The same.
        swap_xy: The same.
        column: The same.
        classes: The same.
        line_width_m: The same.
        line_width_column: The same.

    Raises:
        DataError: If it cannot be read, holds nothing for the images, or a setting has no effect.
    """
    widened = line_width_m is not None or line_width_column is not None
    if coco.recognised(path):
        if labelled_area is not None or crs or swap_xy or column or widened:
            raise CatalogError(
                f"{path} is COCO JSON, whose objects lie in pixels and have categories: it takes "
                "no labelled area, CRS, swapped axes, column or width of lines"
            )
        return CocoFile.matched(coco.read(path), images, classes)
    labels = Labels.read(
        path,
        labelled_area=labelled_area,
        crs=crs,
        swap_xy=swap_xy,
        column=column,
        classes=classes,
        line_width_m=line_width_m,
        line_width_column=line_width_column,
    )
    if widened and not labels.widened:
        raise CatalogError(
            f"{path} holds no line that the width could be of: leave out --line-width, or name the "
            "column that holds widths in metres"
        )
    return PolygonFile(labels)
