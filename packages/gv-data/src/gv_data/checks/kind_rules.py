"""Rules about what kinds of images a view holds together, and which images stand apart.

Images of several sensors in one catalog are meant so, as are several CRSs, which windows are read
in. What should be of one kind is what came in one call to ``gv-data index``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from pyproj import Geod

from gv_data.catalog import Catalog
from gv_data.checks.table_rules import GSD_FAILURE
from gv_data.findings import Findings, counted, some

PLACE_IMAGES_MIN = 4
"""Of fewer images nobody can say where a place is."""

PLACE_TIMES = 20.0
"""An image this many times as far from the middle of its place as others are lies elsewhere."""

PLACE_SHARE = 0.05
"""More images than this share, that lie elsewhere, are a part of the place."""

PLACE_MIN_M = 10_000.0
"""A place may be as large as a town and what lies around it."""

_GEOD = Geod(ellps="WGS84")


def compare_bands(findings: Findings, view: Catalog) -> None:
    """Images indexed together should have the same bands, in one order."""
    findings.apply("bands")
    kinds = view.sql(
        "SELECT bands, list(id ORDER BY id) AS ids, list(DISTINCT source) AS sources "
        "FROM images GROUP BY bands ORDER BY count(*) DESC, min(id)"
    ).to_pylist()
    if len(kinds) < 2:
        return
    common = kinds[0]["bands"]
    turned = [kind for kind in kinds[1:] if sorted(kind["bands"]) == sorted(common)]
    others = [kind for kind in kinds[1:] if kind not in turned]
    hint = f'--where "bands = {_sql(common)}" chooses those of most'
    if turned:
        findings.warn(
            "bands",
            f"images have the same bands in {len(turned) + 1} orders: "
            f"{_counted(kinds[:1] + turned)}",
            f"{hint}; gdal_translate -b ... brings the others into one order",
            _ids(turned),
        )
    if others:
        sources = [source for kind in kinds for source in kind["sources"]]
        tell = findings.warn if len(set(sources)) < len(sources) else findings.note
        tell(
            "bands",
            f"images have {len(others) + 1} sets of bands, which are not read together: "
            f"{_counted(kinds[:1] + others)}",
            hint,
            _ids(others),
        )


def _counted(kinds: Sequence[Mapping[str, Any]]) -> str:
    """Bands, how many images have them, and one of those."""
    return some(
        [f"{'+'.join(k['bands'])} ({len(k['ids']):,}, such as {k['ids'][0]})" for k in kinds]
    )


def _ids(kinds: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted(id for kind in kinds for id in kind["ids"])


def compare_types(findings: Findings, view: Catalog) -> None:
    """Images of the same bands that were indexed together should be stored in the same type."""
    findings.apply("types")
    rows = view.sql(
        "SELECT bands, source, dtype, count(*) AS n, list(id ORDER BY id) AS ids FROM images "
        "GROUP BY bands, source, dtype QUALIFY count(*) OVER (PARTITION BY bands, source) > 1 "
        "ORDER BY bands, source, n DESC, dtype"
    ).to_pylist()
    if rows:
        counts: Counter[str] = Counter()
        for row in rows:
            counts[row["dtype"]] += row["n"]
        (common, _), *rest = counts.most_common()
        ids = [id for row in rows if row["dtype"] != common for id in row["ids"]]
        kinds = [f"{dtype} ({count:,})" for dtype, count in [(common, counts[common]), *rest]]
        findings.note(
            "types",
            f"images of one kind are stored as {', '.join(kinds)}, such as {some(ids)}; values are "
            "taken as they are",
            "gv-data index ... --scale X, if their values have different scales",
            ids,
        )


def compare_systems(findings: Findings, view: Catalog) -> None:
    """Several CRSs are no trouble; images without any, beside others that have one, are."""
    findings.apply("crs")
    rows = view.sql(
        "SELECT crs, count(*) AS n FROM images GROUP BY crs ORDER BY n DESC, crs"
    ).to_pylist()
    placed = [row for row in rows if row["crs"] is not None]
    without = view.sql("SELECT id FROM images WHERE crs IS NULL ORDER BY id")["id"].to_pylist()
    if placed and without:
        findings.warn(
            "crs",
            f"{len(without):,} of {counted(len(view), 'image')} lie nowhere ({some(without)}), so "
            "that no ground is compared and no map is made of them",
            "rio edit-info --crs EPSG:... --transform ... FILE, then gv-data index ... --update",
            without,
        )
    if len(placed) > 1:
        named = [f"{_short(row['crs'])} ({row['n']:,})" for row in placed]
        findings.note(
            "crs",
            f"images are in {len(placed)} CRSs: {some(named)}; each is read in its own",
        )


def compare_gsds(findings: Findings, view: Catalog) -> None:
    """Images of the same bands should have pixels about as large as most have."""
    findings.apply("gsd")
    table = view.sql(
        "SELECT id, gsd_m, quantile_disc(gsd_m, 0.5) OVER (PARTITION BY bands) AS usual "
        "FROM images WHERE gsd_m > 0 ORDER BY id"
    )
    ids, gsd, usual = (table[name].to_numpy(zero_copy_only=False) for name in table.column_names)
    times = np.maximum(gsd / usual, usual / gsd)
    off = np.flatnonzero(times > GSD_FAILURE)
    if len(off):
        worst = off[times[off].argmax()]
        findings.warn(
            "gsd",
            f"{counted(len(off), 'image')} have pixels {GSD_FAILURE:g} x as large or as small as "
            f"most with the same bands: {ids[worst]} has {gsd[worst]:.3g} m, most "
            f"{usual[worst]:.3g} m on the ground",
            f'--where "gsd_m BETWEEN {usual[worst] / 2:.2g} AND {usual[worst] * 2:.2g}" leaves '
            "them out, if their CRS and transform are right",
            ids[off].tolist(),
        )


def compare_dates(findings: Findings, view: Catalog) -> None:
    """All images should have dates if some do, and begin before they end."""
    columns = view.sql("SELECT * FROM images LIMIT 0").column_names
    if not {"start", "end"} <= set(columns):
        return
    findings.apply("dates")
    rows = view.sql('SELECT id, "start", "end" FROM images ORDER BY id').to_pylist()
    undated = [row["id"] for row in rows if row["start"] is None or row["end"] is None]
    if undated and len(undated) < len(rows):
        findings.warn(
            "dates",
            f"{len(undated):,} of {counted(len(rows), 'image')} have no date ({some(undated)}): "
            "samplers over time pass them by",
            '--where "start IS NOT NULL", or dates from the archive that the images come from',
            undated,
        )
    dated = [row for row in rows if row["start"] is not None and row["end"] is not None]
    turned = [row["id"] for row in dated if row["end"] < row["start"]]
    if turned:
        findings.fail(
            "dates",
            f"{counted(len(turned), 'image')} end before they begin ({some(turned)})",
            "mend the dates where the catalog was made from",
            turned,
        )


def look_for_strays(findings: Findings, view: Catalog) -> None:
    """Images should lie where the others of their place do."""
    findings.apply("place")
    table = view.sql("SELECT id, place, gsd_m FROM images ORDER BY id")
    place = table["place"].fill_null("").to_numpy().astype(str)
    ids, gsd = (table[name].to_numpy(zero_copy_only=False) for name in ("id", "gsd_m"))
    grids = view.images.grids
    side_m = gsd * grids.shapes_hw.max(axis=1)
    lon, lat = _centres(grids.outlines_lonlat())
    placed = ~np.isnan(lon) & (place != "")
    for name in np.unique(place[placed]):
        here = np.flatnonzero(placed & (place == name))
        if len(here) < PLACE_IMAGES_MIN:
            continue
        away = _from_the_middle(lon[here], lat[here])
        usual = np.median(away) + np.median(side_m[here])
        strays = np.flatnonzero(away > max(PLACE_TIMES * usual, PLACE_MIN_M))
        if 0 < len(strays) <= max(1, PLACE_SHARE * len(here)):
            first = here[strays[0]]
            findings.warn(
                "place",
                f"{len(strays):,} of {counted(len(here), 'image')} of {name} lie elsewhere: "
                f"{ids[first]} is at {lon[first]:.3f} E, {lat[first]:.3f} N, "
                f"{away[strays[0]] / 1000:,.0f} km from the middle of the others",
                "look at the CRS and transform of the file: gv-data show "
                f"{view.path} --map --where \"place = '{name}'\"",
                ids[here[strays]].tolist(),
            )


def _centres(
    outlines: Float[np.ndarray, "n 4 2"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Longitude and latitude of the middle of footprints, across the antimeridian too."""
    around = np.exp(1j * np.radians(outlines[..., 0])).mean(axis=1)
    return np.degrees(np.angle(around)), outlines[..., 1].mean(axis=1)


def _from_the_middle(
    lon: Float[np.ndarray, " n"], lat: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Geodesic distance in metres to the place in the middle of all."""
    around = np.exp(1j * np.radians(lon))
    middle = np.degrees(np.angle(np.median(around.real) + 1j * np.median(around.imag)))
    start = np.full(len(lon), middle), np.full(len(lon), np.median(lat))
    return np.abs(_GEOD.inv(*start, lon, lat)[2])


def _sql(bands: Sequence[str]) -> str:
    return "[" + ", ".join("'" + name.replace("'", "''") + "'" for name in bands) + "]"


def _short(crs: str) -> str:
    return crs.split('"')[1] if '"' in crs else crs
