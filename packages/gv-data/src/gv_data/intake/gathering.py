"""What indexing found: rows of a catalog, gathered as images are read, and what is told of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import shapely

from gv_data.antimeridian import box_around
from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.intake.catalog_rows import stamp
from gv_data.intake.dates import DatePattern, Span
from gv_data.intake.inputs import Input
from gv_data.intake.label_inputs import LabelFile, OnImage, Tally
from gv_data.intake.reading import Found
from gv_data.store import statistics_table, table_files

_TIME = pa.timestamp("us", "UTC")
"""Type of the columns ``start`` and ``end``, as STAC's dates have it."""


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
        lines: How many of the features left out are lines without a width.
        unnamed: How many of the images without a label are not named by the label file.
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
    lines: int = 0
    unnamed: int = 0

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
            lines = f" ({self.lines:,} are lines: --line-width M)" if self.lines else ""
            parts.append(f"{self.dropped:,} left out because they are no polygons{lines}")
        if self.unlabelled:
            unnamed = f" ({self.unnamed:,} not named by the file)" if self.unnamed else ""
            parts.append(f"{self.unlabelled:,} images without a label{unnamed}")
        return ", ".join(parts)


@dataclass
class Gathered:
    """Rows of a catalog, as images were read."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    spans: list[Span | None] = field(default_factory=list)
    statistics: list[pa.Table] = field(default_factory=list)
    refused: list[tuple[Path, str]] = field(default_factory=list)
    labels: dict[Input, OnImage] = field(default_factory=dict)
    reached: bool = False

    def take(
        self,
        image: Input,
        row: Mapping[str, Any],
        result: Found | str,
        pattern: DatePattern | None,
    ) -> None:
        """Add what an image holds to what is known of it, or why it cannot be used."""
        span = None if pattern is None else pattern.of(image.given)
        if isinstance(result, str):
            self.refused.append((image.file, result))
            seen = dict(zip(("bytes", "modified_ns"), stamp(image.file) or (), strict=False))
            self.rows.append({"id": image.id, **row, **seen, "error": result.splitlines()[0]})
            self.spans.append(span)
            return
        self.reached |= result.reached
        if result.on_image is not None:
            self.labels[image] = result.on_image
        for described, figures in result.parts:
            self.rows.append({**described, **row})
            self.spans.append(span)
            if figures is not None:
                table = statistics_table.rows(described["id"], "image", image.file, figures)
                self.statistics.append(table)

    def refuse(self, failed: Mapping[str, str], root: Path) -> None:
        """Note which images, by id, cannot be used after all, and why."""
        for row in self.rows:
            if row["id"] in failed:
                row["error"] = failed[row["id"]]
                self.refused.append((root / row["image"], row["error"]))

    @property
    def used(self) -> list[dict[str, Any]]:
        """The rows of images that can be used."""
        return [row for row in self.rows if "error" not in row]

    def check(
        self,
        images: Sequence[Input],
        label_file: LabelFile | None,
        labelled_area: Path | None,
        masks: Path | None,
    ) -> None:
        """Refuse what makes no catalog.

        Raises:
            CatalogError: If no image can be used, or none has what labels say.
        """
        used = self.used
        self.check_any(images)
        if label_file is not None and not self._labelled(label_file):
            placed = np.array([row["geometry"] for row in used], object)
            bounds = [box_around(one) for one in placed[~shapely.is_missing(placed), None]]
            why = label_file.why_none(bounds, used[0]["crs"])
            if self.refused:
                why += f"\n{len(self.refused)} images could not be used:\n{self._reasons}"
            raise CatalogError(why)
        if not self.reached:
            raise CatalogError(f"{labelled_area} and the images do not overlap")
        if masks is not None and not any("mask" in row for row in used):
            raise CatalogError(
                f"no raster in {masks} has the name of an image, such as {images[0].name}"
            )

    def check_any(self, images: Sequence[Input]) -> None:
        """Refuse images of which none can be used.

        Raises:
            CatalogError: If it is so.
        """
        if not self.used:
            raise CatalogError(f"none of {len(images)} images can be used:\n{self._reasons}")

    @property
    def _reasons(self) -> str:
        """Why the first images cannot be used."""
        return "\n".join(reason for _, reason in self.refused[:3])

    def _labelled(self, label_file: LabelFile) -> bool:
        """Whether labels lie on an image, or a file says that there are none on those it names."""
        if label_file.says_there_is_none:
            return bool(self.labels)
        return any(one.touching for one in self.labels.values())

    def table(self, *, dated: bool) -> table_files.Rows:
        """The rows for a catalog."""
        new = table_files.Rows.of([{**row, "source": 0} for row in self.rows])
        if dated:
            for place, name in enumerate(("start", "end")):
                times = [None if span is None else span[place] for span in self.spans]
                new = new.with_column(name, pa.array(times, _TIME))
        return new

    def told(
        self, catalog: Catalog, new: Catalog, label_file: LabelFile | None, *, masked: bool
    ) -> Indexed:
        """What was found, for whoever asked."""
        used = self.used
        tally = Tally() if label_file is None else label_file.tally(self.labels)
        if masked:
            bare = sum("mask" not in row for row in used)
        else:
            bare = 0 if label_file is None else sum(not row["objects"] for row in used)
        return Indexed(
            catalog,
            new,
            added=len(used),
            refused=tuple(self.refused),
            objects=tally.objects,
            outside=tally.outside,
            repaired=tally.repaired,
            dropped=tally.dropped,
            unlabelled=bare,
            lines=tally.lines,
            unnamed=0 if label_file is None else sum("vectors" not in row for row in used),
        )
