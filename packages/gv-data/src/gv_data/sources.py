"""What the images of one call to ``gv-data index`` have in common, as ``catalog.json`` keeps it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

from gv_data.errors import CatalogError

IGNORE = 255
"""Class of a pixel of which nobody said what it is."""

RESERVED = (
    *("image", "valid", "dates", "bounds", "transform", "id"),
    *("mask", "edge", "instances", "label"),
)
"""What samples hold beside further rasters and series."""

type LabelsFormat = Literal["vector", "coco"]
"""Polygons on the ground, in a file for all images; or objects in the pixels of each image."""


@dataclass(frozen=True)
class Source:
    """Where files are, and what they do not say themselves.

    Attributes:
        root: Folder that all paths are relative to, and may not leave.
        labels_format: What the label files are.
        labels_crs: CRS that the label files are in, whatever they say; None believes them.
        labels_swapped: Whether the label files hold y before x.
        label_column: Attribute of the label polygons that names their class; None: there is one
            class, which may have a name.
        line_width_m: Width on the ground of the lines of a label file, which it makes polygons;
            None: lines are no labels.
        line_width_column: Attribute that says the width of each line in metres; where it says
            nothing, ``line_width_m`` does.
        classes: Names of the classes. Polygons are numbered from 1 in this order, 0 is none of
            them; a mask's class is its position from 0, so the first is often the background.
        mask_values: Value on disk of each class of a mask; empty: the position of its name.
        ignore: Values of a mask that say nothing.
        bands: Names of the bands; empty believes the files.
        scale: What values are multiplied by, for all bands or for each; empty believes the files.
        offset: What is added then.
        nodata: Value of missing pixels; None believes the files.
        assets: Columns that name further rasters of the same ground: another sensor, another date.
    """

    root: str
    labels_format: LabelsFormat = "vector"
    labels_crs: str | None = None
    labels_swapped: bool = False
    label_column: str | None = None
    line_width_m: float | None = None
    line_width_column: str | None = None
    classes: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()
    bands: tuple[str, ...] = ()
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    nodata: float | None = None
    assets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(self.classes) > IGNORE:
            raise CatalogError(
                f"classes have different names and are at most {IGNORE}, got {len(self.classes)}: "
                f"{', '.join(self.classes)[:200]}"
            )
        if self.mask_values and len(self.mask_values) != len(self.classes):
            raise CatalogError(
                f"{len(self.classes)} classes have {len(self.mask_values)} values: give each one"
            )
        twice = [value for value in self.mask_values if self.mask_values.count(value) > 1]
        if twice:
            raise CatalogError(
                f"the value {twice[0]} of masks names two classes: give each class its own value"
            )
        both = set(self.ignore) & set(self.mask_values)
        if both:
            raise CatalogError(f"the value {min(both)} is a class and ignored: choose one")
        formats = get_args(LabelsFormat.__value__)
        if self.labels_format not in formats:
            raise CatalogError(f"labels are {' or '.join(formats)}, got {self.labels_format!r}")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What ``catalog.json`` holds.

        Raises:
            CatalogError: If it is damaged.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise CatalogError(f"catalog.json is damaged, index again: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """The settings that differ from the usual."""
        usual = Source(self.root)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name == "root" or value != getattr(usual, name)
        }


def check_sample_name(name: str, kind: str) -> None:
    """Refuse a name for rasters under which samples hold something else.

    Args:
        name: A sample would hold ``name``, ``name_valid`` and, of a series, ``name_dates``.
        kind: What would be called so, for the message.

    Raises:
        CatalogError: If it is taken, ends as those do, or is no identifier.
    """
    if not name.isidentifier() or name in RESERVED or name.endswith(("_valid", "_dates")):
        raise CatalogError(
            f"{kind} cannot be called {name!r}: choose another name, an identifier that does not "
            f"end with _valid or _dates and is none of {', '.join(RESERVED)}"
        )
