"""What a view of a catalog holds, in numbers: images, places, ground, labels, values.

Ground is the geodesic area of the footprints; where they overlap, as nested zooms and neighbouring
flights do, it counts once.
"""

from dataclasses import dataclass

import shapely

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.vectors.geodesy import area_m2


@dataclass(frozen=True)
class Group:
    """The images of one place and split.

    Attributes:
        place: Its name, or None.
        split: ``train``, ``val``, ``test`` or None.
        images: How many.
        labels: Labels on them; one on several images counts on each.
        gsd_m: Smallest and largest ground sampling distance; None without georeference.
    """

    place: str | None
    split: str | None
    images: int
    labels: int
    gsd_m: tuple[float, float] | None


@dataclass(frozen=True)
class Values:
    """The values of the measured rasters of one kind that have the same bands.

    Attributes:
        asset: ``image``, or the column that names them.
        bands: Their names.
        images: Of how many images they are.
        mean: Mean of all valid pixels per band.
        std: Standard deviation per band.
    """

    asset: str
    bands: tuple[str, ...]
    images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Summary:
    """What a view holds.

    Attributes:
        groups: Its images by place and split.
        crs: Number of images in each CRS; None stands for no georeference.
        ground_m2: Ground that the images show.
        footprints_m2: Sum over the images: more than ``ground_m2`` where they overlap.
        values: By kind of raster and set of bands.
        columns: What conditions can name.
    """

    groups: tuple[Group, ...]
    crs: dict[str | None, int]
    ground_m2: float
    footprints_m2: float
    values: tuple[Values, ...]
    columns: tuple[str, ...]

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(group.images for group in self.groups)

    @property
    def labels(self) -> int:
        """Labels on images; one on several images counts on each."""
        return sum(group.labels for group in self.groups)

    @property
    def gsd_m(self) -> tuple[float, float] | None:
        """Smallest and largest ground sampling distance; None without georeference."""
        known = [group.gsd_m for group in self.groups if group.gsd_m]
        return (min(low for low, _ in known), max(high for _, high in known)) if known else None

    @property
    def overlapping(self) -> bool:
        """Whether several images show the same ground, by more than rounding."""
        return self.footprints_m2 > 1.001 * self.ground_m2


def summarise(view: Catalog) -> Summary:
    """Sum a view up; no image is opened.

    Args:
        view: A catalog or a part of it.

    Raises:
        CatalogError: If it holds no image.
    """
    groups = view.sql(
        "SELECT place, split, count(*) AS images, coalesce(sum(objects), 0)::INT AS labels, "
        "min(gsd_m) AS low, max(gsd_m) AS high FROM images GROUP BY ALL ORDER BY ALL"
    ).to_pylist()
    if not groups:
        raise CatalogError(f"there is no image in {view.said}")
    crs = view.sql("SELECT crs, count(*) AS n FROM images GROUP BY ALL ORDER BY n DESC, crs")
    footprints = shapely.from_wkb(view.sql("SELECT geometry FROM images")["geometry"].to_numpy())
    ground = shapely.union_all(footprints)
    table = view.sql("SELECT * FROM images LIMIT 0")
    return Summary(
        groups=tuple(
            Group(
                row["place"],
                row["split"],
                row["images"],
                row["labels"],
                None if row["low"] is None else (row["low"], row["high"]),
            )
            for row in groups
        ),
        crs={row["crs"]: row["n"] for row in crs.to_pylist()},
        ground_m2=float(area_m2([ground], "OGC:CRS84")[0]),
        footprints_m2=float(area_m2(footprints, "OGC:CRS84").sum()),
        values=tuple(_values(view)),
        columns=tuple(table.column_names),
    )


def _values(view: Catalog) -> list[Values]:
    bands_of = "SELECT id, asset, list(band ORDER BY position) AS bands FROM statistics"
    kinds = view.sql(
        f"SELECT asset, bands, count(*) AS images FROM ({bands_of} SEMI JOIN images USING (id) "
        "GROUP BY ALL) GROUP BY asset, bands ORDER BY asset <> 'image', asset, bands"
    )
    found = []
    for kind in kinds.to_pylist():
        names = ", ".join("'" + band.replace("'", "''") + "'" for band in kind["bands"])
        same = view.where(
            f"id IN (SELECT id FROM ({bands_of} WHERE asset = '{kind['asset']}' GROUP BY ALL) "
            f"WHERE bands = [{names}])"
        )
        known = same.statistics_of(kind["asset"])
        figures = tuple(known.mean), tuple(known.std)
        found.append(Values(kind["asset"], known.bands, kind["images"], *figures))
    return found
